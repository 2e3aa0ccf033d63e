"""The distribution of values: its scale, its mean and its shape."""

import math

import numpy as np

from keras_initx._typing import Array
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._probabilities import kolmogorov, same_variance, student
from keras_initx.audits._profile import LEVELS, Profile
from keras_initx.audits._property_test import FEWEST_OF_SHAPE, Known, property_test
from keras_initx.audits._reading import SAMPLE
from keras_initx.audits._scale_error import degrees, error_of_ratio, variance

# Equal quantiles in a row are an atom of the distribution.
_ATOM = 3
# An orthonormal weight has an exact scale, up to rounding.
_EXACT = 2e-3
# How much nearer distributions of known families are for being standardized by their own moments,
# at least (simulated: normal, uniform, truncated, orthonormal).
_NEARER = 1.25
# The mean of Kolmogorov's distribution.
_MEAN_DISTANCE = 0.8687


@property_test(needs=Known.SCALE, of=("scale",))
def scale_of_all(expected: Profile, found: Profile) -> Outcome | None:
    """Test the scale, which of orthonormal values is exact: their squares have a fixed sum."""
    before, now = degrees(expected, found)
    if math.isinf(now):
        ratio = found.root_mean_square / expected.root_mean_square
        p = float(abs(math.log(ratio)) < max(_EXACT, 2.0**-found.bits))
    else:
        ratio = found.std / expected.std
        p = same_variance(variance(found) / variance(expected), now, before)
    # What is left without the error of both.
    deviation = abs(math.log(ratio)) - 2 * error_of_ratio(before, now)
    return Outcome("scale", f"{ratio:.3g} times the standard deviation", p, deviation)


@property_test(needs=Known.DISTRIBUTION, of=("mean", "scale"))
def mean_of_all(expected: Profile, found: Profile) -> Outcome | None:
    """Test the mean of the values."""
    shift = abs(found.mean - expected.mean)
    error = math.sqrt(
        variance(expected) / max(expected.independent, 1)
        + variance(found) / max(found.independent, 1)
    )
    return Outcome(
        "mean",
        f"{found.mean:.3g} where it was {expected.mean:.3g}, with a standard deviation of "
        f"{expected.std:.3g}",
        p=student(shift / error, min(expected.independent, found.independent) - 1),
        deviation=(shift - 2 * error) / expected.std,
    )


@property_test(needs=Known.DISTRIBUTION, of=("scale",))
def shape_of_all(expected: Profile, found: Profile) -> Outcome | None:
    """Test the standardized distributions (Kolmogorov and Smirnov).

    Those of families that initializers draw from are nearer to each other for being standardized by
    their own moments. Others may be farther, as with long tails or a peak: these must differ as
    they are too.
    """
    if min(expected.independent, found.independent) < FEWEST_OF_SHAPE:
        return None
    distance = tested = _distance(expected, found)
    if expected.families and found.families:
        tested = _NEARER * distance
    else:
        tested = min(distance, _distance(expected, found, is_standardized=False))
    p = kolmogorov(tested, int(min(_size(expected, found), SAMPLE / 2)))
    return Outcome("shape", f"distribution functions differ by {distance:.2g}", p, distance)


def excess_of_shape(expected: Profile, found: Profile) -> float:
    """Return how many times as far two samples differ as independent values on average."""
    return _distance(expected, found) * math.sqrt(_size(expected, found)) / _MEAN_DISTANCE


def _size(expected: Profile, found: Profile) -> float:
    """Return the number of values that tell as much of a known distribution as both samples."""
    return 1 / (1 / max(expected.independent, 1) + 1 / max(found.independent, 1))


def _distance(expected: Profile, found: Profile, *, is_standardized: bool = True) -> float:
    """Return the largest distance of two distribution functions at the quantiles of one."""
    before, now = np.array(expected.quantiles), np.array(found.quantiles)
    slack = 0.0
    if _has_atom(before) or _has_atom(now):
        slack = 4 / math.sqrt(_size(expected, found))  # the error of the place of an atom
    if is_standardized:
        before = (before - expected.mean) / expected.std
        now = (now - found.mean) / found.std
    else:
        slack *= expected.std
    above = np.interp(before + slack, now, LEVELS, left=0.0, right=1.0)
    below = np.interp(before - slack, now, LEVELS, left=0.0, right=1.0)
    off = np.maximum(LEVELS - above, below - LEVELS)[1:-1]  # beyond them, little is known
    return float(max(off.max(), 0.0))


def _has_atom(quantiles: Array) -> bool:
    return bool((quantiles[_ATOM - 1 :] - quantiles[: 1 - _ATOM] <= 0).any())
