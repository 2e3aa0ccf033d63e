"""Weight initializers, one family per file, and the base classes to write one."""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.initializers._base import *
from keras_initx.initializers._biases import *
from keras_initx.initializers._composition import *
from keras_initx.initializers._convolution import *
from keras_initx.initializers._orthogonal import *
from keras_initx.initializers._pretrained import *
from keras_initx.initializers._random import *
from keras_initx.initializers._recurrent import *
from keras_initx.initializers._sparse import *
from keras_initx.initializers._variance import *
from keras_initx.initializers._variance_named import *
