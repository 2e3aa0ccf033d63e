"""Weights and buffers of the first layer that differs are named before its settings, if their values differ."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import BACKEND, to_numpy

import keras_initx

X = np.random.default_rng(0).normal(size=(8, 16)).astype("float32")


def build(epsilon=1e-3):
    """Return a model whose layers have automatic names."""
    seeded = keras_initx.GlorotUniform(seed=0)
    return keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(8, kernel_initializer=seeded),
            layers.BatchNormalization(epsilon=epsilon),
            layers.Dense(2, kernel_initializer=seeded),
        ],
        name="net",
    )


def change_bias(model):
    model.layers[0].bias.assign(np.full(8, 0.5))


def change_variance(model):
    variance = model.layers[1].moving_variance
    variance.assign(2 * to_numpy(variance))


def change_one_value(model):
    kernel = to_numpy(model.layers[2].kernel).copy()
    kernel[3, 1] += 0.1
    model.layers[2].kernel.assign(kernel)


@pytest.mark.parametrize(
    ("change", "layer", "weight"),
    [
        (change_bias, "dense", "bias"),
        (change_variance, "batch_normalization", "moving_variance"),
        (change_one_value, "dense_1", "kernel"),
    ],
)
def test_a_weight_with_other_values_is_named(change, layer, weight):
    other = build()
    change(other)
    report = keras_initx.compare_outputs(build(), X, other)
    assert report.first.path == layer
    assert report.reasons == [f"its weights have other values: {weight}"]


@pytest.mark.every_backend
def test_it_comes_before_settings(tmp_path):
    source = build(epsilon=0.1)
    change_variance(source)
    path = tmp_path / "outputs.npz"
    keras_initx.record_outputs(source, X).save(path)
    report = keras_initx.compare_outputs(build(), X, path)
    assert report.reasons == [
        "its weights have other values: moving_variance",
        "epsilon: 0.001 here, 0.1 there",
    ]


@pytest.mark.every_backend
def test_equal_weights_are_no_reason():
    report = keras_initx.compare_outputs(build(), X, build(epsilon=0.1))
    assert report.reasons == ["epsilon: 0.001 here, 0.1 there"]
    # Values that are rounded differently are the same.
    other = build(epsilon=0.1)
    other.layers[1].moving_variance.assign(np.full(8, 1 + 1e-7))
    assert keras_initx.compare_outputs(build(), X, other).reasons == report.reasons


class Block(layers.Layer):
    def build(self, shape):
        self.inner = layers.Dense(8, kernel_initializer=keras_initx.GlorotUniform(seed=1), name="inner")
        self.inner.build(shape)

    def call(self, x):
        return x + ops.matmul(x, self.inner.kernel) + self.inner.bias


def test_weights_of_a_layer_inside_that_is_not_called_are_named():
    models = []
    for value in (0.0, 1.0):
        models.append(keras.Sequential([keras.Input((8,)), Block(name="block")], name="net"))
        models[-1].get_layer("block").inner.bias.assign(np.full(8, value))
    report = keras_initx.compare_outputs(models[0], X[:, :8], models[1])
    assert report.reasons == ["its weights have other values: inner/bias"]


@pytest.mark.skipif(BACKEND != "torch", reason="a layer of torch needs its backend")
def test_a_buffer_of_a_module_is_named():
    import torch

    class Wrapped(layers.Layer):
        def __init__(self, mean, **options):
            super().__init__(**options)
            module = torch.nn.BatchNorm1d(16)
            module.running_mean.fill_(mean)
            self.module = module

        def call(self, x):
            return self.module(x)

    models = [keras.Sequential([keras.Input((16,)), Wrapped(mean, name="wrapped")]) for mean in (0.0, 1.0)]
    report = keras_initx.compare_outputs(models[0], X, models[1])
    (reason,) = report.reasons
    assert reason.startswith("its weights have other values: ")
    assert reason.endswith("running_mean")
