"""Which weights are equal where one initializer is used several times, and which are not."""

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


def bidirectional(initializer):
    layer = layers.Bidirectional(layers.LSTM(4, recurrent_initializer=initializer))
    layer.build((None, 5, 4))
    return to_numpy(layer.forward_layer.cell.recurrent_kernel), to_numpy(layer.backward_layer.cell.recurrent_kernel)


every_layer = pytest.mark.parametrize("build", [attention, bidirectional])


@every_layer
def test_copies_without_a_seed_have_draws_of_their_own(build):
    one, other = build(keras_initx.HeNormal())
    assert not np.array_equal(one, other)


@every_layer
@pytest.mark.parametrize("seed", [7, keras.random.SeedGenerator(7)], ids=["integer", "generator"])
def test_copies_with_a_seed_are_equal(build, seed):
    one, other = build(keras_initx.HeNormal(seed=seed))
    np.testing.assert_array_equal(one, other)


class Parts(layers.Layer):
    """A layer that hands one initializer to each of its parts."""

    def __init__(self, initializer, units=(4, 4)):
        super().__init__()
        self.parts = [layers.Dense(count, kernel_initializer=initializer) for count in units]

    def build(self, input_shape):
        for part in self.parts:
            part.build(input_shape)


def in_parts(initializer):
    layer = Parts(initializer)
    layer.build((None, 4))
    return [part.kernel for part in layer.parts]


def in_one_layer(initializer):
    layer = layers.GRU(4, kernel_initializer=initializer, recurrent_initializer=initializer)
    layer.build((None, 5, 4))
    return [layer.cell.kernel, layer.cell.recurrent_kernel]


every_sharing = pytest.mark.parametrize("build", [in_parts, in_one_layer])


@every_sharing
@pytest.mark.parametrize(
    "initializer",
    [keras_initx.HeNormal(), keras_initx.Scaled(keras_initx.HeNormal(), 0.5)],
    ids=["drawn", "Scaled"],
)
def test_an_object_gives_the_same_values_again(build, initializer):
    one, other = build(initializer)
    np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


@every_sharing
def test_a_shared_object_with_a_generator_gives_new_values(build):
    one, other = build(keras_initx.HeNormal(seed=keras.random.SeedGenerator(1)))
    assert not np.array_equal(to_numpy(one), to_numpy(other))


@every_sharing
def test_a_string_id_is_the_answer(build):
    one, other = build("initx.he_normal")
    assert not np.array_equal(to_numpy(one), to_numpy(other))
