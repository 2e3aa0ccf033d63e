"""An activation that makes unrelated outputs of neighboring inputs gets a note."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx

NOISE = np.random.default_rng(0)
AXIS = np.linspace(-1, 1, 24)
X = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2).astype("float32")
Y = np.sin(3 * X[:, :1])


def sine(factor):
    return lambda values: ops.sin(factor * values)


class Sine(layers.Layer):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return ops.sin(self.factor * x)


class OwnDense(layers.Layer):
    """A layer of one's own with its kernel and activation."""

    def __init__(self, activation):
        super().__init__(name="first")
        self.own_activation = activation

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 64), initializer="glorot_uniform", name="kernel")

    def call(self, x):
        return self.own_activation(x @ self.kernel)


def dense(activation=None):
    kernel = keras_initx.RandomUniform(-0.5, 0.5, seed=1)
    return layers.Dense(64, activation, kernel_initializer=kernel, name="first")


def functional(factor):
    inputs = keras.Input((2,))
    return keras.Model(inputs, layers.Dense(1)(ops.sin(factor * dense()(inputs))))


def stacked(*stack):
    return keras.Sequential([keras.Input((2,)), *stack, layers.Dense(1)])


WRAPPING = {
    "twice 30": lambda: stacked(dense(sine(900))),
    "layer": lambda: stacked(dense(), Sine(3000)),
    "operation": lambda: functional(2000),
    "own kernel": lambda: stacked(OwnDense(sine(2000))),
}
SMOOTH = {
    "30": lambda: stacked(dense(sine(30))),
    "layer of 30": lambda: stacked(dense(), Sine(30)),
    "operation of 30": lambda: functional(30),
    "own mish": lambda: stacked(OwnDense(lambda values: values * ops.tanh(ops.softplus(values)))),
    "steps": lambda: stacked(dense(lambda values: ops.sign(values) + 0 * values)),
}


def noted(model):
    verdicts = keras_initx.diagnose(model, X, Y, loss="mse").verdicts
    return [(one.level, one.layers) for one in verdicts if one.problem == "wrapping activation"]


@pytest.mark.release_backends
@pytest.mark.parametrize("name", WRAPPING)
def test_an_activation_that_wraps_is_a_note(name):
    assert noted(WRAPPING[name]()) == [("note", ("first",))]


@pytest.mark.parametrize("name", SMOOTH)
def test_one_that_does_not_is_none(name):
    assert noted(SMOOTH[name]()) == []


@pytest.mark.parametrize(
    "function",
    [
        lambda z: (z / 3) ** 80,
        lambda z: ops.exp(20 * (z - 3)),
        lambda z: z + ops.convert_to_tensor(NOISE.normal(size=(8,)).astype("float32")),
    ],
    ids=["power", "exponential", "noise of NumPy"],
)
def test_what_keeps_the_order_of_sizes_or_differs_by_chance_is_no_wrap(function):
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8), layers.Lambda(function), layers.Dense(1)])
    report = keras_initx.diagnose(model, x, x[:, :1], loss="mse")
    assert "wrapping activation" not in [verdict.problem for verdict in report.verdicts]
