"""A stream of random numbers for every backend: each value depends only on key, draw and index."""

import enum
import functools
import math
from typing import NamedTuple

import numpy as np

from keras_initx._typing import Array, DType, Elementwise, Shape, Tensor
from keras_initx.sampling import _device
from keras_initx.sampling._conversion import (
    Affine,
    Bounds,
    Convert,
    affine,
    as_interpolated,
    as_normal,
    as_uniform,
    as_words,
    inwards,
    limited,
    normal_table,
)
from keras_initx.sampling._namespace import DEVICE, HOST, Namespace, current_namespace
from keras_initx.sampling._words import HostWords, words_at

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


CELLS = 1 << 16
# The range of the draws is divided into this many units, the resolution of float32.
UNITS = 1 << 24
_GRID = 1 << 16
# Draws are limited to densities above exp(-13.5) times the maximum, 5.2 standard deviations from the mean. With this
# limit, the linear interpolation in the outermost cell has the variance of the tail.
_REACH = 13.5


class Quantiles(NamedTuple):
    """A truncated normal distribution in fixed point.

    Attributes:
        knots: The quantiles at the multiples of `1 / CELLS`, in units from `origin`.
        origin: The lowest value.
        unit: Size of a unit.
        stddev: Standard deviation of the draws, with linear interpolation between the knots.
    """

    knots: Array
    origin: float
    unit: float
    stddev: float


def uniform_between(stream: Stream, shape: Shape, lower: float, upper: float, dtype: DType = "float32") -> Tensor:
    """Return uniform draws between `lower` and `upper`."""
    return stream.uniform(Draw.VALUES, shape, dtype, then=affine(stream.xp, lower, upper - lower, (lower, upper)))


def truncated_normal(
    stream: Stream, shape: Shape, lower: float, upper: float, mean: float, stddev: float, dtype: DType = "float32"
) -> Tensor:
    """Return draws from a normal distribution truncated at `lower` and `upper`, with standard deviation `stddev`.

    Args:
        stream: The `Stream` to draw from.
        shape: Shape of the result.
        lower: Lower truncation point, relative to the mean, in standard deviations before
            truncation.
        upper: Upper truncation point.
        mean: Mean before truncation.
        stddev: Standard deviation after truncation.
        dtype: `"float32"` or `"float64"`.
    """
    quantiles = truncated_quantiles(float(lower), float(upper))
    scale = stddev / quantiles.stddev
    # Each draw represents the midpoint of its unit.
    offset = mean + scale * (quantiles.origin + quantiles.unit / 2)
    bounds = truncated_bounds(lower, upper, mean, stddev)
    then = affine(stream.xp, offset, scale * quantiles.unit, bounds)
    return stream.interpolated(Draw.VALUES, shape, quantiles.knots, dtype, then)


def truncated_bounds(lower: float, upper: float, mean: float, stddev: float) -> Bounds:
    """Return the bounds of `truncated_normal` for the same arguments."""
    scale = stddev / truncated_quantiles(float(lower), float(upper)).stddev
    return mean + scale * lower, mean + scale * upper


@functools.lru_cache(maxsize=8)
def truncated_quantiles(lower: float, upper: float) -> Quantiles:
    """Return the quantiles of N(0, 1) between `lower` and `upper`."""
    # All positions are relative to the mode, so that far tails stay in range.
    mode = min(max(lower, 0.0), upper)
    reach = 2 * _REACH / (abs(mode) + math.sqrt(mode * mode + 2 * _REACH))
    low, high = max(lower - mode, -reach), min(upper - mode, reach)
    step = (high - low) / _GRID
    x = low + step * np.arange(_GRID + 1)
    mass = np.cumsum(_density(x[:-1], mode) + 4 * _density(x[:-1] + step / 2, mode) + _density(x[1:], mode))
    share = np.concatenate([[0.0], mass / mass[-1]])
    # The inverse of the distribution function, by linear interpolation on the grid.
    wanted = np.arange(CELLS + 1) / CELLS
    cell = np.minimum(np.searchsorted(share, wanted, side="right"), _GRID) - 1
    inside = (wanted - share[cell]) / (share[cell + 1] - share[cell])
    quantiles = (cell + inside) / _GRID
    if lower == -upper:
        quantiles = (quantiles + (1 - quantiles[::-1])) / 2
    knots = np.rint(quantiles * UNITS).astype("int32")
    knots.flags.writeable = False
    unit = (high - low) / UNITS
    return Quantiles(knots, mode + low, unit, unit * _stddev(knots.astype("float64")))


def _density(x: Array, mode: float) -> Array:
    """Return `exp(-x * x / 2 - mode * x)`, the ratio of the density at `mode + x` to that at `mode`."""
    # Additions, multiplications and powers of two are rounded the same everywhere; np.exp is not.
    power = -x * (x / 2 + mode)
    twos = np.rint(power * 1.4426950408889634)
    rest = power - twos * 0.6931471805599453
    density: Array = np.ldexp(np.polyval([1 / math.factorial(n) for n in range(15, -1, -1)], rest), twos.astype(int))
    return density


def _stddev(knots: Array) -> float:
    middle, width = (knots[:-1] + knots[1:]) / 2, np.diff(knots)
    mean = np.sum(middle) / CELLS  # exact, because all are multiples of one half
    return math.sqrt(math.fsum((middle - mean) ** 2 + width**2 / 12) / CELLS)
