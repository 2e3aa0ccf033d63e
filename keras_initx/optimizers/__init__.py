"""Optimizers: a learning rate for each weight."""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.optimizers._rate_factors import *
from keras_initx.optimizers._rate_factors import all_variables as all_variables
from keras_initx.optimizers._rate_factors import items_of as items_of
from keras_initx.optimizers._rate_factors import rate_of as rate_of
from keras_initx.optimizers._rate_factors import rates_of as rates_of
from keras_initx.optimizers._rate_factors import unscaled as unscaled
