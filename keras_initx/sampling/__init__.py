"""Numbers from a key: the same on every backend, knowing nothing of layers."""

from keras_initx.sampling._affine import affine
from keras_initx.sampling._log import portable_log
from keras_initx.sampling._namespace import current_namespace
from keras_initx.sampling._stiefel import gaussian_frame, householder_frame, qr_frame, svd_frame
from keras_initx.sampling._stream import Draw, Stream, computing_dtype
from keras_initx.sampling._subset import sparse_normal
from keras_initx.sampling._truncated import truncated_bounds, truncated_normal, uniform_between

__all__ = [
    "Draw",
    "Stream",
    "affine",
    "computing_dtype",
    "current_namespace",
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
