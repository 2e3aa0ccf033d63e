"""Studies: compare initializers or learning rates over repeated trials, and random draws."""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.studies._compare_initializers import *
from keras_initx.studies._folder import *
from keras_initx.studies._rates import *
from keras_initx.studies._restarts import *
from keras_initx.studies._study import *
