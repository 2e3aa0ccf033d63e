"""All that a model holds has a kind."""

import keras
import numpy as np
import pytest

from keras_initx.backends._current import backend
from keras_initx.inspection._inventory import Inventory

layers = keras.layers


def kinds(model):
    return {item.path: item.kind for item in Inventory(model).weights_and_buffers}


def test_weights_have_their_kinds_also_if_they_are_frozen():
    stack = [layers.Normalization(name="data"), layers.SpectralNormalization(layers.Dense(3), name="wrapper")]
    model = keras.Sequential([keras.Input((4,)), *stack, layers.BatchNormalization(name="norm"), layers.Dropout(0.5)])
    model.trainable = False
    assert kinds(model) == {
        "data/mean": "statistic",
        "data/variance": "statistic",
        "data/count": "counter",
        "wrapper/vector_u": "state",
        "wrapper/dense/kernel": "parameter",
        "wrapper/dense/bias": "parameter",
        "norm/gamma": "parameter",
        "norm/beta": "parameter",
        "norm/moving_mean": "statistic",
        "norm/moving_variance": "statistic",
    }


@pytest.mark.release_backends
def test_no_value_is_read_to_know_what_a_model_holds(monkeypatch):
    inputs = keras.Input((8, 8, 3))
    x = layers.Reshape((64, 4))(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs)))
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(x)
    model = keras.Model(inputs, layers.Dense(4)(x + layers.MultiHeadAttention(2, 4)(x, x)))
    model.layers[-1].enable_lora(2)
    for owner, name in (backend, "host_view"), (keras.ops, "convert_to_numpy"), (keras.Variable, "numpy"):
        monkeypatch.setattr(owner, name, lambda *_: pytest.fail("a value is read"))
    found = Inventory(model).weights_and_buffers
    assert {item.kind for item in found} == {"parameter", "statistic"}
    assert all(item.axes and item.fans and item.groups and item.phases for item in found if item.name == "kernel")


def test_a_quantized_kernel_is_a_parameter():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")])
    model.layers[0].quantize("int8")
    assert set(kinds(model).values()) == {"parameter"}


def test_buffers_that_torch_saves_are_found_once():
    import torch

    module = torch.nn.BatchNorm1d(4)
    module.register_buffer("places", torch.arange(4))
    module.register_buffer("scratch", torch.ones(4), persistent=False)
    model = keras.Sequential([layers.TorchModuleWrapper(module, name=name) for name in ("a", "b")])
    model(np.ones((2, 4), "float32"))
    found = {path: kind for path, kind in kinds(model).items() if kind != "parameter"}
    buffers = dict.fromkeys(["a/running_mean", "a/running_var", "a/places"], "buffer")
    assert found == buffers | {"a/num_batches_tracked": "counter"}
