"""Uniform and truncated normal draws between two bounds, the same to the last bit everywhere."""

import functools
import math
from typing import NamedTuple

import numpy as np

from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.sampling._affine import Bounds, affine
from keras_initx.sampling._stream import Draw, Stream

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
