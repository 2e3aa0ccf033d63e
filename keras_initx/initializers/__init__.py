"""What a layer asks for: one family of initializers a file."""

from keras_initx.initializers._base import (
    ConstantInitializer,
    Entry,
    Initializer,
    RandomInitializer,
    catalog,
    register,
)
from keras_initx.initializers._bias import ReLUBias
from keras_initx.initializers._chrono import ChronoBias
from keras_initx.initializers._composition import Blocks, Scaled
from keras_initx.initializers._convolution import DeltaOrthogonal, Dirac
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._pretrained import Pretrained
from keras_initx.initializers._prior import PriorBias
from keras_initx.initializers._random import RandomNormal, RandomUniform, SmallNormal, TruncatedNormal
from keras_initx.initializers._recurrent import GRUUpdateBias, LSTMForgetBias
from keras_initx.initializers._sparse import Sparse
from keras_initx.initializers._upsampling import ICNR, Bilinear
from keras_initx.initializers._variance import VarianceScaling
from keras_initx.initializers._variance_named import (
    FanInNormal,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
)

__all__ = [
    "ICNR",
    "Bilinear",
    "Blocks",
    "ChronoBias",
    "ConstantInitializer",
    "DeltaOrthogonal",
    "Dirac",
    "Entry",
    "FanInNormal",
    "GRUUpdateBias",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LSTMForgetBias",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "Pretrained",
    "PriorBias",
    "RandomInitializer",
    "RandomNormal",
    "RandomUniform",
    "ReLUBias",
    "Scaled",
    "SmallNormal",
    "Sparse",
    "TruncatedNormal",
    "VarianceScaling",
    "catalog",
    "register",
]
