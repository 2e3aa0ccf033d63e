"""Twins are found, and drawn anew as their layers draw them."""

import copy

import keras
import numpy as np
import pytest
from judged import found, level_of, mlp
from keras import initializers, layers

import keras_initx


class Noise(initializers.Initializer):
    """An initializer of a user."""

    def __call__(self, shape, dtype=None):
        return keras.random.normal(shape, seed=1)


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        (initializers.HeNormal(seed=1), "HeNormal()"),
        (initializers.RandomNormal(stddev=0.2, seed=1), "RandomNormal(stddev=0.2)"),
        (keras_initx.Orthogonal(gain="tanh", seed=1), 'Orthogonal(gain="tanh")'),
        (keras_initx.Scaled(initializers.HeNormal(seed=1), 0.5), "Scaled(initializer=HeNormal(), factor=0.5)"),
    ],
)
def test_twins_are_drawn_anew_as_their_layers_draw_them(kept, text):
    remedy = found(mlp("tanh", kept, depth=2))["twin tensors"].remedy
    assert f"different seeds: write keras_initx.{text} in each layer" in remedy.text
    assert {repr(rule).replace("'", '"') for rule in remedy.rules.values()} == {text}


class Seeded(Noise):
    """An initializer of a user with a seed."""

    def __init__(self, scale=1.0, seed=None):
        self.scale, self.seed = scale, seed

    def __call__(self, shape, dtype=None):
        return self.scale * keras.random.normal(shape, seed=self.seed)

    def get_config(self):
        return {"scale": self.scale, "seed": self.seed}


def test_the_remedy_of_twins_keeps_an_initializer_of_ones_own():
    remedy = found(mlp("tanh", Seeded(0.5, seed=1), depth=2))["twin tensors"].remedy
    assert "write Seeded(seed=None) in each layer" in remedy.text
    assert {(type(rule), rule.scale, rule.seed) for rule in remedy.rules.values()} == {(Seeded, 0.5, None)}
    # This one gives the same values each time.
    remedy = found(mlp("tanh", Noise(), depth=2))["twin tensors"].remedy
    assert "let Noise draw by an argument `seed`, and pass another seed to each layer" in remedy.text
    assert not remedy.rules


def test_identities_are_no_twins():
    assert found(mlp("relu", "identity", depth=2)) == {}


def test_twin_tensors_are_a_warning_in_one_block_alone():
    kernel = keras_initx.GlorotUniform(seed=1)
    inputs = keras.Input((5, 8))
    attention = layers.MultiHeadAttention(2, 4, kernel_initializer=kernel)
    in_a_row = [layers.Dense(8, "relu", kernel_initializer=kernel) for _ in range(2)]
    x = np.random.default_rng(0).normal(size=(8, 5, 8))
    assert level_of("twin tensors", keras.Model(inputs, attention(inputs, inputs)), x) == "warning"
    assert level_of("twin tensors", keras.Sequential([inputs, *in_a_row]), x) == "note"


def test_copies_of_a_layer_are_drawn_anew_one_by_one():
    first = layers.Dense(8, "tanh", name="first")
    first.build((None, 8))
    second = copy.deepcopy(first)
    second.name = "second"
    model = keras.Sequential([keras.Input((8,)), first, second, layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    report = keras_initx.diagnose(model, x)
    remedy = {verdict.problem: verdict.remedy for verdict in report.verdicts}["twin tensors"]
    assert "make layers one by one, not as copies" in str(remedy)
    keras_initx.initialize(model, remedy.rules, seed=0)
    assert not keras_initx.diagnose(model, x).verdicts
