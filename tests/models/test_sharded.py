"""Functions for whole models hold little of a model that is spread over devices, and keep nothing of it."""

import keras
import numpy as np
import pytest
from meshes import distribution, mesh_of
from modes import BACKEND

import keras_initx
from keras_initx import models

pytestmark = pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only")
layers = keras.layers
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(8, 16)).astype("float32")
Y = np.ones((8, 8), "float32")


def network():
    stack = [layers.Dense(24, "relu", name="first"), layers.Dense(16, "relu", name="second"), layers.Dense(8)]
    return keras.Sequential([keras.Input((16,)), *stack])


def sharded(make=network):
    """Return a model whose kernels are in parts along both axes."""
    layout_map = distribution.LayoutMap(mesh_of((2, 4)))
    layout_map[".*kernel"] = ("inputs", "units")
    with distribution.ModelParallel(layout_map=layout_map).scope():
        model = make()
        keras_initx.initialize(model, seed=0)
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
    return model


def adapted(model):
    for layer in model.layers:
        layer.enable_lora(2)


CALLS = {
    "weights_digest": models.weights_digest,
    "diagnose": lambda model: keras_initx.diagnose(model, X, Y, loss="mse"),
    "audit": keras_initx.audit,
    "initialize": lambda model: keras_initx.initialize(model, {"first/kernel": "initx.orthogonal"}, seed=1),
    "load_pretrained": lambda model: keras_initx.load_pretrained(model, network()),
    "load_pretrained from itself": lambda model: keras_initx.load_pretrained(model, model),
    "lsuv": lambda model: models.lsuv(model, X, seed=1),
    "reset_dormant": lambda model: models.reset_dormant(model, X, threshold=0.9, seed=1),
    "shrink_and_perturb": lambda model: models.shrink_and_perturb(model, seed=1),
    "initialize_lora": lambda model: adapted(model) or models.initialize_lora(model, "pissa"),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_function_leaves_a_copy_on_the_host(name):
    """JAX keeps what NumPy gathers of an array, as long as the array lives."""
    model = sharded()
    before = [variable.value for variable in model.variables]
    CALLS[name](model)
    for value in [*before, *(variable.value for variable in model.variables)]:
        assert value._npy_value is None
