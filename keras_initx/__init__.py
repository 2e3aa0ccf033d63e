"""Weight initializers for Keras 3 that give the same weights on every backend."""

from keras_initx import _default_backend  # noqa: F401, before anything imports Keras
from keras_initx.initializers import (
    ChronoBias,
    FanInNormal,
    GlorotNormal,
    GlorotUniform,
    GRUUpdateBias,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    LSTMForgetBias,
    Orthogonal,
    PriorBias,
    RandomNormal,
    RandomUniform,
    ReLUBias,
    SmallNormal,
    Sparse,
    TruncatedNormal,
    VarianceScaling,
)

__all__ = [
    "ChronoBias",
    "FanInNormal",
    "GRUUpdateBias",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LSTMForgetBias",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "PriorBias",
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
