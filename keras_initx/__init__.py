"""Weight initializers for Keras 3 that give the same weights on every backend."""

from keras_initx import _default_backend  # noqa: F401, before anything imports Keras
from keras_initx.initializers import LSTMForgetBias, Orthogonal, ReLUBias, Sparse

__all__ = [
    "LSTMForgetBias",
    "Orthogonal",
    "ReLUBias",
    "Sparse",
    "__version__",
]

__version__ = "0.1.0"
