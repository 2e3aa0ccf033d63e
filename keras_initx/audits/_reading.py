"""Which values of a weight are looked at, and what is known of them before they are measured."""

from dataclasses import dataclass

import numpy as np

from keras_initx._checks import EPSILONS
from keras_initx._typing import Array, DType

# Elements that are compared with a distribution. With so many, a standard deviation is known to
# 0.3 %. The extremes are those of all elements.
SAMPLE = 1 << 16
# Elements of which the moments are computed.
MOST = 1 << 18
# With a larger share of zeros, moments and quantiles are those of the other values.
SHARE_OF_ZEROS = 0.005
# Values farther from the median, in deviations, are outliers. Normal values have none, and the
# truncated ones of torch are the lower bound now and then.
_FAR = 12.0
# The interquartile range of normal values, in deviations.
_INTERQUARTILE = 1.349


@dataclass(frozen=True)
class Reading:
    """The values of a weight, which are measured.

    Attributes:
        values: All of them, in float32 or float64.
        dtype: The dtype that they were rounded to.
        share: The share of the most frequent value that is expected, `None` if it is not known.
        zeros: The share of zeros.
        sample: Some of those that count for the moments, in float64: without outliers, and without
            zeros if there are many.
        ordered: Some of these, in increasing order.
        outliers: The number of outliers.
        median: Their median, also with outliers.
        reach: How far from it a value is no outlier, 0 if that is not known.
    """

    values: Array
    dtype: DType
    share: float | None
    zeros: float
    sample: Array
    ordered: Array
    outliers: int
    median: float
    reach: float

    @property
    def is_sparse(self) -> bool:
        """Whether zeros do not count for the moments."""
        return self.zeros > SHARE_OF_ZEROS


def reading_of(values: Array, dtype: DType, share: float | None = None) -> Reading:
    """Return values, of which not all are equal, with what is looked at."""
    zeros = 1 - np.count_nonzero(values) / values.size
    is_sparse = zeros > SHARE_OF_ZEROS
    sample = sampled(values[values != 0] if is_sparse else values).astype("float64")
    ordered = np.sort(sample_of(sample))
    low, median, high = quantiles_of(ordered, np.array([0.25, 0.5, 0.75])).tolist()
    # Where one number is a quarter of the values, quartiles do not tell how the others spread.
    reach = 0.0 if median in (low, high) else reach_of_values(low, high)
    outliers = 0
    if reach and max(float(values.max()) - median, median - float(values.min())) > reach:
        outliers = int(np.count_nonzero(np.abs(values - median) > reach))
        if is_sparse and abs(median) > reach:
            outliers -= values.size - int(np.count_nonzero(values))
        sample = sample[np.abs(sample - median) <= reach]
        ordered = ordered[np.abs(ordered - median) <= reach]
    return Reading(values, dtype, share, zeros, sample, ordered, outliers, median, reach)


def reach_of_values(low: float, high: float) -> float:
    """Return how far from the median a value is no outlier, by the quartiles of all."""
    return _FAR * (high - low) / _INTERQUARTILE


def quantiles_of(ordered: Array, levels: Array) -> Array:
    """Return the quantiles of values in increasing order."""
    places: Array = np.interp(levels * (ordered.size - 1), np.arange(ordered.size), ordered)
    return places


def sampled(values: Array) -> Array:
    """Return all values, or 262,144 of them, as a vector."""
    return sample_of(values, MOST, run=4096)


def sample_of(values: Array, size: int = SAMPLE, run: int = 64) -> Array:
    """Return at most `size` of the values, in runs from all parts."""
    flat = values.reshape(-1)
    if flat.size <= size:
        return flat
    runs = size // run
    stratum = flat.size / runs
    room = np.random.default_rng(0).random(runs) * (stratum - run)
    starts = (np.arange(runs) * stratum + room).astype(int)
    return flat[starts[:, None] + np.arange(run)].reshape(-1)


def epsilon(dtype: DType) -> float:
    """Return the distance of 1 to the next larger number of `dtype`, at least that of float32."""
    return max(EPSILONS.get(dtype, 0.0), EPSILONS["float32"])
