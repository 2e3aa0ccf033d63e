"""A layer that is called on an array while a functional model is made is a constant there, and not in the model."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import everywhere

import keras_initx

TOKENS = np.random.default_rng(0).integers(0, 20, (32, 6))


def model_of(constant, is_nested=False):
    """Return a model of tokens that adds a constant to their rows."""
    inputs = keras.Input((6,), dtype="int32")
    hidden = layers.Embedding(20, 8, name="tokens")(inputs)
    model = keras.Model(inputs, layers.Dense(3, name="last")(hidden + constant))
    return keras.Sequential([keras.Input((6,), dtype="int32"), model]) if is_nested else model


def verdicts(model):
    found = keras_initx.diagnose(model, TOKENS).verdicts
    return [one for one in found if one.problem == "untracked weights"]


def positions():
    # No other layer of the process has these values.
    values = keras_initx.RandomUniform(seed=20261129)
    return layers.Embedding(6, 8, embeddings_initializer=values, name="positions")


@pytest.mark.parametrize(
    "is_nested",
    everywhere([False, True], [False], others=[pytest.mark.release_backends]),
    ids=["alone", "nested"],
)
def test_an_embedding_of_a_range_is_named(is_nested):
    layer = positions()
    (verdict,) = verdicts(model_of(layer(ops.arange(6)), is_nested))
    assert verdict.level == "error"
    assert "a constant of shape (6, 8) that was computed from positions/embeddings" in verdict.evidence


@pytest.mark.release_backends
def test_what_a_layer_that_is_gone_has_made_is_no_silence():
    """Torch keeps what a tensor was computed from; elsewhere it is not known, and a note says so."""
    (verdict,) = verdicts(model_of(layers.Dense(8)(np.random.default_rng(0).normal(size=(6, 4)).astype("float32"))))
    expected = "error" if keras.backend.backend() == "torch" else "note"
    assert verdict.level == expected


def test_a_frozen_layer_a_mask_and_a_layer_in_the_graph_are_none():
    frozen = positions()
    frozen.trainable = False
    assert verdicts(model_of(frozen(ops.arange(6)))) == []
    assert verdicts(model_of(ops.cast(ops.tri(6, 8), "float32"))) == []
    inputs = keras.Input((6,), dtype="int32")
    places = positions()(ops.cumsum(ops.ones_like(inputs), axis=1) - 1)
    model = keras.Model(inputs, layers.Dense(3)(layers.Embedding(20, 8)(inputs) + places))
    assert verdicts(model) == []
