"""Weight initializers for Keras 3 that give the same weights on every backend."""

from keras_initx import _default_backend  # noqa: F401, before anything imports Keras
from keras_initx.initializers import (
    FanInNormal,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    LSTMForgetBias,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    ReLUBias,
    SmallNormal,
    Sparse,
    TruncatedNormal,
    VarianceScaling,
)

__all__ = [
    "FanInNormal",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LSTMForgetBias",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "ReLUBias",
    "SmallNormal",
    "Sparse",
    "TruncatedNormal",
    "VarianceScaling",
    "__version__",
]

__version__ = "0.1.0"
