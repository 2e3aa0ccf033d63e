"""Random numbers from a key, the same on every backend. Independent of layers."""

from keras_initx.sampling._conversion import Quantiles as Quantiles
from keras_initx.sampling._conversion import affine as affine
from keras_initx.sampling._conversion import portable_log as portable_log
from keras_initx.sampling._stream import Stream as Stream
