"""Test the ends of a distribution: values beyond other draws, or beyond the limits of laws.

Three topics, from the outermost value to whole slices: the lowest and the highest value; outliers,
which are more than 12 deviations from the median; and the slices that are farthest from the whole.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_initx._typing import Array
from keras_initx.initializers._laws import IndependentLaw, NormalLaw, TruncatedLaw
from keras_initx.tools.audit._equal_values import (
    BITS,
    slice_each_axis,
)
from keras_initx.tools.audit._probabilities import (
    compute_chance_of_any,
    poisson_tail,
    rate_p_value,
    student_p_value,
    variance_ratio_p_value,
)
from keras_initx.tools.audit._profile import (
    LEVELS,
    MOST,
    SHARE_OF_ZEROS,
    Ends,
    Farthest,
    Profile,
    Reading,
    compute_error_of_ratio,
    compute_reach,
    estimate_variance,
)
from keras_initx.tools.audit._property_test import (
    ALPHA,
    ONCE,
    ROUNDING,
    SMALL,
    Known,
    Outcome,
    find_known,
    property_test,
)

# On PyTorch, Keras takes the first of four normal values that is within its truncation, and so a
# value beyond it if all four are: of those beyond, a share of 0.0455**3 is left.
_KEPT_BEYOND = 1e-4


@property_test(needs=Known.DISTRIBUTION, unless_varying=True)
def compare_bounds(expected: Profile, actual: Profile) -> Outcome | None:
    """Test whether many values of one draw are beyond the extremes of the other.

    All orders of the values of both together are equally probable. So the numbers of values of one
    at both ends, before the first of the other, have geometric distributions.
    """
    if expected.frames or actual.frames:
        return None
    before, now = _count_independent(expected), _count_independent(actual)
    probabilities = []
    for count, share in (
        (_count_beyond(expected, actual), before / (before + now)),
        (_count_beyond(actual, expected), now / (before + now)),
    ):
        # Of both ends together.
        p = math.exp(count * math.log1p(share - 1)) * (1 + count * (1 - share))
        probabilities.append(p)
    return Outcome(
        "bounds",
        f"values from {actual.lowest:.3g} to {actual.highest:.3g}, expected from "
        f"{expected.lowest:.3g} to {expected.highest:.3g}",
        p=min(1.0, 2 * min(probabilities)),
    )


def _count_beyond(profile: Profile, other: Profile) -> float:
    """Count the values beyond the extremes of another draw, at least."""
    # A scale that is 1 % off does not matter, nor does rounding.
    slack = SMALL * (other.highest - other.lowest) / 2
    slack += 2.0 ** -min(profile.bits, other.bits) * max(other.highest, -other.lowest)
    low, high = other.lowest - slack, other.highest + slack
    if profile.law is not None:
        # JAX draws no more levels than the mantissa has: the tails beyond the last are missing.
        share = max(compute_share_beyond(profile.law, low, high) - 2.0 ** (1 - other.bits), 0.0)
    else:
        quantiles = np.array(profile.quantiles)
        above = LEVELS[quantiles > high]
        below = LEVELS[quantiles < low]
        share = 1 - above[0] if above.size else 0.0
        share += below[-1] if below.size else 0.0
    return float(share) * _count_independent(profile)


@property_test(needs=Known.KIND, unless_varying=True)
def compare_extremes(expected: Profile, actual: Profile) -> Outcome | None:
    """Test whether single values are farther out than all possible laws allow."""
    known = find_known(expected, actual)
    is_known = known == Known.DISTRIBUTION and not (expected.frames or actual.frames)
    are_few = known == Known.KIND and expected.law is not None
    return compare_with_laws(expected, actual) if is_known or are_few else None


def compare_with_laws(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the extremes, if laws are possible and none of them has outliers."""
    if not expected.laws or expected.outliers:
        return None
    chance_of_ends = _compute_chance_by_draws if expected.law is None else _compute_chance_by_law
    return Outcome(
        "bounds",
        f"values from {actual.lowest:.4g} to {actual.highest:.4g}, farther out than "
        f"{' or '.join(expected.families)} values with a standard deviation of {expected.std:.3g}",
        p=max(chance_of_ends(law, expected, actual) for law in expected.laws),
    )


def _compute_chance_by_law(law: IndependentLaw, expected: Profile, actual: Profile) -> float:
    """Compute the probability of a value as far out as the lowest or the highest one."""
    center = expected.mean
    # A value may have been rounded.
    slack = 2 * 2.0 ** -max(actual.bits, min(BITS))
    low = center - max(center - actual.lowest, 0.0) / (1 + slack) + slack * abs(center)
    high = center + max(actual.highest - center, 0.0) / (1 + slack) - slack * abs(center)
    probabilities = []
    for ends in ((min(low, center), math.inf), (-math.inf, max(high, center))):
        probabilities.append(compute_chance_of_any(actual.total, compute_share_beyond(law, *ends)))
    return min(1.0, 2 * min(probabilities))


def _compute_chance_by_draws(law: IndependentLaw, expected: Profile, actual: Profile) -> float:
    """Compute that probability if draws gave the mean, deviation and bounds of a symmetric law.

    Draws may have ended far from a bound, and new values do not: all orders of both are equally
    probable, and gaps between values have exponential distributions.
    """
    rounding = max(2 * 2.0 ** -max(min(expected.bits, actual.bits), min(BITS)), ROUNDING)
    rounding *= max(abs(end) for end in (actual.lowest, actual.highest))
    before, now = _count_independent(expected), _count_independent(actual)
    # A law is known of so many values that their mean is exact beside a new one.
    error = math.sqrt(estimate_variance(expected))
    if isinstance(law, TruncatedLaw):
        error *= law.untruncated_std / law.std
    # Where parts have scales of their own, fewer values are near the ends than in the law. The
    # outer 2 % tell how many, and 20 values at least, of which the error is 22 %.
    outer = max(0.02, 20 / before)
    probabilities = []
    for end in _measure_both_ends(expected, actual, outer):
        tail = student_p_value(max(end.now - rounding, 0.0) / error, expected.independent - 1) / 2
        beyond = end.now - end.before - rounding
        if math.isinf(law.bounds[0]):
            p = compute_chance_of_any(now, tail)
        elif beyond <= 0:
            p = 1.0
        else:
            gap = compute_share_beyond(law, law.bounds[0] + beyond, math.inf)
            gap = min(gap, outer * beyond / max(end.width, rounding))
            p = now / (now + before) * math.exp(-ONCE * before * gap)
            if isinstance(law, TruncatedLaw):
                p = max(p, compute_chance_of_any(now, _KEPT_BEYOND * tail))
        probabilities.append(p)
    # The smaller of the least of both, corrected for two, and of both together (Fisher).
    product = math.prod(probabilities)
    together = product * (1 - math.log(product)) if product else 0.0
    return min(1.0, 2 * min(2 * min(probabilities), together))


class _End(NamedTuple):
    """One end of two draws, by its distances from the mean of the first.

    Attributes:
        before: The distance of the farthest value of the first draw.
        now: That of the second draw.
        width: The distance between the farthest value of the first draw and the last of the values
            that are not among its outer ones.
    """

    before: float
    now: float
    width: float


def _measure_both_ends(expected: Profile, actual: Profile, outer: float) -> tuple[_End, _End]:
    """Measure both ends of two draws, at each of which `outer` is the share of the outer values."""
    low, high = np.interp([outer, 1 - outer], LEVELS, expected.quantiles).tolist()
    mean, lowest, highest = expected.mean, expected.lowest, expected.highest
    return (
        _End(mean - lowest, mean - actual.lowest, low - lowest),
        _End(highest - mean, actual.highest - mean, highest - high),
    )


def _count_independent(profile: Profile) -> float:
    """Count all independent values, without zeros if these do not count."""
    share = 1 - profile.zeros if profile.zeros > SHARE_OF_ZEROS else 1.0
    return max(profile.total * share * profile.independent / profile.size, 1.0)


def compute_share_beyond(law: IndependentLaw, low: float, high: float) -> float:
    """Compute the probability of a value below `low` or above `high`."""
    below, up_to = law.distribution_function(np.array([low, high]))
    share = float(below + 1 - up_to)
    if isinstance(law, TruncatedLaw) and share <= 0:
        normal = NormalLaw(law.center, law.untruncated_std)
        below, up_to = normal.distribution_function(np.array([low, high]))
        share = _KEPT_BEYOND * float(below + 1 - up_to)
    return max(share, 0.0)


# Outliers: values that are very far from the others.


@property_test()
def compare_outliers_with_law(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the number of outliers, if a law says how many there are."""
    if expected.law is None or not actual.outliers:
        return None
    # Few laws have any, such as that of logarithms of numbers that may be near 0.
    low, median, high = np.interp([0.25, 0.5, 0.75], LEVELS, expected.quantiles).tolist()
    reach = compute_reach(low, high)
    share = compute_share_beyond(expected.law, median - reach, median + reach)
    return Outcome(
        "outliers",
        f"{actual.outliers} values are more than 12 standard deviations from the median",
        p=poisson_tail(actual.outliers, actual.total * share),
    )


@property_test(unless_varying=True)
def compare_outliers(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the number of outliers, compared with other draws."""
    if expected.law is not None or not (expected.outliers or actual.outliers):
        return None
    return Outcome(
        "outliers",
        f"{actual.outliers} values are more than 12 standard deviations from the median, expected "
        f"{expected.outliers}",
        p=rate_p_value(expected.outliers, expected.total, actual.outliers, actual.total),
    )


# Single slices of a weight, such as units: those that are farthest from the whole are known.


# A resolution: the scales and means of slices and parts of fewer values are not compared. The error
# of the standard deviation of so many normal values is 18 %.
FEWEST_OF_PART = 16


def measure_ends(reading: Reading) -> tuple[Ends, ...]:
    """Measure the slices along each axis that are farthest from the others.

    With zeros or outliers, the farthest slices have them, and tell nothing about other slices.
    """
    if reading.is_sparse or reading.outliers or reading.values.ndim < 2:
        return ()
    ends = []
    for slices in slice_each_axis(reading.values):
        if slices.number < 2:
            continue
        # The scale of each is known to 9 % at least, if it has so many values.
        sample = slices.sample(max(MOST // slices.number, 64))
        means = sample.mean(axis=0, dtype="float64")
        stds = np.sqrt(np.square(sample - means).mean(axis=0))
        farthest = _find_farthest(means), _find_farthest(stds)
        ends.append(Ends(slices.axes[0], len(sample), slices.number, *farthest))
    return tuple(ends)


def _find_farthest(numbers: Array) -> Farthest:
    low, high = int(numbers.argmin()), int(numbers.argmax())
    return Farthest(float(numbers[low]), float(numbers[high]), low, high)


def compare_slices(expected: Profile, actual: Profile) -> Iterator[Outcome]:
    """Compare the slices that are farthest from the whole.

    They are compared if values are independent and of a family without long tails, and if the
    expected slices have no scales of their own.
    """
    # A normal law has 3, up to the error of `profile_law`. With longer tails, slices may be of any
    # scale.
    has_long_tails = expected.law is not None and expected.kurtosis > 3.05
    # Where more than a tenth of the values are copies, slices are not independent.
    has_copies = actual.independent < 0.9 * actual.size
    if not expected.laws or has_long_tails or has_copies:
        return
    expected_ends = {ends.axis: ends for ends in expected.ends}
    for ends in actual.ends:
        before = expected_ends.get(ends.axis)
        if ends.size < FEWEST_OF_PART or (before is None and expected.law is None):
            continue
        if before is not None:
            chances = [outcome.p for outcome in _compare_farthest(before, expected)]
            if len(chances) * min(chances) <= ALPHA:
                continue
        yield from _compare_farthest(ends, actual)


def _compare_farthest(ends: Ends, profile: Profile) -> Iterator[Outcome]:
    """Compare the lowest and the highest scale and mean of a slice with the whole.

    The scale of slices varies less for uniform values than for normal values.
    """
    degrees = ends.size - 1
    error = compute_error_of_ratio(math.inf, degrees)
    low, high, *indices = ends.stds
    for std, index in zip((low, high), indices, strict=True):
        ratio = max(std / profile.std, 1e-9)  # 0 has no logarithm
        p = variance_ratio_p_value(ratio**2 / (1 - 1 / ends.size), degrees, math.inf)
        yield Outcome(
            "parts",
            f"{_name_slice(ends, index)} has {std / profile.std:.3g} times the scale of the whole",
            p=min(1.0, ends.number * p),
            deviation=abs(math.log(ratio)) - 2 * error,
        )
    low, high, *indices = ends.means
    for mean, index in zip((low, high), indices, strict=True):
        shift = abs(mean - profile.mean) / profile.std
        error = 1 / math.sqrt(ends.size)
        yield Outcome(
            "parts",
            f"{_name_slice(ends, index)} has the mean {mean:.3g}, the whole has {profile.mean:.3g}",
            p=min(1.0, ends.number * math.erfc(shift / error / math.sqrt(2))),
            deviation=shift - 2 * error,
        )


def _name_slice(ends: Ends, index: float) -> str:
    return f"[{index:.0f}] of {ends.number} slices along axis {ends.axis}"
