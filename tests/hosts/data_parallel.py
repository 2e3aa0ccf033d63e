"""Run by torch in two processes: weights in Keras' `DataParallel`, before and after training."""

import keras
import numpy as np
import torch
from keras import layers

import keras_initx
from keras_initx import weights_digest

RULES = {"*kernel": "initx.he_normal", "*bias": "zeros"}
X = np.ones((8, 5), "float32")


def digests(model):
    """Return the digests of the weights of all processes."""
    found = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, weights_digest(model))
    return found


def build():
    return keras.Sequential([keras.Input((5,)), layers.Dense(4, kernel_initializer="initx.glorot_normal")])


keras.distribution.initialize()
keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
keras.utils.set_random_seed(1)
model = build()
first, second = digests(model)
assert first == second
keras_initx.initialize(model, RULES, seed=2)
first, second = digests(model)
assert first == second
model.compile("sgd", "mse")
model.fit((torch.distributed.get_rank() + 1) * X, np.ones((8, 4)), verbose=0)
trained, other = digests(model)
assert trained == other != first
keras_initx.initialize(model, RULES, seed=2)
assert digests(model) == [first, first]
keras.utils.set_random_seed(torch.distributed.get_rank())
model = build()
first, second = digests(model)
assert first != second
model.compile(keras.optimizers.SGD(0.0), "mse")
model.fit(X, np.ones((8, 4)), verbose=0)
assert digests(model) == [first, first]
torch.distributed.destroy_process_group()
