"""Diagnose models of KerasHub and `keras.applications`, and encoders, before and after a recipe.

`KERAS_BACKEND=jax python docs/examples/backbones.py`; it needs keras-hub.
"""

import argparse

import keras_initx
from keras_initx import recipes

import keras
import keras_hub
import numpy as np

DRAWS = np.random.default_rng(0)
SIZES = {
    "vocabulary_size": 500,
    "num_layers": 12,
    "num_heads": 4,
    "hidden_dim": 64,
    "intermediate_dim": 256,
}
PADDED = {"token_ids": DRAWS.integers(1, 500, (8, 32)), "padding_mask": np.ones((8, 32), "int32")}
IMAGES = DRAWS.normal(size=(8, 64, 64, 3)).astype("float32")


def gpt2():
    """Return a GPT-2 of 12 small blocks, and a batch."""
    return keras_hub.models.GPT2Backbone(**SIZES, max_sequence_length=32), PADDED


def encoder(alpha=None):
    """Return an encoder of 12 small blocks.

    They compute `norm(alpha * x + branch(x))` or just `x + branch(x)`.
    """

    def merged(x, branch):
        if alpha is None:
            return x + branch
        return keras.layers.LayerNormalization()(keras.layers.Rescaling(alpha)(x) + branch)

    tokens = keras.Input((32,), dtype="int32")
    x = keras.layers.Rescaling(64**0.5)(
        keras.layers.Embedding(500, 64, name="token_embedding")(tokens)
    )
    for block in range(12):
        attention = keras.layers.MultiHeadAttention(4, 16, name=f"block_{block}_attention")
        x = merged(x, attention(x, x))
        hidden = keras.layers.Dense(256, "relu", name="feedforward_intermediate_dense")
        output = keras.layers.Dense(64, name="feedforward_output_dense")
        x = merged(
            x, keras.Sequential([keras.Input((32, 64)), hidden, output], name=f"block_{block}")(x)
        )
    return keras.Model(tokens, x), PADDED["token_ids"]


def deepnorm():
    """Return an encoder with the residual connections of DeepNorm, and a batch."""
    return encoder(alpha=(2 * 12) ** 0.25)


def unnormalized():
    """Return an encoder without normalization, and a batch."""
    return encoder()


def vit():
    """Return a vision transformer of 12 small blocks, and a batch."""
    sizes = {"num_layers": 12, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 256}
    return keras_hub.models.ViTBackbone(image_shape=(64, 64, 3), patch_size=8, **sizes), IMAGES


def resnet():
    """Return a ResNet-50 and a batch."""
    return keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3)), IMAGES


# A model, a recipe for it, and the suffix of the layers whose outputs are added to the residual
# stream.
CASES = (
    ("GPT-2", gpt2, recipes.gpt2, "/feedforward_output_dense"),
    ("encoder", deepnorm, recipes.deepnorm, "/feedforward_output_dense"),
    ("encoder", unnormalized, recipes.t_fixup, "/feedforward_output_dense"),
    ("ViT", vit, recipes.vit_timm, "/attention_output"),
    ("ViT", vit, recipes.vit_jax, "/attention_output"),
    ("ResNet-50", resnet, recipes.zero_residual, "_3_bn"),
)


def measure(model, rules, x, ending):
    """Return the size of what the first and the last block add, and the number of problems."""
    keras_initx.initialize(model, rules, seed=0)
    report = keras_initx.diagnose(model, x)
    added = [layer.after for layer in report.layers if layer.name.endswith(ending)]
    first, last = (np.hypot(signal.mean, signal.std) for signal in (added[0], added[-1]))
    return first, last, len(report.problems)


def main(arguments=None):
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    print(
        "Root mean square of what the first and the last block add, and the number of problems "
        "found"
    )
    print(f"{'model':11}{'recipe':15}{'before':>24}{'after':>24}")
    for name, build, recipe, ending in CASES:
        keras.utils.set_random_seed(0)  # of the masks of dropout
        model, x = build()
        cells = (
            "{:9.2g}{:9.2g}{:6}".format(*measure(model, rules, x, ending))
            for rules in (None, recipe(model))
        )
        print(f"{name:11}{recipe.__name__:15}{''.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
