"""Outputs that are no probabilities for their loss are named, however they are made."""

import keras
import numpy as np
import pytest
from keras import layers
from last_layers import DRAWS, LABELS, LOSSES, SEVERAL, SIDE, Probabilities, X, logarithms, network, problems, verdicts

# Keras itself warns of a softmax of one unit, and on TensorFlow of probabilities taken for logits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*from_logits=True.*:UserWarning"),
]
SPARSE, DENSE, BINARY = LOSSES.SparseCategoricalCrossentropy, LOSSES.CategoricalCrossentropy, LOSSES.BinaryCrossentropy


class OwnLoss(SPARSE):
    """May read outputs in another way than its base class."""


OWN = {
    "function": lambda y, outputs: keras.ops.sparse_categorical_crossentropy(y, outputs, from_logits=True),
    "subclass": OwnLoss(from_logits=True),
}


@pytest.mark.parametrize("form", OWN)
def test_an_own_loss_is_read_as_what_it_computes(form):
    assert problems(network(4), LABELS, OWN[form]) == []
    assert problems(network(4, "softmax"), LABELS, OWN[form]) == ["no probabilities"]


def test_what_a_loss_of_ones_own_does_beyond_0_and_1_is_not_said():
    cutting = logarithms(lambda p: keras.ops.clip(p, 1e-7, 1 - 1e-7))
    (found,) = verdicts(network(1), SIDE, cutting)
    assert found.evidence.endswith("the loss (like binary_crossentropy) takes them for probabilities")
    (found,) = verdicts(network(1), SIDE, BINARY())
    assert found.evidence.endswith("It cuts off values outside [0, 1], and these get no gradient")


def test_an_activation_in_own_code_is_known_by_its_values():
    model = Probabilities(keras.ops.softmax)
    assert problems(model, LABELS, SPARSE()) == []
    assert problems(model, LABELS, SPARSE(from_logits=True)) == ["no probabilities"]
    # Numbers between 0 and 1 may be logits, if other weights would give others.
    for activation, expected in ((keras.ops.sigmoid, ["no probabilities"]), (lambda x: 0.5 + x / 100, [])):
        assert problems(Probabilities(activation), SEVERAL, BINARY(from_logits=True)) == expected


AFTER = {
    "layer": layers.Softmax,
    "activation": lambda: layers.Activation("softmax"),
    "operation": lambda: keras.ops.softmax,
}


@pytest.mark.parametrize("after", AFTER)
def test_an_activation_may_follow_the_last_layer(after):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, AFTER[after]()(layers.Dense(4)(inputs)))
    assert problems(model, LABELS, SPARSE()) == []
    found = verdicts(model, LABELS, SPARSE(from_logits=True))
    assert "ends in softmax" in found[0].evidence


def test_a_reshaped_output_keeps_its_activation():
    inputs = keras.Input((8,))
    outputs = layers.Reshape((4,))(layers.Dense(4, "sigmoid")(inputs))
    assert problems(keras.Model(inputs, outputs), SEVERAL, BINARY(from_logits=True)) == ["no probabilities"]


def test_classes_along_another_axis():
    pixels = DRAWS.normal(size=(8, 3, 4, 4)).astype("float32")
    inputs = keras.Input((3, 4, 4))
    hidden = layers.Permute((3, 1, 2))(layers.Dense(5)(layers.Permute((2, 3, 1))(inputs)))
    model = keras.Model(inputs, layers.Softmax(axis=1)(hidden))
    y = DRAWS.integers(0, 5, (8, 4, 4))
    assert problems(model, y, SPARSE(axis=1), x=pixels) == []
    assert problems(model, y, SPARSE(axis=1, from_logits=True), x=pixels) == ["no probabilities"]


def test_the_axis_of_the_classes_is_that_of_the_loss_where_several_have_one_size():
    x, y = DRAWS.normal(size=(8, 4, 4)), DRAWS.integers(0, 4, (8, 4))

    def network(axis):
        return keras.Sequential([keras.Input((4, 4)), layers.Dense(4), layers.Softmax(axis=axis)])

    assert problems(network(1), y, SPARSE(axis=1), x=x) == []
    assert problems(network(2), y, SPARSE(axis=1), x=x) == ["no probabilities"]


@pytest.mark.release_backends
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_float16"])
def test_a_softmax_over_the_examples_in_own_code_is_known_by_its_sums(dtype):
    model = Probabilities(lambda x: keras.ops.softmax(x, axis=0))
    model.out.dtype_policy = keras.DTypePolicy(dtype)
    (found,) = verdicts(model, LABELS, SPARSE())
    assert "the output of out adds up to 1 over the examples (axis 0)" in found.evidence


def test_probabilities_may_add_up_to_1_by_chance():
    half = keras.Sequential([keras.Input((8,)), layers.Dense(1, keras.ops.sigmoid, kernel_initializer="zeros")])
    assert problems(half, SIDE[:2], BINARY(), x=X[:2]) == []


class Masked(keras.Model):
    """Set the logits of some classes to minus infinity, which the loss takes."""

    def __init__(self):
        super().__init__()
        self.out = layers.Dense(8, name="out")

    def call(self, inputs):
        return keras.ops.where(np.arange(8) < 4, self.out(inputs), -np.inf)


def test_outputs_may_be_infinite_on_purpose():
    if not np.isfinite(keras.ops.convert_to_numpy(SPARSE(from_logits=True)(LABELS, Masked()(X)))):
        pytest.skip("this version of Keras multiplies infinite logits by 0")
    assert problems(Masked(), LABELS, SPARSE(from_logits=True)) == []


def test_a_layer_without_activation_makes_logits_whatever_they_are():
    model = network(1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(0.3))
    assert "no probabilities" in problems(model, SIDE, "binary_crossentropy")


class Squashed(layers.Dense):
    """Applies a function in its own `call`."""

    def call(self, inputs):
        return keras.ops.sigmoid(super().call(inputs))


def test_a_subclass_of_a_layer_may_make_probabilities():
    model = keras.Sequential([keras.Input((8,)), Squashed(1)])
    assert problems(model, SIDE, "binary_crossentropy") == []
