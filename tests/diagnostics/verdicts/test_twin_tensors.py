"""Twins are drawn anew as their layers draw them."""

import keras
import pytest
from judged import found, mlp
from keras import initializers

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
        (Noise(), "GlorotUniform()"),  # what suits the layer
    ],
)
def test_twins_are_drawn_anew_as_their_layers_draw_them(kept, text):
    remedy = found(mlp("tanh", kept, depth=2))["twin tensors"].remedy
    assert f"different seeds: write keras_initx.{text} in each layer" in remedy.text
    assert {repr(rule).replace("'", '"') for rule in remedy.rules.values()} == {text}


def test_identities_are_no_twins():
    assert found(mlp("relu", "identity", depth=2)) == {}
