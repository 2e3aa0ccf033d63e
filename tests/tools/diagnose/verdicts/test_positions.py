"""Outputs that are the same for all positions are named where each position has a target."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8, 10)).astype("float32")
TAGS = RNG.integers(0, 3, (64, 8))


class Mean(layers.Layer):
    """Gives each node the mean of all, as attention with equal weights."""

    def call(self, x):
        return ops.broadcast_to(ops.mean(x, axis=1, keepdims=True), ops.shape(x))


def relu(name="hidden"):
    return layers.Dense(32, "relu", name=name)


def tags(activation="softmax", **options):
    return layers.Dense(3, activation, name="tags", **options)


def repeated():
    return [layers.LSTM(16), layers.RepeatVector(8)]


ALIKE = {
    "before the last kernel": lambda: [relu(), Mean(), relu("mixed"), tags()],
    "behind the last kernel": lambda: [relu(), tags(None), Mean(), layers.Softmax()],
    "one vector for all": lambda: [*repeated(), tags()],
}
SOUND = {
    "each by itself": lambda: [relu(), tags()],
    "last kernel of zeros": lambda: [relu(), tags(kernel_initializer="zeros")],
    "one vector, then steps": lambda: [*repeated(), layers.LSTM(16, return_sequences=True), tags()],
}


def problems(stack, y=TAGS):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 10)), *stack])
    report = keras_initx.diagnose(model, X, y, loss="sparse_categorical_crossentropy")
    return [(one.problem, one.level, one.layers) for one in report.problems]


@pytest.mark.release_backends
@pytest.mark.parametrize("name", ALIKE)
def test_positions_that_are_alike_are_a_problem(name):
    assert problems(ALIKE[name]()) == [("alike", "warning", ("tags",))]


@pytest.mark.parametrize("name", SOUND)
def test_positions_that_differ_or_only_begin_alike_are_none(name):
    assert problems(SOUND[name]()) == []


def test_positions_with_the_same_target_may_be_alike():
    assert problems(ALIKE["before the last kernel"](), np.repeat(TAGS[:, :1], 8, axis=1)) == []
