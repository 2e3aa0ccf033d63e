"""A call with symbolic tensors: what it is given, which layers it goes into, and that it leaves nothing behind."""

import keras
import pytest
from keras import layers

from keras_initx.structure._symbolic import is_followed, returns_the_same, symbolic_calls, symbolic_inputs


class Counting(layers.Layer):
    """Counts its calls in an attribute, and remembers the last tensor."""

    calls = 0

    def call(self, x):
        self.calls += 1
        self.last = x
        return x


def test_a_layer_has_no_attribute_of_the_call():
    layer = Counting()
    model = keras.Sequential([keras.Input((3,)), layer])
    before = dict(vars(layer))
    seen = []

    def follow(operation, args, options):
        seen.append(operation)
        return args[0] if returns_the_same(operation) else operation.call(*args, **options)

    with symbolic_calls([model, *model.layers], follow):
        model(keras.KerasTensor((2, 3)))
    assert layer in seen
    assert vars(layer) == before


@pytest.mark.parametrize("length", [5, 9])
def test_lengths_that_are_not_known_are_those_that_are_asked_for(length):
    ids, image = keras.Input((None,), dtype="int32", name="ids"), keras.Input((4, 4, 3), name="image")
    flat = layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(ids))
    model = keras.Model({"ids": ids, "image": image}, flat + layers.GlobalAveragePooling2D()(image))
    ((inputs,), options) = symbolic_inputs(model, length)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in inputs.items()} == {
        "ids": ((2, length), "int32"),
        "image": ((2, 4, 4, 3), "float32"),
    }
    assert options == {}


class Memory(layers.LSTM):
    """A layer of Keras with another name."""


@pytest.mark.parametrize(
    ("layer", "followed"),
    [
        (keras.Sequential([layers.Dense(3)]), True),
        (Counting(), True),
        (layers.Dense(3), False),
        (Memory(3), False),
        (layers.LayerNormalization(), False),
    ],
    ids=lambda value: getattr(type(value), "__name__", None),
)
def test_calls_of_models_and_of_users_layers_are_followed(layer, followed):
    assert is_followed(layer) is followed
