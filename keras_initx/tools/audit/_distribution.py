"""The distribution of values: its scale, its mean and its shape; of the whole, and of parts.

The tests begin with `compare_`; see `property_test`. In their texts, `before` is the expectation,
from measured draws or a law, and `now` is the audited weight.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.tools.audit._equal_values import (
    compute_largest_atom,
    order_axes,
    slice_each_axis,
)
from keras_initx.tools.audit._extremes import FEWEST_OF_PART, compare_slices
from keras_initx.tools.audit._probabilities import (
    compute_chance_of_all,
    kolmogorov_p_value,
    student_p_value,
    variance_ratio_p_value,
)
from keras_initx.tools.audit._profile import (
    KURTOSIS_OF_LONG_TAILS,
    LEVELS,
    MOST,
    SAMPLE,
    SHARE_OF_ZEROS,
    Parts,
    Profile,
    Reading,
    compute_error_of_ratio,
    estimate_degrees,
    estimate_kurtosis,
    estimate_variance,
)
from keras_initx.tools.audit._property_test import (
    FEWEST,
    FEWEST_OF_SHAPE,
    IMPOSSIBLE,
    Known,
    Outcome,
    property_test,
)


@property_test(needs=Known.SCALE, unless_varying=True)
def compare_scales(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the scale, which is exact for orthonormal values: their squares have a fixed sum."""
    before, now = estimate_degrees(expected, actual)
    if math.isinf(now):
        ratio = actual.root_mean_square / expected.root_mean_square
        # Up to the rounding of frames, see `choose_frame_tolerance`, on both sides.
        p = float(abs(math.log(ratio)) < max(2e-3, 2.0**-actual.bits))
    else:
        ratio = actual.std / expected.std
        p = variance_ratio_p_value(
            estimate_variance(actual) / estimate_variance(expected), now, before
        )
    # What is left without the error of both.
    deviation = abs(math.log(ratio)) - 2 * compute_error_of_ratio(before, now)
    return Outcome("scale", f"{ratio:.3g} times the expected standard deviation", p, deviation)


@property_test(needs=Known.DISTRIBUTION, unless_varying=True)
def compare_means(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the mean of the values."""
    shift = abs(actual.mean - expected.mean)
    error = math.sqrt(
        estimate_variance(expected) / max(expected.independent, 1)
        + estimate_variance(actual) / max(actual.independent, 1)
    )
    return Outcome(
        "mean",
        f"the mean is {actual.mean:.3g}, expected {expected.mean:.3g} with a standard deviation of "
        f"{expected.std:.3g}",
        p=student_p_value(shift / error, min(expected.independent, actual.independent) - 1),
        deviation=(shift - 2 * error) / expected.std,
    )


@property_test(needs=Known.DISTRIBUTION, unless_varying=True)
def compare_shapes(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the standardized distributions (Kolmogorov and Smirnov).

    Families of initializers become more similar if each is standardized by its own moments. Other
    distributions may become less similar, for example with long tails or a peak. These must also
    differ without standardization.
    """
    if min(expected.independent, actual.independent) < FEWEST_OF_SHAPE:
        return None
    distance = tested = _measure_distance(expected, actual)
    if expected.families and actual.families:
        # Own moments make them 1.5 times as near (`python tests/support/own_moments.py`).
        tested = 1.25 * distance
    else:
        tested = min(distance, _measure_distance(expected, actual, is_standardized=False))
    p = kolmogorov_p_value(tested, int(min(_count_effective(expected, actual), SAMPLE / 2)))
    return Outcome(
        "shape",
        f"its distribution function differs by up to {distance:.2g} from the expected one",
        p,
        distance,
    )


def _count_effective(expected: Profile, actual: Profile) -> float:
    # Two samples of m and n values tell as much as 1 / (1 / m + 1 / n) values and a law.
    return 1 / (1 / max(expected.independent, 1) + 1 / max(actual.independent, 1))


def _measure_distance(expected: Profile, actual: Profile, *, is_standardized: bool = True) -> float:
    """Measure the largest distance of two distribution functions, at the quantiles of one."""
    before, now = np.array(expected.quantiles), np.array(actual.quantiles)
    slack = 0.0
    if _has_atom(before) or _has_atom(now):
        # Four errors of the standardized place of an atom.
        slack = 4 / math.sqrt(_count_effective(expected, actual))
    if is_standardized:
        before = (before - expected.mean) / expected.std
        now = (now - actual.mean) / actual.std
    else:
        slack *= expected.std
    above = np.interp(before + slack, now, LEVELS, left=0.0, right=1.0)
    below = np.interp(before - slack, now, LEVELS, left=0.0, right=1.0)
    distances = np.maximum(LEVELS - above, below - LEVELS)[1:-1]  # beyond them, little is known
    return float(max(distances.max(), 0.0))


def _has_atom(quantiles: Array) -> bool:
    # Three equal quantiles in a row: of a value that is 2 % of all, outside of the tails.
    return bool((quantiles[2:] <= quantiles[:-2]).any())


# Equal parts of a weight along its axes, such as gates, heads, or the keys next to queries.


# A resolution: the most equal parts of an axis that are compared.
_MOST_PARTS = 12


def measure_parts(reading: Reading) -> tuple[Parts, ...]:
    """Measure equal parts along each axis. Outliers count as the median.

    If a length has few divisors, parts that differ in length by one are measured too.
    """
    statistics = []
    for slices in slice_each_axis(reading.values):
        values = slices.sample(max(MOST // slices.number, 1)).astype("float64")
        if reading.outliers:
            values[np.abs(values - reading.median) > reading.reach] = reading.median
        for count in choose_part_counts(slices.number):
            pieces = np.array_split(values, count, axis=1)
            means = tuple(float(piece.mean()) for piece in pieces)
            # By rounding, the mean of equal numbers may differ from them, and the deviation from 0.
            stds = tuple(float(piece.std()) if np.ptp(piece) else 0.0 for piece in pieces)
            smallest = min(piece.size for piece in pieces)
            statistics.append(Parts(slices.axes[0], smallest, means, stds))
    return tuple(statistics)


def choose_part_counts(length: int) -> list[int]:
    """Choose the numbers of parts for an axis of a length: `6 -> [6]`, `17 -> [12]`."""
    equal = 1
    for count in range(2, min(length, _MOST_PARTS) + 1):
        if length % count == 0:
            equal = count
    counts = [equal] if equal > 1 else []
    # Fewer equal parts than half of the most are too coarse: nearly equal ones are compared too.
    if equal < _MOST_PARTS / 2 and length > _MOST_PARTS:
        counts.append(_MOST_PARTS)
    return counts


def make_parts_of_law(mean: float, std: float, size: int, shape: Shape) -> tuple[Parts, ...]:
    """Make the parts of an array whose values all have one law.

    Args:
        mean: The mean of the law.
        std: Its standard deviation.
        size: The number of values in a part.
        shape: The shape of the array.
    """
    statistics = []
    for axis in order_axes(len(shape)):
        for count in choose_part_counts(shape[axis]):
            statistics.append(Parts(axis, size, (mean,) * count, (std,) * count))
    return tuple(statistics)


@dataclass(frozen=True)
class _MatchedParts:
    """Equal parts of a weight along one axis, on both sides.

    Attributes:
        expected: The expected parts.
        actual: The parts of the audited weight.
        expected_size: The number of independent values of an expected part.
        actual_size: The number of independent values of a part of the weight.
        zeros: The larger share of zeros, which are among the values of a part.
    """

    expected: Parts
    actual: Parts
    expected_size: float
    actual_size: float
    zeros: float

    @property
    def fewest(self) -> float:
        """The smaller number of values of a part that are not zero."""
        return min(self.expected_size, self.actual_size) * (1 - self.zeros)

    def describe(self, index: int) -> str:
        """Name a part in words."""
        return f"part {index + 1} of {len(self.expected.stds)} along axis {self.expected.axis}"


def _match_parts(expected: Profile, actual: Profile) -> Iterator[_MatchedParts]:
    """Yield the parts that both sides have, with enough values."""
    actual_parts = {parts.key: parts for parts in actual.parts}
    # How many zeros a law has at most does not say how many there are.
    zeros = actual.zeros if expected.law is not None else max(expected.zeros, actual.zeros)
    for before in expected.parts:
        now = actual_parts.get(before.key)
        if now is None:
            continue
        matched = _MatchedParts(
            before,
            now,
            before.size * expected.independent / expected.size,
            now.size * actual.independent / actual.size,
            zeros,
        )
        if matched.fewest >= FEWEST:
            yield matched


@property_test(needs=Known.DISTRIBUTION)
def compare_constant_parts(expected: Profile, actual: Profile) -> Outcome | None:
    """Test whether parts are constant now, or no longer are, or have another value."""
    for parts in _match_parts(expected, actual):
        if not _may_be_chance(parts, expected, actual):
            detail = _describe_constant_part(parts, expected.std)
            if detail:
                return Outcome("parts", detail)
    return None


def _describe_constant_part(parts: _MatchedParts, std: float) -> str:
    """Say which part is constant on one side, or has another value, empty if none is."""
    stds = zip(parts.expected.stds, parts.actual.stds, strict=True)
    for index, (std_before, std_now) in enumerate(stds):
        if bool(std_before) != bool(std_now):
            texts = ("varies", "a constant") if std_now else ("is constant", "random values")
            return f"{parts.describe(index)} {texts[0]}, expected {texts[1]}"
        before, now = parts.expected.means[index], parts.actual.means[index]
        # A contract has seven digits of a mean.
        is_other = abs(now - before) > 1e-6 * abs(before) + 1e-6 * std
        if not std_before and is_other:
            return f"{parts.describe(index)} is {now:.4g}, expected {before:.4g}"
    return ""


def _may_be_chance(parts: _MatchedParts, expected: Profile, actual: Profile) -> bool:
    """Return whether no part is constant, or one may be by chance."""
    if all((*parts.expected.stds, *parts.actual.stds)):
        return True
    frequent = max(parts.zeros, compute_largest_atom(expected), compute_largest_atom(actual))
    size = min(parts.expected.size, parts.actual.size)
    chance = compute_chance_of_all(frequent, expected.total + actual.total, size - 1)
    return len(parts.expected.stds) * chance > IMPOSSIBLE


@property_test(needs=Known.DISTRIBUTION, unless_varying=True)
def compare_parts_and_slices(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the scale and the mean of parts and slices, relative to how the whole differs.

    All parts and all slices along all axes are one test. Half of the probability of an alarm
    belongs to parts.
    """
    if compare_constant_parts(expected, actual) is not None:
        return None
    both_families = [*_compare_parts(expected, actual)], [*compare_slices(expected, actual)]
    families = [outcomes for outcomes in both_families if outcomes]
    worst = []
    for outcomes in families:
        least = min(outcomes, key=lambda outcome: outcome.p)
        p = len(families) * len(outcomes) * least.p  # Bonferroni
        worst.append(replace(least, p=min(1.0, p)))
    return min(worst, key=lambda outcome: outcome.p, default=None)


def _compare_parts(expected: Profile, actual: Profile) -> Iterator[Outcome]:
    """Compare the scale and the mean of each part."""
    for parts in _match_parts(expected, actual):
        # Parts of which hardly any value is not zero vary more than the whole.
        is_irregular = parts.zeros > SHARE_OF_ZEROS and max(expected.connections) < 0
        if parts.fewest < FEWEST_OF_PART or is_irregular:
            continue
        for index, stds in enumerate(zip(parts.expected.stds, parts.actual.stds, strict=True)):
            if all(stds):
                yield _compare_scale_of_part(index, parts, expected, actual)
                yield _compare_mean_of_part(index, parts, expected, actual)


def _compare_scale_of_part(
    index: int, parts: _MatchedParts, expected: Profile, actual: Profile
) -> Outcome:
    kurtosis = _estimate_kurtosis_of_part(parts, expected, actual)
    before = max(2 * parts.expected_size / (kurtosis - 1), 2.0)
    now = max(2 * parts.actual_size / (kurtosis - 1), 2.0)
    whole = np.linalg.norm(parts.actual.stds) / np.linalg.norm(parts.expected.stds)
    ratio = parts.actual.stds[index] / parts.expected.stds[index] / float(whole)
    return Outcome(
        "parts",
        f"{parts.describe(index)} has {ratio:.3g} times its expected share of the scale",
        p=variance_ratio_p_value(ratio**2, now, before),
        deviation=abs(math.log(ratio)) - 2 * compute_error_of_ratio(before, now),
    )


def _estimate_kurtosis_of_part(parts: _MatchedParts, expected: Profile, actual: Profile) -> float:
    """Estimate the kurtosis of a part, at least so high that its variance gives no false alarm.

    `python tests/support/right_draws.py` counts these, of gates, levels of rows and two values.
    """
    kurtosis = estimate_kurtosis((expected, actual))
    # With a tenth of the variance between the means of parts, that of the whole tells nothing.
    if np.var(parts.expected.means) > 0.1 * expected.std**2:
        kurtosis = max(kurtosis, KURTOSIS_OF_LONG_TAILS)
    # Values are hardly more than two numbers, of which the kurtosis is 1. Then the variance of a
    # part follows from its mean: one that is 5 errors off makes it lower by 25 / n of n values.
    if max(expected.kurtosis, actual.kurtosis) < 1.5:
        kurtosis = max(kurtosis, 1 + 30 / parts.fewest)
    return kurtosis / (1 - parts.zeros)


def _compare_mean_of_part(
    index: int, parts: _MatchedParts, expected: Profile, actual: Profile
) -> Outcome:
    shift_of_whole = float(np.mean(parts.actual.means) - np.mean(parts.expected.means))
    shift = abs(parts.actual.means[index] - parts.expected.means[index] - shift_of_whole)
    # Parts of sorted values vary as the whole does.
    error = math.hypot(
        max(parts.expected.stds[index], expected.std) / math.sqrt(parts.expected_size),
        max(parts.actual.stds[index], actual.std) / math.sqrt(parts.actual_size),
    )
    return Outcome(
        "parts",
        f"{parts.describe(index)} has the mean {parts.actual.means[index]:.3g}, expected "
        f"{parts.expected.means[index] + shift_of_whole:.3g}",
        p=student_p_value(shift / error, min(parts.expected_size, parts.actual_size) - 1),
        deviation=(shift - 2 * error) / expected.std,
    )
