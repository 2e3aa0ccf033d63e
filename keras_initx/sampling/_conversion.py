"""Turns random words into uniform and normal values, shifts them and scales them.

The results have the same bits on every machine.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import keras
import numpy as np

from keras_initx._typing import Array, DType, Tensor
from keras_initx.sampling._namespace import Namespace

Convert = Callable[[Namespace, Tensor, Tensor, DType], Tensor]
# A kind of draws: how words are converted, and the table for it.
Conversion = tuple[Convert, Array | None]


def as_words(xp: Namespace, words: Tensor, table: Tensor, dtype: DType) -> Tensor:
    """Return the words unchanged."""
    return words


def as_uniform(xp: Namespace, words: Tensor, table: Tensor, dtype: DType) -> Tensor:
    """Return uniform values in the open interval (0, 1), multiples of 2**-24."""
    x = xp.cast(xp.shift_right(words, 9), dtype)
    x += 0.5
    x *= 2.0**-23
    return x


def as_normal(xp: Namespace, words: Tensor, table: Tensor, dtype: DType) -> Tensor:
    """Return draws from N(0, 1), given the table `normal_table(dtype)`."""
    x = xp.take(table, xp.shift_right(words, 16))
    x += xp.take(table, words & 0xFFFF)
    return x


def as_interpolated(xp: Namespace, words: Tensor, table: Tensor, dtype: DType) -> Tensor:
    """Return integers interpolated between the quantiles in the table, see `Quantiles`."""
    cell = xp.shift_right(words, 16)
    low = xp.take(table, cell)
    width = xp.take(table, cell + 1) - low
    # The midpoints of 128 equal parts, in 256ths. The product may need all 32 bits.
    part = (xp.shift_right(words, 8) & 0xFE) | 1
    return xp.cast(low + xp.shift_right(width * part, 8), dtype)


KINDS = (as_words, as_uniform, as_normal, as_interpolated)
SIZE = 1 << 16
# The exact mean of the squares of `_upper_quantiles()`, to add which would take longer than all the
# rest.
_VARIANCE = 0.9999797186525821
# No sum of two entries of the normal table is larger.
NORMAL_REACH = 6.12


@functools.cache
def normal_table(dtype: DType) -> Array:
    """Return `SIZE` values with mean 0 and variance one half, close to normal quantiles.

    The sum of two independently chosen entries is close to N(0, 1): mean and variance are exact,
    and the excess kurtosis is -4e-4.

    Reference:
        Thomas, "The Table-Hadamard GRNG: an area-efficient FPGA Gaussian random number generator",
        ACM TRETS 8 (2015).
    """
    upper = _upper_quantiles() / math.sqrt(2 * _VARIANCE)
    table = np.concatenate([-upper[::-1], upper]).astype(dtype)
    table.flags.writeable = False
    return table


# Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied
# Statistics 37 (1988), PPND16: numerators and denominators, highest power first.
_CENTER = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)  # fmt: skip
_TAIL = (
    (7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
     4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
     2.05319162663775882187e0, 1.0),
)  # fmt: skip


def _upper_quantiles() -> Array:
    """Return the quantiles of N(0, 1) at the midpoints of the upper half of `SIZE` intervals."""
    q = (np.arange(SIZE // 2) + 0.5) / SIZE  # probability above one half
    # The end of the central approximation of AS 241. Its third branch, for probabilities below
    # 1.4e-11, is beyond a table of this size.
    center, tail = np.split(q, np.searchsorted(q, [0.425], side="right"))
    middle = center * _ratio(_CENTER, 0.180625 - center * center)
    return np.concatenate([middle, _ratio(_TAIL, np.sqrt(-portable_log(0.5 - tail)) - 1.6)])


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    numerator, denominator = coefficients
    return _polynomial(numerator, x) / _polynomial(denominator, x)


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    """Return the polynomial in `x` with these coefficients, the highest power first."""
    # In place: to touch fresh memory for each step, as `np.polyval` does, takes twice as long.
    result = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result *= x
        result += coefficient
    return result


def portable_log(x: Array | float) -> Array:
    """Return the natural logarithm of `x > 0`, float64, with the same bits on every machine."""
    # Additions, multiplications and divisions are rounded the same everywhere; np.log is not.
    mantissa, exponent = np.frexp(x)
    s = (mantissa - 1) / (mantissa + 1)
    series = _polynomial([2.0 / n for n in range(45, 0, -2)], s * s)
    return cast(Array, exponent * 0.6931471805599453 + s * series)


CELLS = 1 << 16
# The range of the draws is divided into this many units, the resolution of float32.
UNITS = 1 << 24
_GRID = 1 << 16
# Draws are limited to densities above exp(-13.5) times the maximum, 5.2 standard deviations from
# the mean. With this limit, the linear interpolation in the outermost cell has the variance of the
# tail.
_REACH = 13.5


@dataclasses.dataclass(frozen=True, eq=False)
class Quantiles:
    """A distribution by its quantiles, in fixed point. It is uniform between two of them.

    Attributes:
        knots: The quantiles at the multiples of `1 / CELLS`, in units from `lowest`: strictly
            increasing integers from 0 to `UNITS`.
        lowest: The lowest value.
        highest: The highest value.
        unit: Size of a unit.
    """

    knots: Array
    lowest: float
    highest: float
    unit: float

    @classmethod
    def of(cls, values: Array) -> "Quantiles":
        """Return the distribution with these quantiles, `CELLS + 1` increasing numbers."""
        lowest = float(values[0])
        highest = float(values[-1])
        width = highest - lowest
        return cls(_knots((values - lowest) / width), lowest, highest, width / UNITS)

    @functools.cached_property
    def stddev(self) -> float:
        """Standard deviation of the draws."""
        return self.unit * _stddev(self.knots.astype("float64"))


def _knots(positions: Array) -> Array:
    """Return positions from 0 to 1 in units."""
    knots: Array = np.rint(positions * UNITS).astype("int32")
    knots.flags.writeable = False
    return knots


@functools.lru_cache(maxsize=8)
def truncated_quantiles(lower: float, upper: float) -> Quantiles:
    """Return the quantiles of N(0, 1) between `lower` and `upper`."""
    # All positions are relative to the mode, so that far tails stay in range.
    mode = min(max(lower, 0.0), upper)
    reach = 2 * _REACH / (abs(mode) + math.sqrt(mode * mode + 2 * _REACH))
    low = max(lower - mode, -reach)
    high = min(upper - mode, reach)
    step = (high - low) / _GRID
    x = low + step * np.arange(_GRID + 1)
    density = _density(x, mode)
    mass = np.cumsum(density[:-1] + 4 * _density(x[:-1] + step / 2, mode) + density[1:])
    levels = np.concatenate([[0.0], mass / mass[-1] * CELLS])
    # The inverse of the distribution function, by linear interpolation on the grid. Each cell is
    # repeated for the whole numbers among its levels.
    counts = np.diff(np.ceil(levels[:-1]), append=CELLS + 1).astype(int)
    cell = np.repeat(np.arange(_GRID), counts)
    level = np.repeat(levels[:-1], counts)
    rise = np.repeat(np.diff(levels), counts)
    positions = (cell + (np.arange(CELLS + 1) - level) / rise) / _GRID
    if lower == -upper:
        positions = (positions + (1 - positions[::-1])) / 2
    lowest = mode + low
    width = high - low
    return Quantiles(_knots(positions), lowest, lowest + width, width / UNITS)


def _density(x: Array, mode: float) -> Array:
    """Return `exp(-x * x / 2 - mode * x)`, the density at `mode + x` relative to that at `mode`."""
    return portable_exp(-x * (x / 2 + mode))


def portable_exp(x: Array) -> Array:
    """Return the exponential function of `x`, float64, with the same bits on every machine."""
    # Additions, multiplications and powers of two are rounded the same everywhere; np.exp is not.
    twos = np.rint(x * 1.4426950408889634)
    rest = x - twos * 0.6931471805599453
    series = _polynomial([1 / math.factorial(n) for n in range(15, -1, -1)], rest)
    return cast(Array, np.ldexp(series, twos.astype("int32")))


def _stddev(knots: Array) -> float:
    middle = (knots[:-1] + knots[1:]) / 2
    width = np.diff(knots)
    mean = np.sum(middle) / CELLS  # exact, because all are multiples of one half
    squares = (middle - mean) ** 2 + width**2 / 12
    # Rounded once, as by `math.fsum`, which takes ten times as long: whole numbers are added
    # without rounding, and the error of the rest is below 2**-30 of the last bit.
    whole = np.rint(squares)
    rest = float(np.sum(squares - whole))
    total = (int(np.sum(whole.astype("int64"))) << 60) + int(rest * 2.0**60)
    return math.sqrt(total / (CELLS << 60))


# The largest number of each dtype.
MOST: dict[DType, float] = {
    "float16": 65504.0,
    "bfloat16": (2 - 2.0**-7) * 2.0**127,
    "float32": (2 - 2.0**-23) * 2.0**127,
    "float64": sys.float_info.max,
}
# The smallest positive number of each dtype that all machines keep. Many round smaller ones of 32
# bits to zero.
LEAST: dict[DType, float] = {
    "float16": 2.0**-24,
    "bfloat16": 2.0**-126,
    "float32": 2.0**-126,
    "float64": 2.0**-1022,
}


Bounds = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Affine:
    """The function that maps draws `x` to `(x + shift) * factor`, limited to bounds.

    Attributes:
        shift: A number.
        factor: A positive number.
        bounds: Lower and upper bound of the values, which also hold after rounding.
        zero: Replacement for draws that are zero.
        is_strict: Whether the bounds also hold after a cast to 16 bits.
    """

    shift: float = 0.0
    factor: float = 1.0
    bounds: Bounds | None = None
    zero: float = 0.0
    is_strict: bool = False

    def numbers(self, dtype: DType, out: DType | None = None) -> Array:
        """Return the arguments that `finish` takes for draws in `dtype` that are cast to `out`.

        They are arguments and no constants, so that one program serves all of them.
        """
        bounds = -math.inf, math.inf
        with np.errstate(over="ignore"):
            if self.bounds:
                bounds = round_inward(dtype, *self.bounds)
            numbers = np.array([self.zero, self.shift, self.factor, *bounds], dtype)
        if self.bounds and self.is_strict and out not in (None, dtype):
            numbers[3:] = np.clip(numbers[3:], *round_inward(out, *self.bounds))
        return numbers


def affine(
    offset: float, factor: float, bounds: Bounds | None = None, *, is_strict: bool = False
) -> Affine:
    """Return a function that maps draws `x` to `offset + factor * x`, with equal bits everywhere.

    A compiler may fuse a multiplication followed by an addition into one operation, which rounds
    once instead of twice. An addition followed by a multiplication cannot be fused, so this
    computes `(x + offset / factor) * factor`, and the quotient is computed before compilation.

    Args:
        offset: A number.
        factor: A positive number.
        bounds: Lower and upper bound of the values, which also hold after rounding.
        is_strict: Whether the bounds also hold after a cast to 16 bits.
    """
    offset = float(offset)
    # If the second is larger, the draws are negligible after rounding, and the quotient stays
    # finite. A product of two small numbers may be zero, by which nothing can be divided.
    factor = max(float(factor), abs(offset) * 2.0**-60, sys.float_info.min)
    return Affine(offset / factor, factor, bounds, is_strict=is_strict)


def finish(xp: Namespace, x: Tensor, numbers: Sequence[Any] | Tensor) -> Tensor:
    """Apply the `Affine` with these `numbers` to draws.

    All steps are always applied, because steps without effect are exact.
    """
    zero, shift, factor, lower, upper = (numbers[i] for i in range(5))
    x = xp.where(x == 0, zero, x) + shift
    if type(factor) is float and factor < LEAST["float32"]:  # in a trace
        # A compiled program would take it for zero.
        x = xp.times(x * (factor * 2.0**64), 2.0**-64)
    else:
        x = x * factor
    return xp.clip(x, lower, upper)


def round_inward(dtype: DType, lower: float, upper: float) -> Bounds:
    """Return the bounds of a range rounded to `dtype`, the lower one up and the upper one down."""
    lower = float(lower)
    upper = float(upper)
    with np.errstate(over="ignore"):
        low, high = np.array([lower, upper]).astype(keras.backend.standardize_dtype(dtype))
    if float(low) < lower:
        low = np.nextafter(low, high.dtype.type(np.inf))
    if float(high) > upper:
        high = np.nextafter(high, high.dtype.type(-np.inf))
    return min(float(low), float(high)), float(high)
