"""A signal is compared with what reaches its layer: zeros by design are no lost signals."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import often

import keras_initx

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 16, 32)).astype("float32")
BOXES = RNG.uniform(size=(64, 6, 4)).astype("float32")


class Latents(layers.Layer):
    """Gives a table that is the same for all examples."""

    def __init__(self, initializer):
        super().__init__(name="latents")
        self.initializer = initializer

    def build(self, shape):
        self.table = self.add_weight(shape=(6, 32), initializer=self.initializer, name="table")

    def call(self, x):
        return ops.broadcast_to(self.table[None], (ops.shape(x)[0], 6, 32))


def decoder(start):
    """Return a decoder of two blocks, whose queries begin as `start` says."""
    inputs = keras.Input((16, 32))
    hidden = ops.zeros_like(inputs[:, :6]) if start is None else Latents(start)(inputs)
    for _ in range(2):
        hidden = layers.LayerNormalization()(hidden + layers.MultiHeadAttention(4, 8)(hidden, hidden))
        hidden = layers.LayerNormalization()(hidden + layers.MultiHeadAttention(4, 8)(hidden, inputs))
    return keras.Model(inputs, layers.Dense(4, name="out")(hidden))


@pytest.mark.release_backends
@pytest.mark.parametrize("start", often([None, "zeros"], ["zeros"]))
def test_queries_that_begin_at_nothing_are_no_problem(start):
    report = keras_initx.diagnose(decoder(start), X, BOXES, loss="mse")
    assert report.ok
    assert all(one.remedy.text.startswith("change nothing if") for one in report.verdicts)
    # Their keys get no gradient because of them.
    assert "no gradient" not in [one.problem for one in report.verdicts]


class Scale(layers.Layer):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def build(self, shape):
        self.alpha = self.add_weight(shape=self.shape, initializer="zeros", name="alpha")

    def call(self, x):
        return x * self.alpha


@pytest.mark.parametrize("shape", often([(), (1,), (32,), (1, 1, 32), (16, 1)], [(), (32,), (16, 1)]))
def test_scales_of_branches_that_begin_at_0_are_no_problem(shape):
    inputs = hidden = keras.Input((16, 32))
    for _ in range(3):
        hidden = hidden + Scale(shape)(layers.Dense(32, "relu", kernel_initializer="he_normal")(hidden))
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(hidden)))
    report = keras_initx.diagnose(model, X, BOXES[:, 0], loss="mse")
    assert report.ok
    assert all(one.remedy.text.startswith("change nothing if") for one in report.verdicts)


def test_an_operation_that_makes_zeros_of_all_inputs_is_a_problem():
    inputs = keras.Input((32,))
    hidden = layers.Dense(16, "relu", name="first")(ops.multiply(inputs, 0.0))
    model = keras.Model(inputs, layers.Dense(4)(hidden))
    first = keras_initx.diagnose(model, X[:, 0], BOXES[:, 0], loss="mse").problems[0]
    assert (first.problem, first.level, first.layers) == ("equal inputs", "warning", ("first",))


def test_a_table_of_words_of_zeros_loses_the_signal():
    embedding = layers.Embedding(20, 16, embeddings_initializer="zeros", name="words")
    model = keras.Sequential([keras.Input((8,), dtype="int32"), embedding, layers.Flatten(), layers.Dense(4)])
    (verdict,) = keras_initx.diagnose(model, RNG.integers(0, 20, (64, 8))).problems
    assert (verdict.problem, verdict.level, verdict.layers) == ("equal units", "error", ("words",))
