"""A ReLU before a softmax is named where it cuts logits off."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 20)).astype("float32")
LABELS = RNG.integers(0, 5, 64)
PROBABILITIES = "sparse_categorical_crossentropy"
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def hidden():
    return layers.Dense(32, "tanh")


def functional():
    inputs = keras.Input((20,))
    return keras.Model(inputs, ops.softmax(ops.relu(layers.Dense(5)(hidden()(inputs)))))


def stacked(*stack):
    return keras.Sequential([keras.Input((20,)), hidden(), *stack])


CUT_OFF = {
    "softmax layer": (lambda: stacked(layers.Dense(5, "relu", name="out"), layers.Softmax()), PROBABILITIES),
    "from_logits": (lambda: stacked(layers.Dense(5, "relu", name="out")), LOGITS),
    "layers": (lambda: stacked(layers.Dense(5), layers.ReLU(), layers.Activation("softmax")), PROBABILITIES),
    "operations": (functional, PROBABILITIES),
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_logits_that_a_relu_cuts_off_are_a_problem(name):
    make, loss = CUT_OFF[name]
    (verdict,) = keras_initx.diagnose(make(), X, LABELS, loss=loss).problems
    assert (verdict.problem, verdict.level) == ("cut-off logits", "warning")


def test_a_relu_that_cuts_nothing_off_or_has_a_kernel_behind_it_is_none():
    above = layers.Dense(5, "relu", bias_initializer=keras.initializers.Constant(9.0))
    assert keras_initx.diagnose(stacked(above), X, LABELS, loss=LOGITS).ok
    stack = layers.Dense(5, "relu"), layers.Dense(5, "softmax")
    assert keras_initx.diagnose(stacked(*stack), X, LABELS, loss=PROBABILITIES).ok
