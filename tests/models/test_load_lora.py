"""No factor of LoRA is lost while a model is loaded, or in the way."""

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import initialize, load_pretrained
from keras_initx.models import weights_digest
from keras_initx.structure import find_weights

layers = keras.layers

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(4, 8, 8, 2)).astype("float32")
WORDS = RNG.integers(0, 40, (4, 6))


def images(rank=3, alpha=None):
    """Return a model of each kind of layer that takes LoRA, with it."""
    parts = [
        layers.Conv2D(6, 3, name="conv"),
        layers.Flatten(),
        layers.Dense(12, name="dense"),
        layers.Reshape((3, 4)),
        layers.EinsumDense("abc,cde->abde", (None, 2, 5), name="einsum"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 2)), *parts])
    initialize(model, seed=0)
    for layer in parts[::2] if rank else []:
        layer.enable_lora(rank, lora_alpha=alpha)
    return model


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


def values(model):
    return {one.path: to_numpy(one.variable.value).copy() for one in find_weights(model)}


def test_factors_are_loaded_with_their_kernels():
    source = trained(images(alpha=6))
    model = images(alpha=6)
    load_pretrained(model, source)
    assert weights_digest(model) == weights_digest(source)


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        (images, lambda: trained(images(alpha=6)), r"'dense/lora_kernel_b' .* `lora_alpha / lora_rank` of 1\.0, not 2"),
        (lambda: trained(images()), lambda: images(0), "'dense/kernel' .*: its layer adds LoRA factors that are not"),
        (lambda: images(0), lambda: trained(images()), "'dense/kernel' .*: the source adds LoRA factors to it: load"),
        (lambda: words(0), lambda: trained(words()), "'words/embeddings' .*: the source adds LoRA factors to it: load"),
    ],
    ids=["another alpha", "factors in the way", "factors of a source", "factors of an embedding"],
)
def test_factors_that_would_be_lost_are_refused_and_nothing_changes(model, source, message):
    model = model()
    before = weights_digest(model)
    with pytest.raises(ValueError, match=message):
        load_pretrained(model, source())
    assert weights_digest(model) == before


@pytest.mark.once
def test_factors_alone_need_the_scale_of_the_source_too():
    source = trained(images(alpha=6))
    rules = {"*/lora*": "{0}/lora{1}"}
    with pytest.raises(ValueError, match=r"'dense/lora_kernel_b' .* a `lora_alpha / lora_rank` of 1\.0, not 2\.0"):
        load_pretrained(images(), source, rules)
    load_pretrained(images(alpha=6), source, rules)


@pytest.mark.once
def test_a_model_with_trained_factors_takes_a_kernel_if_a_rule_leaves_them():
    source = images(0)
    initialize(source, seed=7)
    model = trained(images())
    factors = values(model)
    load_pretrained(model, source, {"*/lora*": None, "*": "{0}"})
    np.testing.assert_array_equal(values(model)["dense/kernel"], values(source)["dense/kernel"])
    np.testing.assert_array_equal(values(model)["dense/lora_kernel_b"], factors["dense/lora_kernel_b"])


def test_factors_that_were_not_trained_are_nothing_to_lose():
    model = images(0)
    load_pretrained(model, images())
    assert weights_digest(model) == weights_digest(images(0))


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_keras_merges_what_it_saves(name, tmp_path):
    source = trained(words())
    getattr(source, "save" if name == "a.keras" else "save_weights")(tmp_path / name)
    model = words(0)
    load_pretrained(model, tmp_path / name, {"words/embeddings": "layers/embedding/vars/0"})
    np.testing.assert_allclose(to_numpy(model(WORDS)), to_numpy(source(WORDS)), rtol=1e-5, atol=1e-5)
