"""What NumPy and `keras.ops` spell differently, so that every algorithm here is written once.

Inside a trace (`jax.jit`, `tf.function`) arrays are the backend's and the functions are
`keras.ops`. Outside one they are NumPy's: host arithmetic compiles no program per
shape, and gives the same bits. Both wrap on overflow, NumPy in uint32 and the backends in int32.
"""

import keras
import numpy as np

from keras_initx import _backend


class _Host:
    """NumPy."""

    word = "uint32"

    def __getattr__(self, name):
        return getattr(np, name)

    def cast(self, x, dtype):
        return x.astype(dtype)

    def shift_right(self, words, count):
        return words >> count

    def rotate_left(self, words, count):
        return (words << count) | (words >> (32 - count))

    def qr(self, x):
        return np.linalg.qr(x)

    def svd(self, x):
        return np.linalg.svd(x, full_matrices=False)

    def solve_upper(self, a, b):
        return np.linalg.solve(a, b)

    def subtract_corner(self, x, start, delta):
        x[start:, start:] -= delta
        return x


class _Traced:
    """`keras.ops`."""

    word = "int32"

    def __getattr__(self, name):
        return getattr(keras.ops, name)

    def shift_right(self, words, count):
        # int32 shifts copy the sign bit in; a logical shift brings in zeros.
        return keras.ops.bitwise_and(keras.ops.right_shift(words, count), (1 << (32 - count)) - 1)

    def rotate_left(self, words, count):
        return keras.ops.bitwise_or(keras.ops.left_shift(words, count), self.shift_right(words, 32 - count))

    def qr(self, x):
        return keras.ops.qr(x)

    def svd(self, x):
        return keras.ops.svd(x, full_matrices=False)

    def solve_upper(self, a, b):
        return keras.ops.solve_triangular(a, b, lower=False)

    def subtract_corner(self, x, start, delta):
        return keras.ops.slice_update(x, (start, start), x[start:, start:] - delta)


HOST = _Host()
TRACED = _Traced()


def current_namespace():
    """Return the namespace to compute in here and now."""
    return TRACED if _backend.is_tracing() else HOST
