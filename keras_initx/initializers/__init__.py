"""What a layer asks for: one family of initializers a file."""

from keras_initx.initializers._base import ConstantInitializer, Initializer, RandomInitializer, register
from keras_initx.initializers._bias import ReLUBias
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._recurrent import LSTMForgetBias
from keras_initx.initializers._sparse import Sparse

__all__ = [
    "ConstantInitializer",
    "Initializer",
    "LSTMForgetBias",
    "Orthogonal",
    "RandomInitializer",
    "ReLUBias",
    "Sparse",
    "register",
]
