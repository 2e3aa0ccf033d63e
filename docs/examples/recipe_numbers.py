"""Compare the weights of recipes with their sources, on models of KerasHub and `keras.applications`.

`KERAS_BACKEND=jax python docs/examples/recipe_numbers.py`; it needs keras-hub.
"""

import argparse
import fnmatch
import functools
import math

import keras_initx
from keras_initx import recipes

import backbones
import keras
import keras_hub
import numpy as np


def sized(backbone, **sizes):
    """Return a backbone of text of 64 units."""
    common = {"vocabulary_size": 500, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 256}
    return backbone(**common, max_sequence_length=32, **sizes)


@functools.cache
def model_of(name):
    """Return the model of this name."""
    return {
        "GPT-2": lambda: sized(keras_hub.models.GPT2Backbone, num_layers=12),
        "BERT": lambda: sized(keras_hub.models.BertBackbone, num_layers=12),
        "BART": lambda: sized(keras_hub.models.BartBackbone, num_layers=3),
        "ViT": lambda: backbones.vit()[0],
        "ResNet-50": lambda: backbones.resnet()[0],
        "dense": lambda: keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, "selu")]),
        "LSTM": lambda: keras.Sequential([keras.Input((8, 32)), keras.layers.LSTM(64)]),
    }[name]()


t_fixup, fixup = (functools.partial(recipe, strict=False) for recipe in (recipes.t_fixup, recipes.fixup))
# The standard deviations of Glorot's weights between 64 and 64 units, and of He's by fan-out.
GLOROT, HE_1, HE_2 = 1 / 8, math.sqrt(2 / 512), math.sqrt(2 / (9 * 512))
# The factors of T-Fixup and of DeepNorm in an encoder and a decoder of 3 blocks.
FACTORS = {"t_fixup": (0.67 * 3**-0.25, 27**-0.25), "deepnorm": (0.87 * 3 ** (-5 / 16), 36**-0.25)}
# A recipe, its source, a model, weights, and their standard deviation in the source.
ROWS = (
    ("gpt2", recipes.gpt2, "paper, 2.3", "GPT-2", "*/attention_output/kernel", 0.02 / math.sqrt(24)),
    ("gpt2", recipes.gpt2, "code, c2dae27", "GPT-2", "*position_embedding/*", 0.01),
    ("t_fixup", t_fixup, "paper, 3.2", "BART", "*encoder*/value/kernel", FACTORS["t_fixup"][0] * GLOROT),
    ("t_fixup", t_fixup, "paper, 3.2", "BART", "*decoder*/value/kernel", FACTORS["t_fixup"][1] * GLOROT),
    ("t_fixup", t_fixup, "paper, 3.2", "BART", "*/query/kernel", GLOROT),
    ("t_fixup", t_fixup, "paper, 3.2", "BART", "token_embedding/*", FACTORS["t_fixup"][1] * GLOROT),
    ("deepnorm", recipes.deepnorm, "paper, fig. 2", "BERT", "*/value/kernel", 96**-0.25 * GLOROT),
    ("deepnorm", recipes.deepnorm, "paper, fig. 2", "BART", "*encoder*/value/kernel", FACTORS["deepnorm"][0] * GLOROT),
    ("deepnorm", recipes.deepnorm, "paper, fig. 2", "BART", "*decoder*/value/kernel", FACTORS["deepnorm"][1] * GLOROT),
    ("vit_timm", recipes.vit_timm, "code, 0041cb7", "ViT", "*mlp/dense*/kernel", 0.02),
    ("vit_timm", recipes.vit_timm, "code, 0041cb7", "ViT", "*patch_embedding/kernel", 1 / math.sqrt(3 * 192)),
    ("vit_timm", recipes.vit_timm, "code, 0041cb7", "ViT", "*patch_embedding/bias", 1 / math.sqrt(3 * 192)),
    ("vit_jax", recipes.vit_jax, "timm, 0041cb7", "ViT", "*patch_embedding/kernel", 1 / math.sqrt(192)),
    ("vit_jax", recipes.vit_jax, "timm, 0041cb7", "ViT", "*mlp/dense*/bias", 1e-6),
    ("fixup", fixup, "code, f3fa449", "ResNet-50", "conv5_block2_1_conv/kernel", HE_1 / 2),
    ("fixup", fixup, "code, f3fa449", "ResNet-50", "conv5_block2_2_conv/kernel", HE_2 / 2),
    ("fixup", fixup, "code, f3fa449", "ResNet-50", "conv5_block2_3_conv/kernel", 0.0),
    ("zero_residual", recipes.zero_residual, "paper, 5.1", "ResNet-50", "*_block*_3_bn/gamma", 0.0),
    ("selu", recipes.selu, "paper, 3", "dense", "*kernel", 1 / 8),
    ("orthogonal_rnn", recipes.orthogonal_rnn, "paper, 4", "LSTM", "*recurrent_kernel", 1 / 8),
    ("spectral", recipes.spectral, "paper, 2", "BERT", "*feedforward_intermediate_dense/kernel", 2 / 16),
)


def measured(recipe, model, pattern):
    """Return the root mean square over the weights that match a pattern."""
    keras_initx.initialize(model, recipe(model), seed=0)
    found = [variable.value for variable in model.variables if fnmatch.fnmatchcase(variable.path, f"*{pattern}")]
    values = np.concatenate([keras.ops.convert_to_numpy(value).ravel() for value in found])
    return float(np.sqrt(np.mean(np.square(values, dtype="float64"))))


def main(arguments=None):
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    print(f"{'recipe':15}{'source':17}{'model':11}{'weights':41}{'there':>9}{'measured':>10}")
    for name, recipe, source, model, pattern, there in ROWS:
        here = measured(recipe, model_of(model), pattern)
        print(f"{name:15}{source:17}{model:11}{pattern:41}{there:9.3g}{here:10.3g}", flush=True)


if __name__ == "__main__":
    main()
