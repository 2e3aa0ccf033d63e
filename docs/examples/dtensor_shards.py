"""Start a sharded model of torch by a plan: each process draws its own shards.

`torchrun --nproc-per-node 4 docs/examples/dtensor_shards.py init.json`
"""

import sys

from keras_initx.models import InitializationPlan, weights_digest

import numpy as np
import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard


class Network(nn.Module):
    """The network of the plan."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3)
        self.hidden = nn.Linear(16, 32)
        self.logits = nn.Linear(32, 10)


def swapped(array):
    """Return an array of Keras with the axes of torch: units first, then inputs."""
    if array.ndim == 1:
        return array
    return np.moveaxis(array, (-1, -2), (0, 1))


def start(network, plan):
    """Fill the shards of this process, which has no other values."""
    count, rank = distributed.get_world_size(), distributed.get_rank()
    for name, parameter in network.named_parameters():
        size = -(-parameter.shape[0] // count)  # of a shard; the last may have fewer
        units = slice(rank * size, (rank + 1) * size)
        path = name.replace(".", "/").replace("weight", "kernel")
        inputs = [slice(None)] * (parameter.ndim - 1)
        values = swapped(plan.draw(path, (*inputs, units)))
        with torch.no_grad():
            parameter.to_local().copy_(torch.from_numpy(values))


def digest(network):
    """Return the digest of all weights, as they are in Keras."""
    arrays = {}
    for name, parameter in network.named_parameters():
        array = parameter.full_tensor().detach().numpy()
        if array.ndim > 1:
            array = np.moveaxis(array, (0, 1), (-1, -2))
        arrays[name.replace(".", "/").replace("weight", "kernel")] = array
    return weights_digest(arrays)


def main(path):
    """Draw the shards and print the digest of all."""
    mesh = distributed.init_device_mesh("cpu", (distributed.get_world_size(),))
    with torch.device("meta"):
        network = Network()
    fully_shard(network, mesh=mesh)
    network.to_empty(device="cpu")
    start(network, InitializationPlan.load(path))
    found = digest(network)
    if distributed.get_rank() == 0:
        print(found)


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    main(sys.argv[1])
    # The network and its mesh are gone: at the exit they would end the threads of the
    # group with an error.
    distributed.destroy_process_group()
