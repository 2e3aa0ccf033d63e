"""The layers that a diagnosis has seen, and which weights are of which."""

import keras
import numpy as np
import pytest
from asked import alone, asked, seen
from keras import layers
from stacks import by_name
from tied import SharedKernel

import keras_initx
from keras_initx.tools.diagnose._measured_layers import branch_ends

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")


def test_a_weight_that_layers_share_is_of_the_first():
    first = layers.Dense(8, name="first")
    first.build((None, 8))
    second = SharedKernel(first.kernel, name="second")
    report = keras_initx.diagnose(keras.Sequential([keras.Input((8,)), first, second]), X, X, loss="mse")
    weights = {layer.name: [weight.name for weight in layer.weights] for layer in report.rows}
    assert weights == {"first": ["kernel", "bias"], "second": []}
    assert [layer.gradient is None for layer in report.rows] == [False, True]


def test_layers_inside_models_have_the_names_of_both():
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="dense")], name="block")
    model = keras.Sequential([keras.Input((8,)), inner, layers.Dense(3, name="dense")])
    assert list(by_name(keras_initx.diagnose(model, X))) == ["block/dense", "dense"]


def test_layers_of_one_name_are_told_apart():
    class Pair(layers.Layer):
        def __init__(self):
            super().__init__(name="pair")
            self.parts = [layers.Dense(8, name="dense"), layers.Dense(8, name="dense")]

        def call(self, inputs):
            return self.parts[1](self.parts[0](inputs))

    model = keras.Sequential([keras.Input((8,)), Pair()])
    assert list(by_name(keras_initx.diagnose(model, X))) == ["pair/dense", "pair/dense (2)"]


def test_weights_of_a_layer_around_others_are_its_own():
    class Scaled(layers.Layer):
        def __init__(self):
            super().__init__(name="scaled")
            self.inner = keras.Sequential([layers.Dense(8, name="dense")], name="inner")

        def build(self, shape):
            self.factor = self.add_weight(shape=(8,), initializer="ones", name="factor")
            self.inner.build(shape)

        def call(self, inputs):
            return self.factor * self.inner(inputs)

    found = by_name(keras_initx.diagnose(keras.Sequential([keras.Input((8,)), Scaled()]), X))
    assert [weight.name for weight in found["scaled/inner/dense"].weights] == ["kernel", "bias"]
    assert [weight.name for weight in found["scaled"].weights] == ["factor"]


SPREAD = np.linspace(-2, 2, 8)[:, None]


def test_a_kernel_may_have_a_single_weight():
    dense = layers.Dense(1, kernel_initializer="ones", name="line")
    report = keras_initx.diagnose(keras.Sequential([keras.Input((1,)), dense]), 1000 * SPREAD.repeat(4)[:, None])
    assert report.rows[0].gain == 1
    assert [verdict.problem for verdict in report.verdicts] == ["unscaled inputs", "exploding"]


def test_the_ends_of_residual_branches():
    inputs = keras.Input((8,))
    hidden = layers.Dense(8, name="stem")(inputs)
    branch = layers.Dropout(0.1)(layers.Dense(8, name="end")(layers.Dense(8, "relu", name="inside")(hidden)))
    hidden = layers.Add()([hidden, branch])
    hidden = hidden + layers.Dense(8, name="end by an operation")(hidden)
    # Neither passes the other by.
    hidden = layers.Add()([layers.Dense(8, name="one")(hidden), layers.Dense(8, name="two")(hidden)])
    model = keras.Model(inputs, layers.Dense(3, name="out")(hidden))
    assert [layer.name for layer in asked(branch_ends, model, X)] == ["end", "end by an operation"]


def test_the_ends_of_branches_in_the_call_of_a_layer_of_ones_own_are_ends_too():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.inside, self.end = layers.Dense(8, "relu", name="inside"), layers.Dense(8, name="end")

        def call(self, inputs):
            return inputs + self.end(self.inside(inputs))

    model = keras.Sequential([keras.Input((8,)), layers.Dense(8), Block(), layers.Dense(3)])
    assert [layer.name for layer in asked(branch_ends, model, X)] == ["block/end"]


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_kernel_that_another_layer_has_is_shared_where_it_is_trained(is_trained):
    first = layers.Dense(8, name="first", trainable=is_trained)
    first.build((None, 8))
    model = keras.Sequential([keras.Input((8,)), first, SharedKernel(first.kernel, name="second")])
    shared = seen(model, X)["second"].shared_kernels
    assert [weight.path for weight in shared] == ["first/kernel"] * is_trained


@pytest.mark.parametrize(("value", "is_large"), [(0.6, True), (0.4, False)])
def test_a_bias_of_more_than_half_a_deviation_is_large(value, is_large):
    bias = keras.initializers.Constant(value)
    model, x = alone(layers.Dense(8, bias_initializer=bias, name="dense"), (8,))
    assert seen(model, x)["dense"].has_large_bias is is_large
