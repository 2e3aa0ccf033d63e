"""No factor of LoRA is lost while a model is loaded, or in the way."""

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import initialize, load_pretrained, weights_digest

layers = keras.layers

RNG = np.random.default_rng(0)
WORDS = RNG.integers(0, 40, (4, 6))


def words(rank=2):
    model = keras.Sequential([keras.Input((6,)), layers.Embedding(40, 8, name="words")])
    initialize(model, seed=0)
    if rank:
        model.layers[0].enable_lora(rank)
    return model


def trained(model):
    """Give the second factors values, as training does."""
    for variable in model.trainable_variables:
        if variable.name.endswith("_b"):
            variable.assign(RNG.normal(size=variable.shape))
    return model


@pytest.mark.parametrize("name", ["source", "model"])
def test_trained_factors_would_be_lost_or_in_the_way(name):
    given = {"source": words(0), "model": words(0), name: trained(words())}
    before = weights_digest(given["model"])
    with pytest.raises(
        ValueError, match=rf"`{name}` must not have trained factors of LoRA.* 'words/lora_embeddings_b'"
    ):
        load_pretrained(given["model"], given["source"])
    assert weights_digest(given["model"]) == before


@pytest.mark.parametrize("name", ["source", "model"])
def test_factors_that_were_not_trained_are_nothing_to_lose(name):
    given = {"source": words(0), "model": words(0), name: words()}
    initialize(given["source"], seed=1)
    load_pretrained(given["model"], given["source"])
    found, expected = (to_numpy(given[one](WORDS)) for one in ("model", "source"))
    np.testing.assert_array_equal(found, expected)


def test_keras_merges_what_it_saves(tmp_path):
    source = trained(words())
    source.save(tmp_path / "a.keras")
    model = words(0)
    load_pretrained(model, tmp_path / "a.keras")
    np.testing.assert_allclose(to_numpy(model(WORDS)), to_numpy(source(WORDS)), rtol=1e-5, atol=1e-5)
