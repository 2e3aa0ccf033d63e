"""Recipes: published initialization rules for whole models, and tools for scaling the width of a model.

A recipe returns a dict of rules for `keras_initx.initialize`. It can be printed and changed; rules
that come first take precedence. Patterns match the layer names of KerasHub, `keras.applications`
and Keras' own attention layers.
"""

from keras_initx.recipes._coordinates import CoordinateCheck, coordinate_check
from keras_initx.recipes._mup import MupTable, MupWeight, mup
from keras_initx.recipes._networks import fixup, orthogonal_rnn, selu, spectral, zero_residual
from keras_initx.recipes._transformers import deepnorm, gpt2, t_fixup, vit_jax, vit_timm

__all__ = [
    "CoordinateCheck",
    "MupTable",
    "MupWeight",
    "coordinate_check",
    "deepnorm",
    "fixup",
    "gpt2",
    "mup",
    "orthogonal_rnn",
    "selu",
    "spectral",
    "t_fixup",
    "vit_jax",
    "vit_timm",
    "zero_residual",
]
