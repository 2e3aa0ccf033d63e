"""What is said of the weights themselves."""

import dataclasses
from typing import NamedTuple

import keras
import numpy as np
import pytest
from asked import asked
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx.backends import _moments
from keras_initx.diagnostics import WeightReport
from keras_initx.diagnostics._kernel_values import kernel_values
from keras_initx.diagnostics.verdicts.memory import gates

# Measurements are tested in test_measure.py, kinds of faults in test_cases.py.


def alone(layer, shape):
    """Return a model of one layer, and inputs of `shape` for it."""
    model = keras.Sequential([keras.Input(shape), layer])
    return model, np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")


def weights_of(layer, shape):
    """Return the reports on the weights of a layer that has been given inputs of `shape`."""
    (found,) = [report for report in keras_initx.diagnose(*alone(layer, shape)).layers if report.weights]
    return {weight.name: weight for weight in found.weights}


def values_of(kernel, bias=None):
    """Return what is known of the values of a kernel."""
    layer = layers.Dense(kernel.shape[1])
    model, x = alone(layer, (len(kernel),))
    layer.set_weights([kernel, np.zeros(kernel.shape[1]) if bias is None else bias])
    return asked(kernel_values, model, x)["dense/kernel"]


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


def transposed(strides):
    return layers.Conv2DTranspose(16, 4, strides, kernel_initializer="he_normal")


@pytest.mark.parametrize(
    ("layer", "std", "expected"),
    [
        # The square root of 2 over the 128 inputs of a unit, and twice that with the strides.
        *((transposed((1, 4)), std, expected) for std, expected in ((0.05, "0.125"), (0.2, None), (1.0, "0.25"))),
        (transposed(1), 0.2, "0.125"),
        (layers.DepthwiseConv2D(4, depthwise_initializer="he_normal"), 0.2, "0.354"),
    ],
    ids=["less", "between", "more", "no strides", "depthwise"],
)
def test_deviation_that_an_initializer_intends(layer, std, expected):
    layer.build((None, 8, 8, 8))
    kernel = layer.weights[0]
    kernel.assign(np.resize([std, -std], kernel.shape))
    found = [one for one in keras_initx.diagnose(*alone(layer, (8, 8, 8))).verdicts if one.problem == "wrong fan"]
    assert len(found) == (expected is not None)
    assert all(f"has standard deviation {std:g}; its initializer intends {expected} " in one.evidence for one in found)


def test_a_digest_tells_kernels_of_random_numbers_apart():
    kernel = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    others = [kernel[::-1], kernel.T, -kernel, np.nextafter(kernel, 9)]
    assert len({values_of(one).digest for one in (kernel, *others)}) == 5
    assert values_of(kernel).digest == values_of(kernel.copy()).digest is not None


def test_a_digest_is_that_of_all_pieces(monkeypatch):
    monkeypatch.setattr(_moments, "CHUNK", 4)
    kernel = np.arange(1.0, 17.0).reshape(4, 4)
    assert values_of(kernel).digest != values_of(kernel[[1, 0, 2, 3]]).digest


def test_kernels_of_few_numbers_have_no_digest():
    numbers = np.arange(1.0, 10.0)
    assert values_of(numbers[:7, None]).digest is None
    assert values_of(numbers[:8, None]).digest is not None
    # Of 16 numbers that are not zero, half or more.
    for distinct, is_told in ((8, False), (9, True)):
        kernel = np.append(np.resize(numbers[:distinct], 16), np.zeros(4)).reshape(4, 5)
        assert (values_of(kernel).digest is not None) == is_told


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


def test_units_with_the_same_weights_are_counted():
    kernel = np.random.default_rng(0).normal(size=(6, 5))
    assert values_of(kernel).identical_units == 0
    kernel[:, 3] = kernel[:, 1]
    assert values_of(kernel).identical_units == 2
    kernel[:, 4] = kernel[:, 1]
    assert values_of(kernel).identical_units == 3


def test_units_of_four_weights_are_compared():
    for count, same in ((3, 0), (4, 2)):
        kernel = np.random.default_rng(0).normal(size=(count, 5))
        kernel[:, 4] = kernel[:, 1]
        assert values_of(kernel).identical_units == same


def test_heads_with_the_same_weights_are_counted():
    layer = layers.EinsumDense("ab,bcd->acd", (3, 2))
    model, x = alone(layer, (6,))
    kernel = np.random.default_rng(0).normal(size=(6, 3, 2))
    kernel[:, 2] = kernel[:, 0]
    layer.set_weights([kernel])
    (values,) = asked(kernel_values, model, x).values()
    assert values.identical_units == 4


def test_units_of_few_weights_may_be_the_same_by_chance():
    layer = layers.Dense(2000, dtype="bfloat16", kernel_initializer=keras_initx.RandomNormal(seed=0))
    (values,) = asked(kernel_values, *alone(layer, (1,))).values()
    assert values.identical_units == 0


FORGETS = {"bias_initializer": keras_initx.LSTMForgetBias(2.0), "unit_forget_bias": False}


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.GRU(2, bias_initializer=keras_initx.GRUUpdateBias(2.0)), (5, 3), ("update", [2, 2])),
        (layers.GRU(2, reset_after=False, bias_initializer="ones"), (5, 3), ("update", [1, 1])),
        (layers.LSTM(2, **FORGETS), (5, 3), ("forget", [2, 2])),
        (layers.ConvLSTM1D(2, 3, **FORGETS), (5, 4, 3), ("forget", [2, 2])),
        (layers.LSTM(2, use_bias=False), (5, 3), ("forget", [0, 0])),
    ],
    ids=["gru", "gru that resets before", "lstm", "convolutional", "no bias"],
)
def test_the_bias_of_gates(layer, shape, expected):
    (found,) = asked(gates, *alone(layer, shape)).values()
    assert (found.gate, found.bias.tolist()) == expected


@pytest.mark.parametrize(
    ("biases", "overwritten"),
    [
        (([0, 0], [1, 1], [0, 0], [0, 0.5]), True),
        (([0, 0], [1, 0.5], [0, 0], [0.5, 0.5]), False),
        (([0, 0], [1, 1], [0, 0], [0, 0]), False),
        (([1, 1], [1, 1], [1, 1], [1, 1]), False),
        (([1, 1], [1, 1], [1, 1], [1, 0]), True),
    ],
    ids=["the last gate", "the initializer's own", "default", "ones", "all but one"],
)
def test_a_forget_bias_is_overwritten_where_any_other_gate_has_something_else(biases, overwritten):
    layer = layers.LSTM(2)
    model, x = alone(layer, (5, 3))
    layer.cell.bias.assign(np.concatenate(biases))
    verdicts = keras_initx.diagnose(model, x).verdicts
    assert any("`unit_forget_bias=True` overwrites it" in one.evidence for one in verdicts) == overwritten


def test_factors_of_an_adapter_have_the_inputs_of_their_own():
    # The last letter of the kernel is summed, and the second factor has fewer axes than the kernel.
    layer = layers.EinsumDense("abe,cde->abcd", (None, 2, 4))
    model, x = alone(layer, (5, 8))
    layer.enable_lora(3)
    (report,) = keras_initx.diagnose(model, x).layers
    assert {weight.name: weight.fan_in for weight in report.weights}["lora_kernel_b"] == 3
