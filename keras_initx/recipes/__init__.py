"""Recipes: published initialization rules for whole models.

Pass a recipe or its name to `keras_initx.initialize` or `keras_initx.audit`. You can also put it in
a list with rules of your own: `[{"head/kernel": "zeros"}, "gpt2"]`. In a list the first rule that
matches a weight counts. If you call a recipe with a model, it returns the rules for this model,
which you can print and use too.

A recipe finds the role of each weight by the name of the weight, by the layer names of KerasHub,
`keras.applications` and Keras' own attention layers, or by the graph of the model. The plan of
`initialize` shows the roles that it found. If none of these shows the role of a weight, the weight
keeps its values.

All recipes raise a `TypeError` if you pass no model. They raise a `ValueError` if the model is not
built, if it lacks something that the recipe needs, or if the recipe does not have this `source`.
"""

# Read `_recipe.py` first, then `_transformers.py`: recipes as data, each with its source.

from keras_initx import _suggestions
from keras_initx.recipes import _frameworks
from keras_initx.recipes._frameworks import flax as flax
from keras_initx.recipes._frameworks import torch as torch
from keras_initx.recipes._images import convnext as convnext
from keras_initx.recipes._images import efficientnet as efficientnet
from keras_initx.recipes._images import mobilenet as mobilenet
from keras_initx.recipes._images import resnet as resnet
from keras_initx.recipes._images import vit_jax as vit_jax
from keras_initx.recipes._images import vit_timm as vit_timm
from keras_initx.recipes._named import RECIPES as _RECIPES
from keras_initx.recipes._networks import fixup as fixup
from keras_initx.recipes._networks import orthogonal_rnn as orthogonal_rnn
from keras_initx.recipes._networks import selu as selu
from keras_initx.recipes._networks import spectral as spectral
from keras_initx.recipes._networks import zero_residual as zero_residual
from keras_initx.recipes._recipe import Recipe as Recipe
from keras_initx.recipes._state_spaces import state_space as state_space
from keras_initx.recipes._transformers import bert as bert
from keras_initx.recipes._transformers import gemma as gemma
from keras_initx.recipes._transformers import gpt2 as gpt2
from keras_initx.recipes._transformers import llama as llama
from keras_initx.recipes._transformers import t5 as t5
from keras_initx.recipes._transformers import whisper as whisper
from keras_initx.recipes._weight_rules import WeightRules as WeightRules

keras: Recipe = _frameworks.of_keras


def __getattr__(name: str) -> None:
    raise _suggestions.missing_attribute(__name__, name, _RECIPES)
