"""A call with symbolic tensors: what it is given, which layers it goes into, and that it leaves nothing behind."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx.inspection._symbolic import is_followed, make_symbolic_inputs, record_calls


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
    assert layer in operations(record_calls(model))
    assert vars(layer) == before


def operations(call):
    """Return all layers and operations in a call, also in those in it."""
    return [call.operation, *(one for inner in call.inside or () for one in operations(inner))]


class Asking(layers.Layer):
    """Asks for numbers after a layer, which symbolic tensors do not have."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        y = self.dense(x)
        return y + float(ops.convert_to_numpy(y).max())

    def compute_output_shape(self, shape):
        return shape


def test_calls_are_a_tree_in_their_order():
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="a"), layers.Dense(3, name="b")], name="inner")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(2, name="c")(inner(inputs) + inputs))
    root = record_calls(model)
    assert root.operation is model
    assert [call.operation.name for call in root.inside][0::2] == ["inner", "c"]
    first, addition, last = root.inside
    assert type(addition.operation).__name__ == "Add"
    assert addition.inputs == [*first.output_tensors, *root.inputs]
    assert last.inside is None
    assert {"a", "b"} < {one.name for one in operations(first)}


def test_a_call_that_cannot_be_followed_is_taken_as_a_whole_with_the_reason():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3), Asking(), layers.Dense(2)])
    (call,) = [one for one in flat(record_calls(model)) if isinstance(one.operation, Asking)]
    assert call.inside is None
    assert "Error: " in call.problem
    assert [tensor.shape for tensor in call.output_tensors] == [(2, 3)]


class Failing(keras.Model):
    """A model whose call cannot be followed to its end."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x) * float(ops.convert_to_numpy(x).max())


def test_the_calls_before_an_error_of_the_model_are_known():
    model = Failing()
    model(np.ones((2, 3), "float32"))
    root = record_calls(model)
    assert root.problem
    assert root.outputs is None
    assert [call.operation for call in root.inside] == [model.dense]


def test_the_layer_of_each_step_is_called_for_one():
    model = keras.Sequential([keras.Input((5, 3)), layers.TimeDistributed(layers.Dense(2, name="step"))])
    (call,) = [one for one in flat(record_calls(model)) if isinstance(one.operation, layers.TimeDistributed)]
    (step,) = call.inside
    assert (step.operation.name, step.inputs[0].shape, step.output_tensors[0].shape) == ("step", (2, 3), (2, 2))
    assert call.output_tensors[0].shape == (2, 5, 2)


def flat(call):
    return [call, *(one for inner in call.inside or () for one in flat(inner))]


@pytest.mark.parametrize("length", [5, 9])
def test_lengths_that_are_not_known_are_those_that_are_asked_for(length):
    ids, image = keras.Input((None,), dtype="int32", name="ids"), keras.Input((4, 4, 3), name="image")
    flat = layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(ids))
    model = keras.Model({"ids": ids, "image": image}, flat + layers.GlobalAveragePooling2D()(image))
    ((inputs,), options) = make_symbolic_inputs(model, length)
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
