"""Recipes: published initialization rules for whole models.

A recipe returns a dict of rules for `keras_initx.initialize` and `keras_initx.audit`, which also
take the recipe itself or its name. The dict can be printed and changed; rules that come first take
precedence, also if the recipe has the same pattern. What each weight is for is known by its own
name, by the layer names of KerasHub, `keras.applications` and Keras' own attention layers, or by
the graph of the model, and the plan of `initialize` says what was found there. A weight of which
none of these tell what it is for keeps its values.

All raise a `TypeError` for what is no model, and a `ValueError` for a model that is not built or
that lacks what the recipe needs, and for a `source` that is none.
"""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx import _suggestions
from keras_initx.recipes import _images, _layers, _networks, _text
from keras_initx.recipes._images import *
from keras_initx.recipes._layers import *
from keras_initx.recipes._named import RECIPES as _RECIPES
from keras_initx.recipes._named import is_recipe as is_recipe
from keras_initx.recipes._named import recipe_of as recipe_of
from keras_initx.recipes._named import recipes_like as recipes_like
from keras_initx.recipes._networks import *
from keras_initx.recipes._patterns import NOT_KNOWN as NOT_KNOWN
from keras_initx.recipes._patterns import NotedRules as NotedRules
from keras_initx.recipes._patterns import OwnPattern as OwnPattern
from keras_initx.recipes._patterns import findings_in as findings_in
from keras_initx.recipes._recipe import Recipe as Recipe
from keras_initx.recipes._text import *

# The other names are for the rooms above.
__all__ = ["Recipe"]
__all__ += _images.__all__
__all__ += _layers.__all__
__all__ += _networks.__all__
__all__ += _text.__all__


def __getattr__(name: str) -> None:
    raise _suggestions.missing_attribute(__name__, name, _RECIPES)
