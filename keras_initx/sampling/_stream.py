"""A stream of random numbers for every backend: each value depends only on key, draw and index.

Element `i` of draw `d` takes word `i % 2` of block `threefry(key, (i // 2, d))`. Any slice of a
draw can be computed independently, so a shard of an array equals the slice of the whole.
"""

import enum
import math

import numpy as np

from keras_initx._typing import Array, DType, Elementwise, Shape, Tensor
from keras_initx.sampling import _device
from keras_initx.sampling._affine import Affine, Bounds, inwards, limited
from keras_initx.sampling._convert import Convert, as_interpolated, as_normal, as_uniform, as_words
from keras_initx.sampling._host_words import HostWords
from keras_initx.sampling._namespace import DEVICE, HOST, Namespace
from keras_initx.sampling._place import current_namespace
from keras_initx.sampling._quantiles import normal_table
from keras_initx.sampling._threefry import words_at

_MAX_SIZE = 1 << 32
_HOST_WORDS = HostWords()


def computing_dtype(dtype: DType | None) -> DType:
    """Return the dtype in which to compute values of `dtype`."""
    return "float64" if dtype == "float64" else "float32"


class Draw(enum.IntEnum):
    """The purpose of a draw. Draws for different purposes are independent."""

    VALUES = 0
    SUPPORT = 1
    FRAME = 2


class Stream:
    """Random arrays from one key.

    Every method takes the `draw` and the `shape`. Some take `start`, the index of the first
    element, to compute a part of a draw, and `then`, a function to apply to the draws. Draws with
    `then` are finished: clipped to the bounds and cast to the dtype of the stream. This is done
    block by block: on the host while they are in the cache, and on a device in registers if the
    function is from `affine`. Arrays are NumPy's on the host and the backend's elsewhere, with the
    same bits.

    Args:
        key: Two words: Python integers in `[0, 2**32)`, or scalar integer tensors.
        dtype: The dtype of finished draws. By default the dtype in which they are computed.
        bounds: Lower and upper bound of finished draws, which also hold after a cast to 16 bits.
        xp: The namespace to draw in, by default the current one.

    Example:
        >>> stream = Stream((7, 0))
        >>> stream.normal(Draw.VALUES, (2, 3)).shape
        (2, 3)
    """

    def __init__(
        self,
        key: tuple[Tensor, Tensor],
        dtype: DType | None = None,
        bounds: Bounds | None = None,
        xp: Namespace | None = None,
    ) -> None:
        self.key = key
        self.xp: Namespace = current_namespace() if xp is None else xp
        self._dtype = dtype
        self._limits = (bounds, dtype) if bounds and dtype and dtype != computing_dtype(dtype) else None
        self._key = self.word(key[0]), self.word(key[1])

    @property
    def on_host(self) -> bool:
        return self.xp is HOST

    @property
    def on_device(self) -> bool:
        return self.xp is DEVICE

    def finished_dtype(self, dtype: DType) -> DType:
        """Return the dtype of finished draws that are computed in `dtype`."""
        return self._dtype or dtype

    def word(self, value: Tensor) -> Tensor:
        """Return the lowest 32 bits of an integer or a scalar integer tensor as an array of one word."""
        if isinstance(value, int):
            value = np.array([value & 0xFFFFFFFF], "uint32").astype(self.xp.word)
            return value if self.on_host else self.xp.convert_to_tensor(value)
        return self.xp.reshape(self.xp.cast(value, self.xp.word), (1,))

    def words(self, draw: Draw, shape: Shape, start: int = 0) -> Tensor:
        """Return 32 random bits per element: uint32 on the host, int32 elsewhere."""
        return self._map(draw, shape, self.xp.word, as_words, None, start)

    def words_at(self, draw: Draw, index: Tensor) -> Tensor:
        """Return the elements of `words` whose flat indices are the words `index`."""
        return words_at(self.xp, self._key, self.word(draw), index)

    def uniform(
        self, draw: Draw, shape: Shape, dtype: DType = "float32", start: int = 0, then: Elementwise | None = None
    ) -> Tensor:
        """Return uniform values in the open interval (0, 1), multiples of 2**-24."""
        return self._map(draw, shape, dtype, as_uniform, None, start, then)

    def normal(
        self, draw: Draw, shape: Shape, dtype: DType = "float32", start: int = 0, then: Elementwise | None = None
    ) -> Tensor:
        """Return draws from N(0, 1), limited to +-6.12."""
        return self._map(draw, shape, dtype, as_normal, normal_table(dtype), start, then)

    def normal_at(self, draw: Draw, index: Tensor, dtype: DType = "float32") -> Tensor:
        """Return the elements of `normal` whose flat indices are the words `index`."""
        return as_normal(self.xp, self.words_at(draw, index), self._table(normal_table(dtype)), dtype)

    def interpolated(
        self, draw: Draw, shape: Shape, knots: Array, dtype: DType = "float32", then: Elementwise | None = None
    ) -> Tensor:
        """Return integer draws from a distribution given by its quantiles.

        Args:
            draw: The purpose of the draw.
            shape: Shape of the result.
            knots: The quantiles at the multiples of `2**-16`: 65,537 strictly increasing int32
                values from 0 to `2**24`. Between two of them the distribution is uniform.
            dtype: `"float32"` or `"float64"`.
            then: See `Stream`.
        """
        return self._map(draw, shape, dtype, as_interpolated, knots.view(self.xp.word), 0, then)

    def integers(self, draw: Draw, shape: Shape, bounds: Tensor) -> Tensor:
        """Return integers in `[0, bounds)` as words.

        Uses the high half of a 64-bit product. The relative difference between the probabilities of
        two integers is at most `bounds / 2**32`.

        Args:
            draw: The purpose of the draw.
            shape: Shape of the result.
            bounds: A positive integer below `2**31`, or words that broadcast against `shape`.
        """
        return self.integers_from(self.words(draw, shape), bounds)

    def integers_from(self, words: Tensor, bounds: Tensor) -> Tensor:
        """Convert `words` to integers, see `integers`."""
        bounds = self.word(bounds) if isinstance(bounds, int) else bounds
        # In 16-bit limbs, because not every backend has 64-bit integers.
        upper, lower = self.xp.shift_right(words, 16), words & 0xFFFF
        high, low = self.xp.shift_right(bounds, 16), bounds & 0xFFFF
        middle = upper * low + self.xp.shift_right(lower * low, 16)
        carry = self.xp.shift_right(lower * high + (middle & 0xFFFF), 16)
        return upper * high + self.xp.shift_right(middle, 16) + carry

    def _table(self, table: Array | None) -> Tensor:
        return table if table is None or self.on_host else self.xp.convert_to_tensor(table)

    def _map(
        self,
        draw: Draw,
        shape: Shape,
        dtype: DType,
        convert: Convert,
        table: Array | None,
        start: int,
        then: Elementwise | None = None,
    ) -> Tensor:
        """Apply `convert` to the words of `shape`, starting at element `start`.

        With `then` draws are finished, see `Stream`.
        """
        check_size(start + math.prod(shape), shape)
        out = dtype if then is None else self.finished_dtype(dtype)
        if self.on_device:
            if then is not None and not isinstance(then, Affine):
                standard = self._map(draw, shape, dtype, convert, table, start)
                return self.xp.cast(self._limited(then(standard)), out)
            # Nothing is applied to words.
            numbers = self._numbers(then or Affine(self.xp), "float32" if convert is as_words else dtype)
            return _device.draws(self.key, draw, shape, start, convert, table, numbers, dtype, out)
        table = self._table(table)

        def finished(words: Tensor) -> Tensor:
            values = convert(self.xp, words, table, dtype)
            return values if then is None else self._limited(then(values))

        if self.on_host:
            array = self.xp.empty((math.prod(shape),), out)
            _HOST_WORDS.fill(array, finished, self._key, draw, start)
            return array.reshape(shape)
        return self.xp.cast(finished(self.words_at(draw, self.flat_index(shape, start))), out)

    def _limited(self, values: Tensor) -> Tensor:
        return values if self._limits is None else limited(self.xp, values, *self._limits)

    def _numbers(self, then: Affine, dtype: DType) -> Array:
        """Return the numbers of `then`, with the limits of the stream in its bounds."""
        numbers = then.numbers(dtype)
        if self._limits is not None:
            bounds, narrow = self._limits
            numbers[3:] = np.clip(numbers[3:], *inwards(narrow, *map(float, bounds)))
        return numbers

    def flat_index(self, shape: Shape, start: Tensor = 0) -> Tensor:
        """Return the row-major index of each element, plus `start`, as words."""
        index = self.word(start)
        stride = math.prod(shape)
        for axis, length in enumerate(shape):
            stride //= max(length, 1)
            steps = self.xp.arange(length, dtype=self.xp.word) * self.word(stride)
            index = index + self.xp.reshape(steps, (-1,) + (1,) * (len(shape) - axis - 1))
        return self.xp.reshape(index, shape)


def check_size(count: int, shape: Shape) -> None:
    """Raise `ValueError` if values of `shape` need `count` elements of a draw, and it has fewer."""
    if count > _MAX_SIZE:
        raise ValueError(
            f"`shape` must need at most 2**32 random numbers. Received: shape={tuple(shape)}, which needs {count}"
        )
