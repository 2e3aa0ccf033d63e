"""One of two processes that share a model of JAX, of which the second fails in `initialize`.

It prints as JSON what it raises, and whether its weights are the former ones.
"""

import functools
import json
import sys

import jax
import keras
import numpy as np

RANK, PORT = int(sys.argv[1]), sys.argv[2]

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize = functools.partial(jax.distributed.initialize, shutdown_timeout_seconds=5)
keras.distribution.initialize(f"localhost:{PORT}", 2, RANK)

import keras_initx  # noqa: E402  (a backend must not be used before the processes have met)

assign = keras.Variable.assign
assigned = []


def failing(variable, value):
    """Fail in the second process, at the third assignment."""
    assigned.append(variable)
    if RANK == 1 and len(assigned) == 3:
        raise OSError("no file")
    return assign(variable, value)


def shards():
    """Return what this process holds of each weight."""
    return [np.array(shard.data) for weight in model.weights for shard in weight.value.addressable_shards]


mesh = keras.distribution.DeviceMesh((1, jax.device_count()), ("batch", "units"), keras.distribution.list_devices())
layout_map = keras.distribution.LayoutMap(mesh)
layout_map[".*kernel"] = (None, "units")
with keras.distribution.ModelParallel(layout_map=layout_map, auto_shard_dataset=False).scope():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16,)), *(keras.layers.Dense(16, name=name) for name in "abc")])
    former = shards()
    keras.Variable.assign = failing
    error = None
    try:
        keras_initx.initialize(model, {"*kernel": "initx.he_normal"}, seed=1)
    except Exception as raised:
        error = raised
    sys.stdout.write(json.dumps({"error": str(error), "former": all(map(np.array_equal, shards(), former))}))
    sys.stdout.flush()
    if error is not None:
        raise error
