"""A stream of random numbers for every backend: each value depends only on key, draw and index."""

import enum
import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.sampling import _conversion
from keras_initx.sampling._conversion import (
    Affine,
    Bounds,
    Conversion,
    Convert,
    Quantiles,
    affine,
    finish,
)
from keras_initx.sampling._namespace import DEVICE, HOST, TRACED, Namespace, choose_namespace
from keras_initx.sampling._words import Words, fill, words_at

_MAX_SIZE = 1 << 32
# Elements of `places` that are made at a time: few enough for the cache.
_PLACES_BLOCK = 1 << 16


class Draw(enum.IntEnum):
    """The purpose of a draw. Draws for different purposes are independent."""

    VALUES = 0
    SUPPORT = 1  # the words that choose the connections of a sparse matrix
    FRAME = 2  # the normal values that an orthogonal matrix is made from


class Stream:
    """Random arrays from one key.

    Use it if you need random numbers that are the same on every backend. A method that draws takes
    the `draw`, a number that you use only once with a key, and the `shape`; `words_at` and
    `normal_at` take the indices of single elements instead. Some methods take more:

    - `start` is the index of the first element. With it you compute a part of a draw.
    - `then` is a function that is applied to the draws. The draws are then *finished*: clipped to
      its bounds and cast to the dtype of the stream, in the same pass.

    You get arrays of NumPy on the host, and tensors of the backend on a device, with the same bits.

    Args:
        key: Two words: Python integers in `[0, 2**32)`, or scalar integer tensors.
        dtype: The dtype of finished draws, by default the dtype of the computation.
        xp: The namespace to draw in, by default the current one: `HOST` (NumPy), `DEVICE` or
            `TRACED` (`keras.ops`).
        places: Vector of the indices of the elements to make, by default all. Draws on the host
            then return a vector of these elements, in this order.

    Example:
        >>> stream = Stream((7, 0))
        >>> stream.normal(0, (2, 3)).shape
        (2, 3)
    """

    def __init__(
        self,
        key: Words,
        dtype: DType | None = None,
        xp: Namespace | None = None,
        places: Array | None = None,
    ) -> None:
        self.key = key
        self.xp: Namespace = choose_namespace() if xp is None else xp
        self._dtype = dtype
        self._places = places

    def words(self, draw: int, shape: Shape, start: int = 0) -> Tensor:
        """Return 32 random bits per element: uint32 on the host, int32 elsewhere."""
        return self._map(draw, shape, self.xp.word, (_conversion.as_words, None), start)

    def words_at(self, draw: int, index: Tensor) -> Tensor:
        """Return the elements of `words` whose flat indices are the words `index`."""
        key = self._word(self.key[0]), self._word(self.key[1])
        return words_at(self.xp, key, self._word(draw), index)

    def uniform(
        self,
        draw: int,
        shape: Shape,
        dtype: DType = "float32",
        start: int = 0,
        then: Affine | None = None,
    ) -> Tensor:
        """Return uniform values in the open interval (0, 1), multiples of 2**-24."""
        return self._map(draw, shape, dtype, (_conversion.as_uniform, None), start, then)

    def normal(
        self,
        draw: int,
        shape: Shape,
        dtype: DType = "float32",
        start: int = 0,
        then: Affine | None = None,
    ) -> Tensor:
        """Return draws from N(0, 1), limited to +-6.12."""
        kind = _conversion.as_normal, _conversion.normal_table(dtype)
        return self._map(draw, shape, dtype, kind, start, then)

    def normal_at(self, draw: int, index: Tensor, dtype: DType = "float32") -> Tensor:
        """Return the elements of `normal` whose flat indices are the words `index`."""
        table = self.xp.convert_to_tensor(_conversion.normal_table(dtype))
        return _conversion.as_normal(self.xp, self.words_at(draw, index), table, dtype)

    def from_quantiles(
        self,
        draw: int,
        shape: Shape,
        quantiles: Quantiles,
        dtype: DType = "float32",
        *,
        offset: float = 0.0,
        factor: float = 1.0,
        bounds: Bounds | None = None,
        is_strict: bool = False,
    ) -> Tensor:
        """Return finished draws `offset + factor * x`, with `x` drawn by `quantiles`.

        Args:
            draw: The number of the draw.
            shape: Shape of the result.
            quantiles: The quantiles of `x`.
            dtype: `"float32"` or `"float64"`.
            offset: A number.
            factor: A positive number.
            bounds: Lower and upper bound of the results, which also hold after rounding.
            is_strict: Whether the bounds also hold after a cast to 16 bits.
        """
        # An integer draw stands for the midpoint of its unit.
        lowest = offset + factor * (quantiles.lowest + quantiles.unit / 2)
        then = affine(lowest, factor * quantiles.unit, bounds, is_strict=is_strict)
        kind = _conversion.as_interpolated, quantiles.knots.view(self.xp.word)
        return self._map(draw, shape, dtype, kind, then=then)

    def integers(self, draw: int, shape: Shape, bounds: Tensor) -> Tensor:
        """Return integers in `[0, bounds)` as words.

        Uses the high half of a 64-bit product. The relative difference between the probabilities of
        two integers is at most `bounds / 2**32`.

        Args:
            draw: The number of the draw.
            shape: Shape of the result.
            bounds: A positive integer below `2**31`, or words that broadcast against `shape`.
        """
        return self.integers_from(self.words(draw, shape), bounds)

    def integers_from(self, words: Tensor, bounds: Tensor) -> Tensor:
        """Convert `words` to integers, see `integers`."""
        xp = self.xp
        if isinstance(bounds, int):
            bounds = self._word(bounds)
        # The high half of `words * bounds`, in 16-bit limbs, because not every backend has 64-bit
        # integers.
        words_high = xp.shift_right(words, 16)
        words_low = words & 0xFFFF
        bounds_high = xp.shift_right(bounds, 16)
        bounds_low = bounds & 0xFFFF
        middle = words_high * bounds_low + xp.shift_right(words_low * bounds_low, 16)
        carry = xp.shift_right(words_low * bounds_high + (middle & 0xFFFF), 16)
        return words_high * bounds_high + xp.shift_right(middle, 16) + carry

    def flat_index(self, shape: Shape, start: Tensor = 0) -> Tensor:
        """Return the row-major index of each element, plus `start`, as words."""
        index = self._word(start)
        stride = math.prod(shape)
        for axis, length in enumerate(shape):
            stride //= max(length, 1)
            steps = self.xp.arange(length, dtype=self.xp.word) * self._word(stride)
            axis_shape = (1,) * axis + (-1,) + (1,) * (len(shape) - axis - 1)
            index = index + self.xp.reshape(steps, axis_shape)  # such as (1, -1, 1)
        return self.xp.reshape(index, shape)

    def finished_dtype(self, dtype: DType) -> DType:
        """Return the dtype of finished draws after a computation in `dtype`."""
        return self._dtype or dtype

    def pack_arguments(self, *values: int) -> Tensor:
        """Pack the key and `values` into one tensor of words, which a program takes apart again."""
        words = [int(value) & 0xFFFFFFFF for value in (*self.key, *values)]
        return backend.to_tensor(np.array(words, "uint32").view(TRACED.word))

    def _map(
        self,
        draw: int,
        shape: Shape,
        dtype: DType,
        kind: Conversion,
        start: int = 0,
        then: Affine | None = None,
    ) -> Tensor:
        """Convert the words of `shape` from element `start` on. With `then`, finish the draws.

        `kind` is how words are converted, and the table for it.
        """
        check_size(start + math.prod(shape), shape)
        convert, table = kind
        out = dtype if then is None else self.finished_dtype(dtype)
        # Nothing is applied to words.
        numbers_dtype = "float32" if convert is _conversion.as_words else dtype
        numbers = (then or Affine()).numbers(numbers_dtype, out)
        if self._places is not None:
            return self._at_places(self._places, draw, dtype, kind, start, numbers, out)
        if self.xp is HOST:
            array = HOST.empty((math.prod(shape),), out)
            fill(array, kind, dtype, numbers, self.key, draw, start)
            return array.reshape(shape)
        if self.xp is DEVICE:
            return self._map_on_device(draw, shape, dtype, kind, start, numbers, out)
        # In a trace.
        if table is not None:
            table = self.xp.convert_to_tensor(table)
        words = self.words_at(draw, self.flat_index(shape, start))
        values = convert(self.xp, words, table, dtype)
        if then is None:
            return values
        return self.xp.cast(finish(self.xp, values, numbers.tolist()), out)

    def _at_places(
        self,
        places: Array,
        draw: int,
        dtype: DType,
        kind: Conversion,
        start: int,
        numbers: Array,
        out: DType,
    ) -> Array:
        """Convert the words of the elements at these places, on the host."""
        convert, table = kind
        result = HOST.empty((places.size,), out)
        for first in range(0, result.size, _PLACES_BLOCK):
            indices = places[first : first + _PLACES_BLOCK] + start
            block = result[first : first + _PLACES_BLOCK]
            # Consecutive elements, which the compiled kernel can make.
            if np.all(np.diff(indices) == 1):
                fill(block, kind, dtype, numbers, self.key, draw, int(indices[0]))
                continue
            values = convert(HOST, self.words_at(draw, indices.astype(HOST.word)), table, dtype)
            if convert is not _conversion.as_words:
                values = finish(HOST, values, numbers)
            block[:] = values
        return result

    def _map_on_device(
        self,
        draw: int,
        shape: Shape,
        dtype: DType,
        kind: Conversion,
        start: int,
        numbers: Array,
        out: DType,
    ) -> Tensor:
        """Convert words on a device, by a Triton kernel or by a program for a block of fixed size.

        All values but the size are arguments of the program, so that one program serves all shapes
        and standard deviations.
        """
        convert, table = kind
        device_table = None if table is None else backend.constant(table)
        size = math.prod(shape)
        device = backend.triton_device()
        if size and device and _runs_triton(device):
            words = [int(word) & 0xFFFFFFFF for word in (*self.key, draw)]
            return _draw_by_triton(words, shape, start, convert, numbers, device_table, out)
        arguments = [backend.to_tensor(numbers)]
        if device_table is not None:
            arguments.append(device_table)
        length = block_length(size)
        program = _make_block_program(convert, dtype, out, length)

        def make_block(first: int) -> Tensor:
            return program(self.pack_arguments(draw, start + first), *arguments)

        return backend.joined(make_block, length, shape, out)

    def _word(self, value: Tensor) -> Tensor:
        """Return the lowest 32 bits of an integer, or of a scalar integer tensor, as one word."""
        # Of length 1 on the host, because NumPy would warn of a scalar that overflows. A scalar
        # elsewhere, because JAX may be told to refuse to broadcast arrays of different ranks.
        shape = (1,) if self.xp is HOST else ()
        if isinstance(value, int):
            word = np.full(shape, value & 0xFFFFFFFF, "uint32").astype(self.xp.word)
            return self.xp.convert_to_tensor(word)
        return self.xp.reshape(self.xp.cast(value, self.xp.word), shape)


def unpack_arguments(arguments: Tensor, count: int) -> list[Tensor]:
    """Take the words of `Stream.pack_arguments` apart."""
    return [arguments[i] for i in range(count)]


def check_size(count: int, shape: Shape) -> None:
    """Raise `ValueError` if `shape` needs more random numbers, `count`, than one draw has."""
    if count > _MAX_SIZE:
        raise ValueError(
            "`shape` must need at most 2**32 random numbers. "
            f"Received: shape={tuple(shape)}, which needs {count}"
        )


# Larger arrays have larger blocks, or a GPU would wait for the calls.
_MOST_BLOCKS = 32


def block_length(size: int, unit: int = 1) -> int:
    """Choose the number of elements per block for `size` elements, a multiple of `unit`."""
    block = backend.block
    while size > _MOST_BLOCKS * block:
        block *= 2  # doubled, so that there are few lengths: each needs a program of its own
    length = max(block // unit, 1) * unit
    if backend.compiles_shapes:
        return length
    return max(min(length, size), 1)


def _draw_by_triton(*arguments: Any) -> Tensor:
    # Imported late, because the module cannot be imported without Triton.
    from keras_initx.sampling import _triton

    return _triton.draws(*arguments)


@functools.cache
def _runs_triton(device: str) -> bool:
    """Return whether Triton's kernel runs on `device`, by drawing one value there."""
    try:
        numbers = Affine().numbers("float32")
        _draw_by_triton([0, 0, 0], (1,), 0, _conversion.as_words, numbers, None, TRACED.word)
    except Exception as error:  # whatever it is, operations of torch make the same values
        warnings.warn(
            f"Triton does not run on {device}, so large arrays are made by operations of torch, "
            "with the same bits but more slowly. It needs a C compiler and Python's headers. "
            f"{type(error).__name__}: {error}",
            stacklevel=2,
        )
        return False
    return True


@functools.cache
def _make_block_program(
    convert: Convert, dtype: DType, out: DType, length: int
) -> Callable[..., Tensor]:
    """Compile the program that makes one block of a draw."""

    def compute_block(words: Tensor, numbers: Tensor, table: Tensor = None) -> Tensor:
        key0, key1, draw, start = unpack_arguments(words, 4)
        index = TRACED.arange(length, dtype=TRACED.word) + start
        values = convert(TRACED, words_at(TRACED, (key0, key1), draw, index), table, dtype)
        if convert is not _conversion.as_words:
            values = finish(TRACED, values, numbers)
        return TRACED.cast(values, out)

    return backend.program(compute_block)


def computing_dtype(dtype: DType | None) -> DType:
    """Return the dtype of the computation for values of `dtype`."""
    return "float64" if dtype == "float64" else "float32"
