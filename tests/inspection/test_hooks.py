"""What is known of a layer beside its weights: its activation, and the axis of its units."""

import keras
import numpy as np
import pytest
from asked import seen
from keras import layers
from stacks import by_name

import keras_initx

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


def test_units_are_channels_also_where_they_come_first(channels_first):
    images = abs(np.random.default_rng(0).normal(size=(16, 5, 4, 4)).astype("float32"))
    images[:, 0] *= -1
    (report,) = keras_initx.diagnose(keras.Sequential([keras.Input((5, 4, 4)), layers.ReLU()]), images).rows
    assert report.after.unit_is_silent.tolist() == [True, False, False, False, False]
    assert report.dead == pytest.approx(1 / 5)


SPREAD = np.linspace(-2, 2, 8)[:, None]


@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid", "relu", "gelu"])
def test_an_activation_is_known_by_its_values(name):
    large = keras_initx.RandomNormal(stddev=3.0)
    function = getattr(keras.ops, name)
    dense = layers.Dense(64, lambda x: function(x), kernel_initializer=large)
    report = keras_initx.diagnose(keras.Sequential([keras.Input((16,)), dense, layers.Dense(4)]), np.tile(SPREAD, 16))
    assert report.rows[0].activation == name
    is_bounded = name in ("tanh", "hard_sigmoid")
    assert [verdict.problem for verdict in report.verdicts] == ["saturated"] * is_bounded


@pytest.mark.parametrize("activation", [lambda x: 10 * keras.ops.tanh(x), lambda x: x + 1], ids=["scaled", "linear"])
def test_another_function_is_not_taken_for_a_known_activation(activation):
    dense = layers.Dense(16, activation)
    report = keras_initx.diagnose(keras.Sequential([keras.Input((16,)), dense]), 9 * np.tile(SPREAD, 16))
    assert report.rows[0].activation == "<lambda>"


class Sine(layers.Layer):
    def call(self, x):
        return keras.ops.sin(30.0 * x)


@pytest.mark.parametrize(
    "stack",
    [
        lambda: [layers.Dense(64, Sine())],
        lambda: [layers.Dense(64), layers.Activation(Sine().call)],
        lambda: [layers.Dense(64), layers.Lambda(Sine().call)],
        lambda: [layers.Dense(64), Sine()],
        lambda: [layers.Dense(64, Sine().call, dtype="mixed_bfloat16")],
    ],
    ids=["layer as activation", "activation layer", "lambda layer", "layer", "16 bits"],
)
def test_the_slope_of_an_activation_of_your_own(stack):
    model = keras.Sequential([keras.Input((8,)), *stack(), layers.Dense(1)])
    assert next(iter(seen(model, X).values())).slope == pytest.approx(30, rel=0.01)


@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        keras.ops.softmax,
        lambda x: x / (keras.ops.norm(x, axis=-1, keepdims=True) + 1e-3),
        lambda x: x * x[63],
    ],
    ids=["of Keras", "softmax", "normalization", "of the whole batch"],
)
def test_no_slope_of_other_activations(activation):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(64, activation), layers.Dense(1)])
    assert next(iter(seen(model, X).values())).slope is None


def test_softsign_is_saturated_where_it_has_the_slope_of_a_saturated_tanh():
    for activation, edge in (("tanh", 2.65), ("softsign", 6.1)):
        stack = [layers.Dense(8, kernel_initializer="identity"), layers.Activation(activation), layers.Dense(3)]
        model = keras.Sequential([keras.Input((8,)), *stack])
        x = np.tile([1.02 * edge, 0.98 * edge], (64, 4))
        report = by_name(keras_initx.diagnose(model, x))
        assert report[stack[1].name].saturated == 0.5
