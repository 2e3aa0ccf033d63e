"""Gates are products of two kernels of one input, one through an activation."""

import keras
from keras import layers

from keras_initx.structure._architecture import architecture_of

WIDTH = 8


def names(operations):
    return [operation.name for operation in operations]


def test_of_two_kernels_whose_products_are_multiplied_one_is_the_gate():
    inputs = keras.Input((WIDTH,))
    gate = layers.Dense(16, "silu", name="a")(inputs)
    product = layers.Dense(16, name="b")(inputs) * gate
    (found,) = architecture_of(keras.Model(inputs, layers.Dense(WIDTH, name="c")(product))).gates
    assert names((found.gate, found.up, found.down)) == ["a", "b", "c"]


def test_a_product_without_an_activation_is_no_gate():
    inputs = keras.Input((WIDTH,))
    product = layers.Dense(16)(inputs) * layers.Dense(16)(inputs)
    assert architecture_of(keras.Model(inputs, layers.Dense(WIDTH)(product))).gates == []
