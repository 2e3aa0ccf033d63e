"""One stream of random numbers for every backend: key, draw and index decide a value, nothing else.

Element `i` of draw `d` takes word `i % 2` of block `threefry(key, (i // 2, d))`. Any slice of a
draw can be made by itself, so the shard of an array equals the slice of the whole.
"""

import enum
import math

import numpy as np

from keras_initx._typing import Array, DType, Elementwise, Shape, Tensor
from keras_initx.sampling._affine import Bounds, limited
from keras_initx.sampling._host_words import HostWords
from keras_initx.sampling._namespace import HOST, Namespace, current_namespace
from keras_initx.sampling._quantiles import normal_table
from keras_initx.sampling._threefry import words_at

_MAX_SIZE = 1 << 32
_HOST_WORDS = HostWords()


def computing_dtype(dtype: DType | None) -> DType:
    """Return the dtype in which values are computed that are wanted in `dtype`."""
    return "float64" if dtype == "float64" else "float32"


class Draw(enum.IntEnum):
    """What a draw is for. Draws with different ids are independent of each other."""

    VALUES = 0
    SUPPORT = 1
    FRAME = 2


class Stream:
    """Random arrays from one key.

    Every method takes the `draw` and the `shape` wanted, and some of them `start`: the number of the
    first element, where a part of a draw is enough, and `then`: the last function that is applied to
    the draws. They are then finished: brought into the bounds and the dtype of the stream. On the host
    that happens to a few at a time, while they are in the cache. Arrays are NumPy's outside a trace
    and the backend's inside one, with the same bits.

    Args:
        key: Two words: Python integers in `[0, 2**32)`, or scalar integer tensors.
        dtype: The dtype of finished draws, by default that in which they are computed.
        bounds: Two numbers that the draws `then` gives are between, and that a cast to 16 bits must
            not lead beyond.

    Example:
        >>> stream = Stream((7, 0))
        >>> stream.normal(Draw.VALUES, (2, 3)).shape
        (2, 3)
    """

    def __init__(self, key: tuple[Tensor, Tensor], dtype: DType | None = None, bounds: Bounds | None = None) -> None:
        self.xp: Namespace = current_namespace()
        self._dtype = dtype
        self._limits = (bounds, dtype) if bounds and dtype and dtype != computing_dtype(dtype) else None
        self._key = self._word(key[0]), self._word(key[1])

    @property
    def on_host(self) -> bool:
        return self.xp is HOST

    def finished_dtype(self, dtype: DType) -> DType:
        """Return the dtype of finished draws that are computed in `dtype`."""
        return self._dtype or dtype

    def _word(self, value: Tensor) -> Tensor:
        if isinstance(value, int):
            value = np.array([value], "uint32").astype(self.xp.word)
            return value if self.on_host else self.xp.convert_to_tensor(value)
        return self.xp.reshape(self.xp.cast(value, self.xp.word), (1,))

    def words(self, draw: Draw, shape: Shape, start: int = 0) -> Tensor:
        """Return 32 random bits an element: uint32 on the host, int32 in a trace."""
        return self._map(draw, shape, self.xp.word, lambda words: words, start)

    def uniform(
        self, draw: Draw, shape: Shape, dtype: DType = "float32", start: int = 0, then: Elementwise | None = None
    ) -> Tensor:
        """Return uniform values in the open interval (0, 1), multiples of 2**-24."""

        def convert(words: Tensor) -> Tensor:
            return (self.xp.cast(self.xp.shift_right(words, 9), dtype) + 0.5) * 2.0**-23

        return self._map(draw, shape, dtype, convert, start, then)

    def normal(
        self, draw: Draw, shape: Shape, dtype: DType = "float32", start: int = 0, then: Elementwise | None = None
    ) -> Tensor:
        """Return draws from N(0, 1), within +-6.12."""
        return self._map(draw, shape, dtype, lambda words: self._normal_from(words, dtype), start, then)

    def normal_at(self, draw: Draw, index: Tensor, dtype: DType = "float32") -> Tensor:
        """Return the elements of `normal` whose flat indices are the words `index`."""
        return self._normal_from(self._words_at(draw, index), dtype)

    def interpolated(
        self, draw: Draw, shape: Shape, knots: Array, dtype: DType = "float32", then: Elementwise | None = None
    ) -> Tensor:
        """Return draws from the distribution with given quantiles, as whole numbers.

        Args:
            draw: What the draw is for.
            shape: Shape of the result.
            knots: The quantiles at the multiples of `2**-16`: 65,537 of int32 from 0 to `2**24`,
                each larger than the one before. Between two of them every number is as likely.
            dtype: `"float32"` or `"float64"`.
            then: See `Stream`.
        """
        knots = self.xp.convert_to_tensor(knots) if not self.on_host else knots.view(self.xp.word)

        def convert(words: Tensor) -> Tensor:
            cell = self.xp.shift_right(words, 16)
            low = self.xp.take(knots, cell)
            width = self.xp.take(knots, cell + 1) - low
            # The middles of 128 equal parts, in 256ths. The product may take all 32 bits.
            part = (self.xp.shift_right(words, 8) & 0xFE) | 1
            return self.xp.cast(low + self.xp.shift_right(width * part, 8), dtype)

        return self._map(draw, shape, dtype, convert, then=then)

    def integers(self, draw: Draw, shape: Shape, bounds: Tensor) -> Tensor:
        """Return integers in `[0, bounds)` as words.

        The high half of a 64-bit product: of `bounds` numbers none is more likely than another by
        more than a share of `bounds / 2**32`.

        Args:
            draw: What the draw is for.
            shape: Shape of the result.
            bounds: A positive integer below `2**31`, or words that broadcast against `shape`.
        """
        words = self.words(draw, shape)
        bounds = self._word(bounds) if isinstance(bounds, int) else bounds
        # In 16-bit limbs, because not every backend has 64-bit integers.
        upper, lower = self.xp.shift_right(words, 16), words & 0xFFFF
        high, low = self.xp.shift_right(bounds, 16), bounds & 0xFFFF
        middle = upper * low + self.xp.shift_right(lower * low, 16)
        carry = self.xp.shift_right(lower * high + (middle & 0xFFFF), 16)
        return upper * high + self.xp.shift_right(middle, 16) + carry

    def _normal_from(self, words: Tensor, dtype: DType) -> Tensor:
        table = normal_table(dtype)
        if not self.on_host:
            table = self.xp.convert_to_tensor(table)
        high = self.xp.take(table, self.xp.shift_right(words, 16))
        return high + self.xp.take(table, words & 0xFFFF)

    def _map(
        self,
        draw: Draw,
        shape: Shape,
        dtype: DType,
        convert: Elementwise,
        start: int = 0,
        then: Elementwise | None = None,
    ) -> Tensor:
        """Return `convert(words)` in `shape`, the words being those of elements `start` and up.

        With `then` draws are finished, see `Stream`.
        """
        if then is not None:
            dtype = self.finished_dtype(dtype)
            return self._map(draw, shape, dtype, lambda words: self._limited(then(convert(words))), start)
        size = math.prod(shape)
        if start + size > _MAX_SIZE:
            raise ValueError(f"`shape` must have at most 2**32 elements. Received: shape={tuple(shape)}")
        if not self.on_host:
            return self.xp.cast(convert(self._words_at(draw, self.flat_index(shape, start))), dtype)
        out = self.xp.empty((size,), dtype)
        _HOST_WORDS.fill(out, convert, self._key, draw, start)
        return out.reshape(shape)

    def _limited(self, values: Tensor) -> Tensor:
        return values if self._limits is None else limited(self.xp, values, *self._limits)

    def _words_at(self, draw: Draw, index: Tensor) -> Tensor:
        return words_at(self.xp, self._key, self._word(draw), index)

    def flat_index(self, shape: Shape, start: int = 0) -> Tensor:
        """Return the row-major number of each element, plus `start`, as words."""
        index = self._word(start & 0xFFFFFFFF)
        stride = math.prod(shape)
        for axis, length in enumerate(shape):
            stride //= max(length, 1)
            steps = self.xp.arange(length, dtype=self.xp.word) * self._word(stride & 0xFFFFFFFF)
            index = index + self.xp.reshape(steps, (-1,) + (1,) * (len(shape) - axis - 1))
        return self.xp.reshape(index, shape)
