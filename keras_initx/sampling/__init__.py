"""Random numbers from a key, the same on every backend. Independent of layers."""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.sampling._conversion import *
from keras_initx.sampling._frames import *
from keras_initx.sampling._namespace import *
from keras_initx.sampling._namespace import HOST as HOST  # for the rooms above
from keras_initx.sampling._sparse import *
from keras_initx.sampling._stream import *
