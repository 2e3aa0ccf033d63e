"""A common namespace for NumPy and `keras.ops`, and the choice between them.

With it each algorithm is written once.
"""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._received import show
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._current import backend

_VARIABLE = "KERAS_INITX_SAMPLE_ON"
_PLACES = ("auto", "host", "device")


def choose_namespace(size: int = 0, tensors: Iterable[Tensor] = ()) -> "Namespace":
    """Return the namespace to compute in at this point.

    Args:
        size: Total number of values, or a number of values that takes the host as long.
        tensors: The tensors that the values depend on. Inside `jax.vmap`, operations run as usual,
            except on tensors that have a value for each element of the batch.

    Raises:
        ValueError: If the environment variable `KERAS_INITX_SAMPLE_ON` is not `auto`, `host` or
            `device`.
    """
    place = os.environ.get(_VARIABLE, "auto")
    if place not in _PLACES:
        raise ValueError(
            f"`{_VARIABLE}` must be one of {_PLACES}. Received: {_VARIABLE}={show(place)}"
        )
    if backend.is_tracing() or not all(map(backend.is_concrete, tensors)):
        return TRACED
    if place == "device":
        return DEVICE
    if place == "auto" and size >= backend.worth_a_device and backend.on_accelerator():
        return DEVICE
    return HOST


def namespace_of(*values: Tensor) -> "Namespace":
    """Return the namespace for these values: the host if all of them are arrays on the host."""
    if all(isinstance(value, np.ndarray) for value in values):
        return HOST
    return TRACED


# Rows per strip of a product, few enough for the cache.
_STRIP = 256
# OpenBLAS uses one thread for up to this many multiplications, which a product of two square blocks
# has.
_ALONE = 1 << 18
_BLOCK = 64
# For up to this many, a second thread hardly saves time, and on a busy machine waiting for it takes
# ten times as long.
_WORTH_WAITING = 1 << 22
# Below this size, inverting a triangular matrix is cheaper than dividing it further.
_SMALL_TRIANGLE = 64


class _Host:
    """NumPy, in place if possible, because most of the cost is the first touch of fresh memory.

    `triu`, `set_diagonal`, `slice_update` and `subtract_product` change their first argument.
    """

    word = "uint32"

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        setattr(self, name, function)  # cache the lookup
        return function

    def cast(self, x: Array, dtype: npt.DTypeLike) -> Array:
        return x.astype(dtype)

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        return _aligned(np.empty, shape, dtype)

    def zeros(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        return _aligned(np.zeros, shape, dtype)

    def eye(self, rows: int, columns: int, dtype: npt.DTypeLike) -> Array:
        out = self.zeros((rows, columns), dtype)
        np.fill_diagonal(out, 1)
        return out

    def triu(self, x: Array) -> Array:
        square = x[:, : x.shape[0]]  # the rest is above the diagonal
        square *= _upper_triangle(x.shape[0], x.dtype)
        return x

    def set_diagonal(self, x: Array, values: Array) -> Array:
        np.fill_diagonal(x, values)
        return x

    def slice_update(self, x: Array, start: Shape, updates: Array) -> Array:
        region = []
        for first, length in zip(start, updates.shape, strict=True):
            region.append(slice(first, first + length))
        x[tuple(region)] = updates
        return x

    def times(self, x: Array, factor: float) -> Array:
        return x * factor

    def squared_norms(self, x: Array) -> Array:
        return np.asarray(np.einsum("ij,ij->i", x, x))

    def take(self, table: Array, index: Array) -> Array:
        return table.take(index, mode="wrap")  # skips the check for indices out of range

    def shift_right(self, words: Array, count: int) -> Array:
        return words >> count

    def full_precision(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()  # NumPy always has full precision

    def convert_to_tensor(self, x: Array) -> Array:
        return x

    def adopt(self, values: Tensor) -> Array:
        """Return a tensor of the backend, or an object like an array, as a writable array."""
        if keras.ops.is_tensor(values):
            values = backend.host_view(values)
        return np.array(values)

    def qr(self, x: Array) -> tuple[Array, Array]:
        return np.linalg.qr(x)

    def svd(self, x: Array) -> tuple[Array, Array, Array]:
        return np.linalg.svd(x, full_matrices=False)

    def solve_upper(self, a: Array, b: Array) -> Array:
        # By halving, so that nearly all of the work is matrix products.
        half = a.shape[0] // 2
        if a.shape[0] < _SMALL_TRIANGLE:
            return np.linalg.inv(a) @ b
        low = self.solve_upper(a[half:, half:], b[half:])
        high = self.solve_upper(a[:half, :half], b[:half] - a[:half, half:] @ low)
        return np.concatenate([high, low])

    def matmul(self, a: Array, b: Array) -> Array:
        if not _ALONE < a.size * b.shape[1] <= _WORTH_WAITING:
            return a @ b
        out = np.zeros((a.shape[0], b.shape[1]), a.dtype)
        for column in range(0, b.shape[1], _BLOCK):
            part = out[:, column : column + _BLOCK]
            for row in range(0, b.shape[0], _BLOCK):
                part += a[:, row : row + _BLOCK] @ b[row : row + _BLOCK, column : column + _BLOCK]
        return out

    def subtract_product(self, x: Array, start: int, a: Array, b: Array) -> Array:
        # Strip by strip, so that the product stays in the cache.
        strip = _STRIP
        if a.size * b.shape[1] <= _WORTH_WAITING:
            strip = max(_ALONE // b.size, 1)
        for row in range(0, a.shape[0], strip):
            x[start + row : start + row + strip, start:] -= a[row : row + strip] @ b
        return x


@functools.cache  # few sizes, because a panel has at most 64 reflections
def _upper_triangle(size: int, dtype: "np.dtype[Any]") -> Array:
    return np.tri(size, dtype=dtype).T


def _aligned(allocate: Callable[..., Array], shape: Shape, dtype: npt.DTypeLike) -> Array:
    """Allocate an array that is aligned for a backend to take over."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = allocate(size + backend.alignment, "uint8")
    start = -memory.ctypes.data % backend.alignment
    return memory[start : start + size].view(dtype).reshape(shape)


# Number of parts of a cumulative sum in a trace, a power of two like most numbers of devices.
_MAX_BLOCKS = 256


class _Traced:
    """`keras.ops`."""

    word = "int32"

    def __getattr__(self, name: str) -> Any:
        return getattr(keras.ops, name)

    def shift_right(self, words: Tensor, count: int) -> Tensor:
        # int32 shifts fill with the sign bit; a logical shift fills with zeros.
        return keras.ops.right_shift(words, count) & ((1 << (32 - count)) - 1)

    def full_precision(self) -> contextlib.AbstractContextManager[Any]:
        return backend.full_precision()

    def adopt(self, values: Tensor) -> Tensor:
        return values

    def svd(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, s, vh = keras.ops.svd(x, full_matrices=False)
        return u, s, vh

    def solve_upper(self, a: Tensor, b: Tensor) -> Tensor:
        return keras.ops.solve_triangular(a, b, lower=False)

    def times(self, x: Tensor, factor: float) -> Tensor:
        # A compiler merges two products by constants, which rounds differently, but not across a
        # `where`.
        return keras.ops.where(x == x, x, math.nan) * factor

    def squared_norms(self, x: Tensor) -> Tensor:
        # Not a matrix product, which a GPU may round to fewer bits.
        return keras.ops.sum(x * x, axis=1)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b  # that of `keras.ops` may cast float64 to float32

    def set_diagonal(self, x: Tensor, values: Tensor) -> Tensor:
        is_diagonal = keras.ops.eye(*x.shape, dtype="bool")
        return keras.ops.where(is_diagonal, keras.ops.reshape(values, (-1, 1)), x)

    def cumsum(self, x: Tensor, axis: int) -> Tensor:
        # By blocks: a device that holds some blocks needs only the sums of the others.
        shape = keras.ops.shape(x)
        blocks = math.gcd(shape[axis], _MAX_BLOCKS)
        blocked_shape = (*shape[:axis], blocks, shape[axis] // blocks, *shape[axis + 1 :])
        parts = keras.ops.reshape(x, blocked_shape)
        sums = keras.ops.sum(parts, axis + 1, keepdims=True)
        before = keras.ops.cumsum(sums, axis) - sums
        return keras.ops.reshape(before + keras.ops.cumsum(parts, axis + 1), shape)

    def subtract_product(self, x: Tensor, start: int, a: Tensor, b: Tensor) -> Tensor:
        # Not an update: `torch.func.vmap` writes nothing with a batch into a tensor without one.
        margins = [(start, 0), (start, 0)]
        return x - keras.ops.pad(a @ b, margins)


class _Device(_Traced):
    """`keras.ops` with eager execution."""


HOST = _Host()
TRACED = _Traced()
DEVICE = _Device()
Namespace: TypeAlias = _Host | _Traced
