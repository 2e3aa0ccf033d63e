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


def test_the_warning_can_be_an_error_or_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        attention(keras_initx.HeNormal(seed=7))
    with pytest.raises(UserWarning, match="the same weights"):
        attention(keras_initx.HeNormal(seed=7))
