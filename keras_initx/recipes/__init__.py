"""Recipes: published initialization rules for whole models.

`keras_initx.initialize` and `keras_initx.audit` take a recipe or its name, alone or in a list with
rules of your own, of which the first that matches counts: `[{"head/kernel": "zeros"}, "gpt2"]`. A
recipe returns the rules for a model, which can be printed and used too. What each weight is for is
known by its own name, by the layer names of KerasHub, `keras.applications` and Keras' own attention
layers, or by the graph of the model, and the plan of `initialize` says what was found there. A
weight of which none of these tell what it is for keeps its values.

All raise a `TypeError` for what is no model, and a `ValueError` for a model that is not built or
that lacks what the recipe needs, and for a `source` that is none.
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
from keras_initx.recipes._special_layers import lora as lora
from keras_initx.recipes._special_layers import state_space as state_space
from keras_initx.recipes._transformers import bert as bert
from keras_initx.recipes._transformers import deepnorm as deepnorm
from keras_initx.recipes._transformers import gemma as gemma
from keras_initx.recipes._transformers import gpt2 as gpt2
from keras_initx.recipes._transformers import llama as llama
from keras_initx.recipes._transformers import t5 as t5
from keras_initx.recipes._transformers import t_fixup as t_fixup
from keras_initx.recipes._transformers import whisper as whisper
from keras_initx.recipes._weight_rules import WeightRules as WeightRules

keras: Recipe = _frameworks.of_keras


def __getattr__(name: str) -> None:
    raise _suggestions.missing_attribute(__name__, name, _RECIPES)
