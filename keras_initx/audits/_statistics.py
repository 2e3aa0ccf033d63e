"""Statistics of the values of a weight: what a contract keeps of them, in a few hundred numbers."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.audits._compare import MOST, SAMPLE, epsilon, kolmogorov, sample_of, sampled
from keras_initx.initializers import IndependentLaw, Normal, Truncated, Uniform

__all__ = ["Parts", "Statistics"]

# With a larger share of zeros, the statistics are those of the other values.
SHARE_OF_ZEROS = 0.005
# Values farther from the median, in deviations, are outliers. Normal values have none, and the
# truncated ones of torch are the lower bound now and then.
_FAR = 12.0
# The interquartile range of normal values, in deviations.
_INTERQUARTILE = 1.349
# The most parts of an axis whose deviations are compared: gates, heads, queries and keys.
_MOST_PARTS = 12
# Random vectors that a matrix is multiplied by, to see whether it is orthonormal.
_PROBES = 4
# The numbers of frames beside each other along the last axis: one for each gate.
_FRAMES = (1, 3, 4)
_FEWEST_COLUMNS = 4
# Fewer values may be of any family.
_FEWEST_OF_FAMILY = 256
# Independent values with more bits are different numbers.
BITS_OF_RANDOM = 16
# Fewer different values may all be there an even number of times by chance.
_FEWEST_DIFFERENT = 16
# With a smaller probability, values are not of a family.
_IMPLAUSIBLE = 1e-3
# Deviations of draws that differ by so many standard errors are not those of independent values.
_SPREAD = 4.0
# The probabilities of the quantiles, more of them in the tails.
_TAIL = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.012, 0.015)
LEVELS = np.concatenate([_TAIL, np.linspace(0.02, 0.98, 97), 1 - np.array(_TAIL[::-1])])


@dataclass(frozen=True)
class Parts:
    """The values of equal parts of a weight along an axis.

    Attributes:
        axis: The axis.
        size: The number of values of a part that the numbers are of.
        means: The mean of each part.
        stds: The standard deviation of each part.
    """

    axis: int
    size: int
    means: tuple[float, ...]
    stds: tuple[float, ...]


@dataclass(frozen=True)
class Statistics:
    """Statistics of the values of a weight, of one or several draws.

    Where more than 0.5 % of the values are zero, as in a sparse kernel, moments and quantiles are
    those of all others. Outliers, which are more than 12 deviations from the median, count for the
    extremes only.

    Attributes:
        size: The number of values that the moments are of.
        independent: The number of independent values that would tell as much.
        mean: Their mean.
        std: Their standard deviation.
        kurtosis: Their fourth moment, in standard deviations.
        total: The number of all values.
        zeros: The share of zeros among all values.
        outliers: The number of outliers among all values.
        lowest: The lowest of all values.
        highest: The highest of all values.
        bits: The number of bits of the mantissa that are used.
        quantiles: 113 quantiles, more of them in the tails.
        parts: The values of equal parts along the first and the last axis.
        frames: 0 if the values are not orthonormal; 1 if all together are, else the number of
            blocks beside each other along the last axis of which each is.
        frames_axis: The axis along which blocks are orthonormal: `"first"` or `"last"`.
    """

    size: int
    independent: float
    mean: float
    std: float
    kurtosis: float
    total: int
    zeros: float
    outliers: int
    lowest: float
    highest: float
    bits: int
    quantiles: tuple[float, ...]
    parts: tuple[Parts, ...] = ()
    frames: int = 0
    frames_axis: str = ""

    @property
    def error(self) -> float:
        """The standard error of the logarithm of the standard deviation."""
        if self.frames:
            return 0.0  # the squares of a frame have a fixed sum
        return 1 / math.sqrt(2 * self.degrees)

    @property
    def root_mean_square(self) -> float:
        """The root mean square of the values."""
        return math.hypot(self.mean, self.std)

    @property
    def degrees(self) -> float:
        """The degrees of freedom of the variance: of normal values, their number (Box, 1953)."""
        return max(2 * self.independent / max(self.kurtosis - 1, 0.1), 1.0)

    @functools.cached_property
    def families(self) -> tuple[str, ...]:
        """The families of distributions that the values may be of."""
        if self.frames:
            return ("orthonormal",)
        size = int(min(self.independent, SAMPLE))
        if size < _FEWEST_OF_FAMILY or not self.std:
            return ()
        plausible = []
        quantiles = np.array(self.quantiles)
        for law in _families(self.mean, self.std):
            distance = float(np.abs(law.distribution_function(quantiles) - LEVELS).max())
            if kolmogorov(distance, size) > _IMPLAUSIBLE:
                plausible.append(law.name)
        return tuple(plausible)

    @property
    def family(self) -> str:
        """The family of distributions that the values are of, empty if none is singled out."""
        return self.families[0] if len(self.families) == 1 else ""


def _families(mean: float, std: float) -> Iterator[IndependentLaw]:
    """Yield the distributions that initializers draw from, with this mean and deviation."""
    yield Normal(mean, std)
    yield Truncated(-2.0, 2.0, mean, std)
    width = math.sqrt(3) * std
    yield Uniform(mean - width, mean + width)


def statistics_of(values: Array, dtype: DType) -> Statistics:
    """Return the statistics of finite values, of which there is one at least.

    Args:
        values: An array in float32 or float64.
        dtype: The dtype that they were rounded to.
    """
    lowest = float(values.min())
    highest = float(values.max())
    zeros = 1 - np.count_nonzero(values) / values.size
    sample = sampled(values).astype("float64")
    if SHARE_OF_ZEROS < zeros < 1:
        nonzero = sample[sample != 0]
        if nonzero.size:  # which a sample may lack
            sample = nonzero
    ordered = np.sort(sample_of(sample))
    low, median, high = np.quantile(ordered, (0.25, 0.5, 0.75))
    reach = _FAR * (high - low) / _INTERQUARTILE
    outliers = 0
    if reach and max(highest - median, median - lowest) > reach:
        outliers = int(np.count_nonzero(np.abs(values - median) > reach))
        if zeros > SHARE_OF_ZEROS and abs(median) > reach:
            outliers -= values.size - int(np.count_nonzero(values))
        sample = sample[np.abs(sample - median) <= reach]
        ordered = ordered[np.abs(ordered - median) <= reach]
    mean = float(sample.mean())
    std = float(sample.std())
    kurtosis = 3.0
    if std:
        kurtosis = float(np.mean(((sample - mean) / std) ** 4))
    bits = _bits(sample)
    independent = float(sample.size)
    if bits > BITS_OF_RANDOM:
        independent *= (1 + int(np.count_nonzero(np.diff(ordered)))) / ordered.size
    else:
        independent /= _copies(ordered)
    frames, frames_axis = _frames(values, dtype)
    found: Statistics = _rounded(
        Statistics(
            sample.size,
            independent,
            mean,
            std,
            kurtosis,
            values.size,
            zeros,
            outliers,
            lowest,
            highest,
            bits,
            tuple(np.quantile(ordered, LEVELS).tolist()),
            tuple(_parts(values, (median, reach) if outliers else None)),
            frames,
            frames_axis,
        )
    )
    return found


def _rounded(value: Any) -> Any:
    """Return statistics with seven digits, as files have them: both say the same."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, tuple):
        return tuple(map(_rounded, value))
    if isinstance(value, Statistics | Parts):
        return type(value)(*(_rounded(getattr(value, field.name)) for field in fields(value)))
    return value


def _copies(values: Array) -> int:
    """Return how often each value is there, where few bits make values equal too: once or more."""
    counts = np.unique(values, return_counts=True)[1]
    if counts.size < _FEWEST_DIFFERENT:
        return 1
    return int(np.gcd.reduce(counts))


def _bits(values: Array) -> int:
    """Return how many bits of the mantissa of float32 are used, up to the last that is not 0."""
    used = int(np.bitwise_or.reduce(values.astype("float32").view("uint32")) & 0x7FFFFF)
    if not used:
        return 0
    return 24 - (used & -used).bit_length()


def _parts(values: Array, inliers: tuple[float, float] | None) -> Iterator[Parts]:
    """Yield the statistics of equal parts along the first and the last axis.

    Args:
        values: The values.
        inliers: If there are outliers, the median of the values, and how far from it others are.
    """
    for axis in dict.fromkeys((0, values.ndim - 1)):
        if values.ndim == 0:
            return
        length = values.shape[axis]
        count = max(number for number in range(1, _MOST_PARTS + 1) if length % number == 0)
        if count == 1:
            continue
        before = math.prod(values.shape[:axis])
        thin = _thinned(values.reshape(before, count, -1), count)
        rows = thin.transpose(1, 0, 2).reshape(count, -1).astype("float64")
        if inliers is not None:
            median, reach = inliers
            rows[np.abs(rows - median) > reach] = median
        means = tuple(rows.mean(axis=1).tolist())
        yield Parts(axis, rows.shape[1], means, tuple(rows.std(axis=1).tolist()))


def _thinned(values: Array, count: int) -> Array:
    """Return an array of which few enough values are left along the first and the last axis."""
    before, _, after = values.shape
    step = max(1, before * after // (MOST // count))
    first = min(step, before)
    return values[::first, :, :: max(1, step // first)]


def _frames(values: Array, dtype: DType) -> tuple[int, str]:
    """Return the number of orthonormal blocks and their axis, see `Statistics`."""
    tolerance = max(1e-3, 8 * epsilon(dtype))
    if values.ndim < 2:
        return 0, ""
    matrices = {"last": values.reshape(-1, values.shape[-1])}
    if values.ndim > 2:
        matrices["first"] = values.reshape(values.shape[0], -1)
    for axis, matrix in matrices.items():
        for count in _FRAMES:
            if matrix.shape[1] % count or (count > 1 and axis == "first"):
                continue
            blocks = np.split(matrix, count, axis=1)
            if all(_is_frame(block, tolerance) for block in blocks):
                return count, axis
    return 0, ""


def _is_frame(block: Array, tolerance: float) -> bool:
    """Return whether the columns or the rows of a matrix are orthogonal and of equal length."""
    if block.shape[0] < block.shape[1]:
        block = block.T
    length, count = block.shape
    # Few columns are orthogonal by chance, and long ones are nearly so.
    if count < _FEWEST_COLUMNS or math.sqrt(count / length) < 10 * tolerance:
        return False
    # Two columns say so of most matrices already.
    first, second = block[:, 0], block[:, 1]
    squares = float(first @ first)
    if not squares or abs(float(first @ second)) > 2 * tolerance * squares:
        return False
    probes = np.random.default_rng(0).standard_normal((count, _PROBES)).astype(block.dtype)
    kept = block.T @ (block @ probes) / squares
    error = float(np.linalg.norm(kept - probes) / np.linalg.norm(probes))
    return error < 2 * tolerance


def merged(draws: Sequence[Statistics]) -> Statistics:
    """Return the statistics of the values of several draws of one weight together."""
    if len(draws) == 1:
        return draws[0]
    means = np.array([draw.mean for draw in draws])
    stds = np.array([draw.std for draw in draws])
    mean = float(means.mean())
    independent = sum(draw.independent for draw in draws)
    error = float(np.mean([draw.error for draw in draws]))
    if error and stds.all():
        spread = float(np.log(stds).std(ddof=1)) / error
        if spread > _SPREAD:
            independent = max(independent / spread**2, float(len(draws)))
    frames = {(draw.frames, draw.frames_axis) for draw in draws}
    count, axis = frames.pop() if len(frames) == 1 else (0, "")
    together: Statistics = _rounded(
        Statistics(
            sum(draw.size for draw in draws),
            independent,
            mean,
            float(np.sqrt(np.mean(stds**2 + (means - mean) ** 2))),
            float(np.mean([draw.kurtosis for draw in draws])),
            sum(draw.total for draw in draws),
            float(np.mean([draw.zeros for draw in draws])),
            sum(draw.outliers for draw in draws),
            min(draw.lowest for draw in draws),
            max(draw.highest for draw in draws),
            max(draw.bits for draw in draws),
            tuple(np.mean([draw.quantiles for draw in draws], axis=0).tolist()),
            tuple(_merged_parts(parts) for parts in zip(*[d.parts for d in draws], strict=True)),
            count,
            axis,
        )
    )
    return together


def _merged_parts(parts: Sequence[Parts]) -> Parts:
    means = np.array([part.means for part in parts])
    stds = np.array([part.stds for part in parts])
    mean = means.mean(axis=0)
    std = np.sqrt(np.mean(stds**2 + (means - mean) ** 2, axis=0))
    size = sum(part.size for part in parts)
    return Parts(parts[0].axis, size, tuple(mean.tolist()), tuple(std.tolist()))
