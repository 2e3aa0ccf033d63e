"""Layers in a row without an activation get a note."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx

X = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")


def dense(name, activation=None):
    return layers.Dense(20, activation, name=name)


def notes(*stack):
    report = keras_initx.diagnose(keras.Sequential([keras.Input((20,)), *stack]), X, X, loss="mse")
    assert report.ok
    return [one.layers for one in report.verdicts if one.problem == "linear layers"]


@pytest.mark.parametrize(
    "between", [(), (layers.Dropout(0.1),), (layers.BatchNormalization(),), (layers.Reshape((4, 5)), layers.Flatten())]
)
def test_three_layers_without_an_activation_are_a_note(between):
    assert notes(dense("one"), *between, dense("two"), dense("three")) == [("one", "two", "three")]


@pytest.mark.parametrize("between", [layers.ReLU(), layers.Activation("tanh"), layers.LayerNormalization()])
def test_an_activation_or_a_normalization_of_each_example_parts_them(between):
    assert notes(dense("one"), between, dense("two"), dense("three")) == []


def test_two_factors_of_a_kernel_are_none_nor_are_branches():
    assert notes(dense("one"), dense("two")) == []
    assert notes(dense("one"), dense("two", "relu"), dense("three"), dense("four")) == []
    inputs = keras.Input((20,))
    hidden = inputs
    for name in ("one", "two", "three"):
        hidden = hidden + dense(name)(hidden)
    assert keras_initx.diagnose(keras.Model(inputs, hidden), X, X, loss="mse").verdicts == []
