"""One of two processes that share a model of JAX, of which the second fails in each function, or gets a signal in one.

It prints as JSON, for each function, the type and the text of the error, and whether the weights are the former ones.
"""

import argparse
import contextlib
import functools
import json
import os
import signal
import sys

import jax
import keras
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("rank", type=int)
parser.add_argument("port")
parser.add_argument("folder")
parser.add_argument("--killed", help="the function in which the second process gets the signal")
parser.add_argument("--signal", type=int, default=signal.SIGKILL, help="with 0 it raises an error there")
parser.add_argument("--stays", action="store_true", help="wait until JAX ends this process")
arguments = parser.parse_args()
RANK, KILLED = arguments.rank, arguments.killed

jax.config.update("jax_cpu_collectives_implementation", "gloo")
if arguments.stays:
    jax.distributed.initialize = functools.partial(jax.distributed.initialize, heartbeat_timeout_seconds=10)
keras.distribution.initialize(f"localhost:{arguments.port}", 2, RANK)

import keras_initx  # noqa: E402  (a backend must not be used before the processes have met)
from keras_initx import models  # noqa: E402

layers = keras.layers
batch = np.abs(np.random.default_rng(0).normal(size=(8, 16))).astype("float32")


class FailureError(Exception):
    """What goes wrong in one process."""


def fail():
    if KILLED is not None:
        os.kill(os.getpid(), arguments.signal)
    raise FailureError("here")


@contextlib.contextmanager
def failing_after(assignments):
    """Let the second process fail when it is about to assign once more. Yield a list of what was assigned."""
    assign, done = keras.Variable.assign, []

    def counted(variable, value):
        done.append(variable.path)
        if len(done) == assignments + 1 and RANK == 1:
            fail()
        return assign(variable, value)

    keras.Variable.assign = counted
    try:
        yield done
    finally:
        keras.Variable.assign = assign


@contextlib.contextmanager
def failing_in_a_call():
    """Let the second process fail when it calls a layer."""
    call = layers.Dense.call

    def failing(layer, *args, **kwargs):
        if RANK == 1:
            fail()
        return call(layer, *args, **kwargs)

    layers.Dense.call = failing
    try:
        yield
    finally:
        layers.Dense.call = call


class Failing(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        if RANK == 1:
            fail()
        return np.ones(shape, "float32")


def shards(model):
    """Return what this process holds of each weight."""
    return [np.array(shard.data) for weight in model.weights for shard in weight.value.addressable_shards]


keras.utils.set_random_seed(0)
mesh = keras.distribution.DeviceMesh((1, jax.device_count()), ("batch", "units"), keras.distribution.list_devices())
layout_map = keras.distribution.LayoutMap(mesh)
layout_map[".*kernel"] = (None, "units")
found = {}
with keras.distribution.ModelParallel(layout_map=layout_map, auto_shard_dataset=False).scope():
    stack = [layers.Dense(16, "relu", name=name) for name in ("a", "b")]
    model = keras.Sequential([keras.Input((16,)), *stack, layers.Dense(8, name="c")])
    model.layers[0].bias.assign(np.where(np.arange(16) < 8, -100.0, 0.0))  # units that are dormant
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    adapted = keras.Sequential([keras.Input((16,)), layers.Dense(16, name="d"), layers.Dense(16, name="e")])
    for layer in adapted.layers:
        layer.enable_lora(2)
    folder = arguments.folder
    torn = os.path.join(folder, f"torn.{RANK}")  # whole for the first process only
    orthogonal = {"*kernel": "initx.orthogonal"}
    calls = {
        "initialize": (model, 2, lambda: keras_initx.initialize(model, orthogonal, seed=1)),
        "initialize at the last": (model, 5, lambda: keras_initx.initialize(model, seed=1, reset=False)),
        "initializer": (model, 99, lambda: keras_initx.initialize(model, {"b/kernel": Failing()}, seed=1)),
        "load_pretrained": (model, 2, lambda: keras_initx.load_pretrained(model, folder, layout="torch")),
        "torn file": (model, 99, lambda: keras_initx.load_pretrained(model, torn, layout="torch")),
        "shrink_and_perturb": (model, 2, lambda: keras_initx.models.shrink_and_perturb(model, orthogonal, seed=1)),
        "reset_dormant": (model, 2, lambda: models.reset_dormant(model, batch, seed=1)),
        "lora": (adapted, 2, lambda: models.initialize_lora(adapted, seed=1)),
        "pissa": (adapted, 2, lambda: models.initialize_lora(adapted, "pissa")),
        # Before the kernels are assigned for good, three passes assign them.
        "lsuv": (model, None, functools.partial(models.lsuv, model, batch, seed=1)),
    }
    in_a_pass = {f"{name} in a forward pass": calls[name] for name in ("reset_dormant", "lsuv")}
    if KILLED is not None:
        calls = {KILLED: (calls | in_a_pass)[KILLED]}
    for name, (changed, assignments, call) in calls.items():
        if assignments is None:  # the last but one
            with failing_after(10**6) as done:
                call()
            assignments = len(done) - 1
            keras_initx.initialize(changed, seed=2)
        failing = failing_in_a_call() if name in in_a_pass else failing_after(assignments)
        former = shards(changed)
        error = None
        with failing:
            try:
                call()
            except Exception as raised:
                error = raised
        same = all(map(np.array_equal, shards(changed), former))
        found[name] = [type(error).__name__, str(error), same]
    if KILLED is None:
        keras_initx.initialize(model, seed=3)
        found["digest"] = models.weights_digest(model)

sys.stdout.write(json.dumps(found))
sys.stdout.flush()
if arguments.stays:
    signal.pause()
if KILLED is not None:
    os._exit(0)  # JAX would wait for the other
