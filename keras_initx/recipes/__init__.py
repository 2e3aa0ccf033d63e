"""Recipes: published initialization rules for whole models.

A recipe returns a dict of rules for `keras_initx.initialize` and `keras_initx.audit`, which also
take the recipe itself or its name. The dict can be printed and changed; rules that come first take
precedence. Patterns match the layer names of KerasHub, `keras.applications` and Keras' own
attention layers, and rules that match no weight of the model are left out. In a model of other
names, recipes for transformers and residual networks find branches, attention and embeddings in
the graph, and the plan of `initialize` says what they found.

All raise a `TypeError` for what is no model. They raise a `ValueError` for a model that is not
built or not of their kind, which names the recipe for it, and for a `source` or a number that is
none.
"""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx import _recipe_names, _suggestions
from keras_initx.recipes._bert import *
from keras_initx.recipes._clip import *
from keras_initx.recipes._images import *
from keras_initx.recipes._llama import *
from keras_initx.recipes._networks import *
from keras_initx.recipes._recipe import Recipe as Recipe
from keras_initx.recipes._resnet import *
from keras_initx.recipes._transformers import *
from keras_initx.recipes._whisper import *


def __getattr__(name: str) -> None:
    raise _suggestions.missing_attribute(__name__, name, _recipe_names.RECIPES)
