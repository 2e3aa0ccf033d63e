"""Recipes: published initialization rules for whole models.

A recipe returns a dict of rules for `keras_initx.initialize`, which also takes the recipe itself or
its name. The dict can be printed and changed; rules that come first take precedence. Patterns match
the layer names of KerasHub, `keras.applications` and Keras' own attention layers.
"""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.recipes._bert import *
from keras_initx.recipes._branches import *
from keras_initx.recipes._clip import *
from keras_initx.recipes._convolutional import *
from keras_initx.recipes._images import *
from keras_initx.recipes._llama import *
from keras_initx.recipes._networks import *
from keras_initx.recipes._recipe import Recipe as Recipe
from keras_initx.recipes._transformers import *
from keras_initx.recipes._whisper import *
