"""Backbones of KerasHub take checkpoints with other positions, words and channels."""

import numpy as np
import pytest
from modes import to_numpy

import keras_initx
from keras_initx.types import Grid

keras_hub = pytest.importorskip("keras_hub")

SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16}
TEXT = np.random.default_rng(0).integers(1, 50, (3, 8))


def drawn(model, seed):
    keras_initx.initialize(model, {"*": "initx.random_normal"}, seed=seed)
    return model


@pytest.mark.parametrize("name", ["OPT", "GPT2"])
def test_a_decoder_gives_the_same_for_shorter_texts_of_old_words(name):
    def decoder(words, positions, seed):
        sizes = {"vocabulary_size": words, "max_sequence_length": positions, "intermediate_dim": 32}
        return drawn(getattr(keras_hub.models, f"{name}Backbone")(**SIZES, **sizes), seed)

    def outputs(model):
        return to_numpy(model({"token_ids": TEXT, "padding_mask": np.ones_like(TEXT)}))

    old = decoder(50, 24, seed=0)
    resize = {"*position_embedding/embeddings": "rows", "*token_embedding/*": "rows"}
    for words, positions in ((50, 8), (70, 40)):
        model = decoder(words, positions, seed=1)
        plan = keras_initx.load_pretrained(model, old, resize=resize)
        assert not plan.left
        np.testing.assert_allclose(outputs(model), outputs(old), atol=1e-6)


def test_a_vision_transformer_takes_images_of_another_size_and_other_channels():
    def transformer(side, channels, seed):
        shape = (8 * side, 8 * side, channels)
        return drawn(keras_hub.models.ViTBackbone(image_shape=shape, patch_size=8, mlp_dim=32, **SIZES), seed)

    old, model = transformer(4, 3, seed=0), transformer(6, 5, seed=1)
    kind = Grid((4, 4), (6, 6), leading=1)
    resize = {"*position_embedding/embeddings": kind, "*patch_embedding/kernel": "channels"}
    plan = keras_initx.load_pretrained(model, old, resize=resize)
    assert not plan.left
    resized = {row.path.rpartition("/")[2]: row.detail for row in plan.rows if row.detail}
    assert resized == {
        "embeddings": "4 x 4 to 6 x 6 positions: cubic, first 1 kept",
        "kernel": "3 to 5 channels: first 3, mean for 2, times 0.6",
    }
    # Of equal patches with equal channels, all tokens of one model get what those of the other get, but for positions.
    patches = (old.layers[1], model.layers[1])
    gray = [
        to_numpy(layer.patch_embedding(np.ones((1, 8, 8, n), "float32")))
        for layer, n in zip(patches, (3, 5), strict=True)
    ]
    np.testing.assert_allclose(gray[1], gray[0], atol=1e-5)
