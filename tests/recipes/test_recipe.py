"""Recipes give weights the sizes that their papers say, in models that are asked for their depth or told it."""

import keras
import pytest
from recipe_rows import ROWS, mean, stds, transformer

from keras_initx import recipes

layers = keras.layers


# Further weights and sources of a recipe; before a release.
FURTHER = (" of transformers", " positions", " embeddings", " biases", " patches", " groups")


def with_marks(row):
    return pytest.param(row, marks=[pytest.mark.rare] if row.endswith(FURTHER) else [])


@pytest.mark.parametrize("row", [with_marks(row) for row in ROWS])
def test_weights_have_the_sizes_of_the_source(row):
    model = ROWS[row].model()
    found = stds(model, ROWS[row].recipe(model))
    for end, std in ROWS[row].stddevs.items():
        assert mean(found, end) == pytest.approx(std, rel=ROWS[row].tolerance, abs=0), end


PLAIN = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="mine")])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: recipes.gpt2(PLAIN), ValueError, r"`model` must be a GPT-2, .* with no attention output kernel"),
        (lambda: recipes.gpt2(transformer(), source="nanogpt"), ValueError, r"`source` must be one of"),
        (lambda: recipes.gpt2(12), TypeError, r"`model` must be a Keras model. Received: model=12"),
        (lambda: recipes.fixup(PLAIN), ValueError, r"`model` must be a residual network .* no residual branch"),
        (
            lambda: recipes.gemma(PLAIN),
            ValueError,
            r"`model` must be a decoder .* as in Gemma; .* no gate kernel .* and no token embedding",
        ),
        (
            lambda: recipes.selu(keras.Sequential([keras.Input((4,)), layers.Dense(2, "relu", name="act")])),
            ValueError,
            r"`model` must be a network with the activation `selu`; .* with no SELU; ReLU .*'act'",
        ),
        (lambda: recipes.spectral(keras.Sequential()), ValueError, r"`model` must be built"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
