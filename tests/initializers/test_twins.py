"""One seed for several parts of a layer: a warning, and none where there is nothing to warn of."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from modes import to_numpy

import keras_initx


def attention(initializer):
    layer = layers.MultiHeadAttention(2, 8, kernel_initializer=initializer)
    layer.build((None, 5, 16), (None, 5, 16))
    return to_numpy(layer.query_dense.kernel), to_numpy(layer.key_dense.kernel)


def grouped_attention(initializer):
    layer = layers.GroupQueryAttention(8, 4, 2, kernel_initializer=initializer)
    layer.build((None, 5, 16), (None, 5, 16))
    return to_numpy(layer._key_dense.kernel), to_numpy(layer._value_dense.kernel)


def bidirectional(initializer):
    layer = layers.Bidirectional(layers.LSTM(4, recurrent_initializer=initializer))
    layer.build((None, 5, 4))
    return to_numpy(layer.forward_layer.cell.recurrent_kernel), to_numpy(layer.backward_layer.cell.recurrent_kernel)


every_layer = pytest.mark.parametrize("build", [attention, grouped_attention, bidirectional])
SEEDS = [7, keras.random.SeedGenerator(7)]


@every_layer
@pytest.mark.parametrize("seed", SEEDS, ids=["integer", "generator"])
def test_a_seed_that_makes_twins_is_reported(build, seed):
    with pytest.warns(UserWarning, match=r"HeNormal\(seed=.* gives layers '\w+' and '\w+' of '\w+' the same"):
        one, other = build(keras_initx.HeNormal(seed=seed))
    np.testing.assert_array_equal(one, other)


@every_layer
def test_a_seed_within_another_initializer_is_reported(build):
    with pytest.warns(UserWarning, match=r"Scaled\(initializer=HeNormal\(seed=7.* the same weights"):
        build(keras_initx.Scaled(keras_initx.HeNormal(seed=7), 0.5))


@every_layer
def test_without_a_seed_the_parts_differ_and_nothing_is_reported(build):
    one, other = build(keras_initx.HeNormal())
    assert not np.array_equal(one, other)


def test_equal_constants_are_nobodys_twins():
    attention(keras_initx.ReLUBias())


def test_a_seed_in_one_recurrent_layer_is_fine():
    # Its two kernels have the same shape.
    layer = layers.LSTM(
        4, kernel_initializer=keras_initx.HeNormal(seed=1), recurrent_initializer=keras_initx.HeNormal(seed=2)
    )
    layer.build((None, 5, 4))


class Block(layers.Layer):
    """A layer that leaves it to Keras to build its parts when it is called."""

    def __init__(self, initializer):
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 8, kernel_initializer=initializer)

    def call(self, x):
        return self.attention(x, x)


def test_parts_that_are_built_in_a_call_are_compared():
    with pytest.warns(UserWarning, match="the same weights"):
        Block(keras_initx.HeNormal(seed=7))(np.ones((2, 5, 16), "float32"))


def time_distributed(first, second):
    return layers.TimeDistributed(layers.Dense(4, kernel_initializer=first)), (None, 5, 4)


def stacked(first, second):
    cells = [
        layers.SimpleRNNCell(4, kernel_initializer=first, recurrent_initializer=second),
        layers.SimpleRNNCell(4, kernel_initializer="initx.he_normal", recurrent_initializer="initx.orthogonal"),
    ]
    return layers.RNN(layers.StackedRNNCells(cells)), (None, 5, 4)


def separable(first, second):
    # Its two kernels have the same shape.
    return layers.SeparableConv1D(1, 1, depthwise_initializer=first, pointwise_initializer=second), (None, 5, 1)


def convolutional_lstm(first, second):
    return layers.ConvLSTM1D(4, 1, kernel_initializer=first, recurrent_initializer=second), (None, 5, 5, 4)


def bidirectional_of_two(first, second):
    forward = layers.GRU(4, kernel_initializer=first)
    return layers.Bidirectional(forward, backward_layer=layers.GRU(4, kernel_initializer=second, go_backwards=True)), (
        None,
        5,
        4,
    )


def model_of_two(first, second):
    dense = [layers.Dense(4, kernel_initializer=initializer) for initializer in (first, second)]
    return keras.Sequential([keras.Sequential(dense), layers.Dense(4, kernel_initializer=first)]), (None, 4)


@pytest.mark.parametrize(
    "make", [time_distributed, stacked, separable, convolutional_lstm, bidirectional_of_two, model_of_two]
)
def test_no_false_alarm(make):
    layer, shape = make(keras_initx.HeNormal(seed=1), keras_initx.HeNormal(seed=2))
    layer.build(shape)
    assert layer.weights


def test_the_warning_can_be_an_error_or_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        attention(keras_initx.HeNormal(seed=7))
    with pytest.raises(UserWarning, match="the same weights"):
        attention(keras_initx.HeNormal(seed=7))
