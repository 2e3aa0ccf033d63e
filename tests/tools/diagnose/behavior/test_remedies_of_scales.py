"""What makes signals small without a kernel is named, and its remedy helps."""

import keras
import numpy as np
import pytest
from judged import CROSSENTROPY, LABELS, X
from keras import layers, ops

import keras_initx


class Times(layers.Layer):
    """Multiply by a number that is no weight."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return self.factor * x


def network(*between, nested=False):
    stack = [layers.Dense(32, name="first"), *between, layers.Dense(32, "relu", name="second")]
    if nested:
        stack = [keras.Sequential([keras.Input((64,)), *stack], name="inside")]
    return keras.Sequential([keras.Input((64,)), *stack, layers.Dense(5, name="out")])


def scale(kind, value):
    name = "scale" if kind is layers.RMSNormalization else "gamma"
    initializers = {f"{name}_initializer": keras.initializers.Constant(value)} if name == "gamma" else {}
    layer = kind(name="norm", **initializers)
    if name == "scale":
        layer.build((None, 32))
        layer.scale.assign(np.full(32, value))
    return layer


def remedies(model):
    """Return the texts of the remedies of the problems of a network, by the problems."""
    report = keras_initx.diagnose(model, X, LABELS, loss=CROSSENTROPY)
    return report, {one.problem: one.remedy.text for one in report.problems}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", [layers.LayerNormalization, layers.BatchNormalization])
def test_a_small_scale_of_a_normalization_becomes_1(kind, nested):
    model = network(scale(kind, 1e-6), nested=nested)
    report, found = remedies(model)
    path = "inside/norm" if nested else "norm"
    assert found == dict.fromkeys(["vanishing", "vanishing gradient"], f"set the scale of {path} to ones")
    keras_initx.initialize(model, report, seed=0)
    assert remedies(model)[1] == {}


@pytest.mark.rare
def test_a_scale_that_is_called_so_is_one_too():
    model = network(scale(layers.RMSNormalization, 1e-6))
    assert set(remedies(model)[1].values()) == {"set the scale of norm to ones"}


@pytest.mark.parametrize("how", ["layer", "operation"])
def test_an_operation_that_makes_numbers_small_is_named_and_no_weights_are_drawn(how):
    model = network(Times(1e-6))
    if how == "operation":
        inputs = keras.Input((64,))
        hidden = ops.multiply(layers.Dense(32, name="first")(inputs), 1e-6)
        model = keras.Model(inputs, layers.Dense(5, name="out")(layers.Dense(32, "relu", name="second")(hidden)))
    report, found = remedies(model)
    assert list(found) == ["vanishing", "vanishing gradient"]
    assert all(
        text.startswith("use larger numbers before second, because an operation there") for text in found.values()
    )
    assert not any(one.remedy.weights or one.remedy.lsuv for one in report.problems)


@pytest.mark.parametrize("factor", [0.1, 1, 3])
def test_usual_numbers_between_layers_are_no_cause(factor):
    assert remedies(network(Times(factor)))[1] == {}
