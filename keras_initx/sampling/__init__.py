"""Random numbers from a key, the same on every backend. Independent of layers."""

from keras_initx.sampling._conversion import Affine, Bounds, affine, portable_log
from keras_initx.sampling._frames import gaussian_frame, householder_frame, qr_frame, svd_frame
from keras_initx.sampling._namespace import Namespace, choose_namespace
from keras_initx.sampling._sparse import sparse_normal
from keras_initx.sampling._stream import (
    Draw,
    Stream,
    computing_dtype,
    truncated_bounds,
    truncated_normal,
    uniform_between,
)

__all__ = [
    "Affine",
    "Bounds",
    "Draw",
    "Namespace",
    "Stream",
    "affine",
    "choose_namespace",
    "computing_dtype",
    "gaussian_frame",
    "householder_frame",
    "portable_log",
    "qr_frame",
    "sparse_normal",
    "svd_frame",
    "truncated_bounds",
    "truncated_normal",
    "uniform_between",
]
