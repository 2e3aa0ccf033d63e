"""What a report shows of the weights of a layer."""

import dataclasses
from typing import NamedTuple

import keras
import numpy as np
import pytest
from asked import alone, asked
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx.tools.diagnose._kernel_values import kernel_values
from keras_initx.types import WeightReport


def weights_of(layer, shape):
    """Return the reports on the weights of a layer that has been given inputs of `shape`."""
    (found,) = [report for report in keras_initx.diagnose(*alone(layer, shape)).rows if report.weights]
    return {weight.name: weight for weight in found.weights}


def test_size_and_gain_of_a_kernel():
    layer = layers.Dense(30)
    kernel = weights_of(layer, (50,))["kernel"]
    values = to_numpy(layer.kernel)
    assert kernel.shape == (50, 30)
    assert kernel.mean == pytest.approx(values.mean(), abs=1e-6)
    assert kernel.std == pytest.approx(values.std(), rel=1e-5)
    assert kernel.norm == pytest.approx(np.linalg.norm(values), rel=1e-5)
    assert kernel.gain == pytest.approx(values.std() * np.sqrt(50), rel=1e-5)


class Several(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="zeros", name="factor")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count", trainable=False)
        self.means = self.add_weight(shape=(shape[-1],), initializer="ones", name="means", trainable=False)
        self.kernel = self.add_weight(shape=(shape[-1], 3), initializer="ones", name="kernel")
        self.frozen = self.add_weight(shape=(shape[-1], 3), initializer="zeros", name="frozen", trainable=False)

    def call(self, inputs):
        return self.factor + inputs @ (self.kernel + self.frozen)


def test_each_form_of_a_weight_has_what_is_measured_of_it():
    weights = weights_of(Several(), (5,))
    kernel = {"axes": ((0,), (1,)), "fan_in": 5, "gain": 0}
    expected = {
        "factor": WeightReport("factor", "several/factor", shape=(), mean=0, std=0, zeros=1, norm=0),
        "means": WeightReport(
            "means", "several/means", shape=(5,), mean=1, std=0, zeros=0, norm=np.sqrt(5), trainable=False
        ),
        "kernel": WeightReport(
            "kernel", "several/kernel", shape=(5, 3), mean=1, std=0, zeros=0, norm=np.sqrt(15), **kernel
        ),
        # What is not trained may be zeros.
        "frozen": WeightReport(
            "frozen", "several/frozen", shape=(5, 3), mean=0, std=0, zeros=1, norm=0, trainable=False, **kernel
        ),
    }
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        own, other = (dataclasses.asdict(report) for report in (weight, expected[name]))
        assert own.pop("norm") == pytest.approx(other.pop("norm"))
        assert own == other


class Posterior(layers.Layer):
    """Multiplies by the mean of a distribution of kernels, which is trained."""

    def build(self, shape):
        self.mean = self.add_weight(shape=(shape[-1], 3), initializer="ones", name="mean")

    def call(self, inputs):
        return inputs @ self.mean


class Fan(NamedTuple):
    """A layer, the shape of its inputs, and how many inputs each unit of a weight has."""

    layer: keras.Layer
    shape: tuple
    name: str
    fan_in: int


@pytest.mark.parametrize(
    Fan._fields,
    [
        Fan(layer=layers.Conv2D(4, 3, groups=2), shape=(8, 8, 6), name="kernel", fan_in=27),
        Fan(layer=layers.DepthwiseConv1D(3, depth_multiplier=2), shape=(8, 6), name="kernel", fan_in=3),
        Fan(layer=layers.SeparableConv2D(4, 3), shape=(8, 8, 6), name="depthwise_kernel", fan_in=9),
        Fan(layer=layers.LSTM(4), shape=(5, 6), name="recurrent_kernel", fan_in=4),
        Fan(layer=layers.EinsumDense("...c,cde->...de", (4, 7)), shape=(5, 6), name="kernel", fan_in=6),
        Fan(layer=Posterior(), shape=(5,), name="mean", fan_in=5),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_inputs_of_a_unit(layer, shape, name, fan_in):
    weights = weights_of(layer, shape)
    # Keras has changed the name of a depthwise kernel between versions.
    kernel = weights.get(name) or weights["depthwise_kernel"]
    assert kernel.fan_in == fan_in


def test_biases_and_scales_are_no_kernels():
    assert weights_of(layers.GRU(4), (5, 6))["bias"].fan_in is None
    assert asked(kernel_values, *alone(layers.LayerNormalization(axis=[1, 2]), (5, 6))) == {}
    # Of two axes, what a normalization shifts and divides by is a matrix.
    adapted = weights_of(layers.Normalization(axis=(1, 2)), (5, 6))
    assert [adapted[name].fan_in for name in ("mean", "variance")] == [None, None]


def test_factors_of_an_adapter_have_the_inputs_of_their_own():
    # The last letter of the kernel is summed, and the second factor has fewer axes than the kernel.
    layer = layers.EinsumDense("abe,cde->abcd", (None, 2, 4))
    model, x = alone(layer, (5, 8))
    layer.enable_lora(3)
    (report,) = keras_initx.diagnose(model, x).rows
    assert {weight.name: weight.fan_in for weight in report.weights}["lora_kernel_b"] == 3
