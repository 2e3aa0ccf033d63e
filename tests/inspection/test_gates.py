"""Gates are products of two kernels of one input, one through an activation."""

import keras
from keras import layers

from keras_initx.inspection._architecture import read_architecture

WIDTH = 8


def names(operations):
    return [operation.name for operation in operations]


def test_of_two_kernels_whose_products_are_multiplied_one_is_the_gate():
    inputs = keras.Input((WIDTH,))
    gate = layers.Dense(16, "silu", name="a")(inputs)
    product = layers.Dense(16, name="b")(inputs) * gate
    (found,) = read_architecture(keras.Model(inputs, layers.Dense(WIDTH, name="c")(product))).gates
    assert names((found.gate, found.up, found.down)) == ["a", "b", "c"]


def test_a_product_without_an_activation_is_no_gate():
    inputs = keras.Input((WIDTH,))
    product = layers.Dense(16)(inputs) * layers.Dense(16)(inputs)
    assert read_architecture(keras.Model(inputs, layers.Dense(WIDTH)(product))).gates == []


def test_of_two_activations_the_one_between_0_and_1_is_the_gate():
    inputs = keras.Input((WIDTH,))
    product = layers.Dense(16, "tanh", name="a")(inputs) * layers.Dense(16, "sigmoid", name="b")(inputs)
    (found,) = read_architecture(keras.Model(inputs, layers.Dense(WIDTH, name="c")(product))).gates
    assert names((found.gate, found.up)) == ["b", "a"]


def test_a_dropout_before_one_of_the_kernels_is_no_other_input():
    inputs = keras.Input((WIDTH,))
    product = layers.Dense(16, "silu")(layers.Dropout(0.1)(inputs)) * layers.Dense(16)(inputs)
    assert len(read_architecture(keras.Model(inputs, layers.Dense(WIDTH)(product))).gates) == 1


def test_a_tensor_that_a_part_of_itself_multiplies_is_no_gate():
    inputs = keras.Input((WIDTH,))
    hidden = layers.Dense(16)(inputs)
    product = hidden * keras.ops.sigmoid(hidden[:, :1])
    assert read_architecture(keras.Model(inputs, layers.Dense(WIDTH)(product))).gates == []
