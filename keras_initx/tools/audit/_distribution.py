"""The distribution of values: its scale, its mean and its shape."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.tools.audit._equal_values import (
    Slices,
    all_slices,
    are_exact,
    axes_in_order,
    largest_atom,
    slices_of_axes,
)
from keras_initx.tools.audit._extremes import of_single_slices
from keras_initx.tools.audit._probabilities import (
    all_of_kind,
    kolmogorov,
    same_variance,
    student_p_value,
)
from keras_initx.tools.audit._profile import (
    LEVELS,
    MOST,
    SAMPLE,
    SHARE_OF_ZEROS,
    Parts,
    Profile,
    Reading,
    degrees,
    epsilon,
    error_of_ratio,
    kurtosis_of,
    variance,
)
from keras_initx.tools.audit._property_test import (
    FEWEST,
    FEWEST_OF_SHAPE,
    IMPOSSIBLE,
    ROUNDING,
    Known,
    Outcome,
    property_test,
)

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
        p=student_p_value(shift / error, min(expected.independent, found.independent) - 1),
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


# Slices of a weight that all have one norm, as of weight normalization, and not by chance.


# The norms of slices with so many values differ by this, relative to each other, divided by the
# root of the number of values: those of uniform ones, which differ least.
_SPREAD = math.sqrt(0.2)
# The error of a norm by rounding its values, which also goes down with their number: in a thousand
# slices none has more. The norm that they were divided by was rounded too, as was the quotient.
_OF_VALUES = 4
_OF_NORMS = 2
# Slices that are looked at first: most differ there.
_FIRST = 2


def norms_of(reading: Reading) -> str:
    """Return slices that all have one norm, in words, empty if there are none.

    Where units have one norm, their heads have too: of such, the most slices are named.
    """
    for slices in reversed(all_slices(reading.values, fewest=2)):
        for errors in (_OF_VALUES / math.sqrt(slices.size), _OF_NORMS):
            tolerance = max(ROUNDING, errors * epsilon(reading.dtype))
            if _cannot_be_chance(slices, tolerance) and _have_one_norm(slices, tolerance):
                return slices.text
    return ""


def _cannot_be_chance(slices: Slices, tolerance: float) -> bool:
    """Return whether independent values do not have norms that are so near to each other."""
    if slices.size < 2:
        return False
    surprise = math.log(_SPREAD / math.sqrt(slices.size) / tolerance)
    return (slices.number - 1) * surprise > -math.log(IMPOSSIBLE)


def _have_one_norm(slices: Slices, tolerance: float) -> bool:
    first = _norms(slices.values[:, :_FIRST])
    if not first[0] or abs(first[1] / first[0] - 1) > tolerance:
        return False
    return bool((np.abs(_norms(slices.values) / first[0] - 1) <= tolerance).all())


def _norms(values: Array) -> Array:
    """Return the norms of slices along the middle axis, summed in float64 without a copy."""
    squares: Array = np.einsum("ijk,ijk->j", values, values, dtype="float64")
    return np.sqrt(squares)


@property_test()
def equal_norms(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether slices have one norm that had not, or no longer have."""
    before, now = expected.norms, found.norms
    if before is None or now is None or before == now:
        return None
    if now:
        return Outcome("equal norms", f"{now} have one norm, as of weight normalization")
    if not are_exact(expected, found):
        return None
    return Outcome("equal norms", f"{before} no longer have one norm")


# Equal parts of a weight along its axes, such as gates, heads, or the keys beside queries.


# The most equal parts of an axis, and the number of nearly equal ones where it has few equal ones.
_MOST_PARTS = 12
_FEW_PARTS = 6
# Of fewer values of a part, only is compared whether they vary.
_FEWEST_OF_PART = 16
# With a lower kurtosis values are hardly more than two numbers, and the variance of a part follows
# from its mean: one that is 5 errors off makes it lower by so much, over the number of values.
_KURTOSIS_OF_FEW = 1.5
_FOLLOWS_FROM_MEAN = 30.0


def measure_parts(reading: Reading) -> tuple[Parts, ...]:
    """Return the statistics of equal parts along each axis, in which outliers are the median.

    Where a length has few divisors, those of parts that differ in length by one are there too.
    """
    found = []
    for slices in slices_of_axes(reading.values):
        seen = slices.seen(max(MOST // slices.number, 1)).astype("float64")
        if reading.outliers:
            seen[np.abs(seen - reading.median) > reading.reach] = reading.median
        for count in part_counts(slices.number):
            parts = np.array_split(seen, count, axis=1)
            means = tuple(float(part.mean()) for part in parts)
            # The mean of equal numbers is another by rounding.
            stds = tuple(float(part.std()) if np.ptp(part) else 0.0 for part in parts)
            found.append(Parts(slices.axes[0], min(part.size for part in parts), means, stds))
    return tuple(found)


def part_counts(length: int) -> list[int]:
    """Return the numbers of parts in which an axis of a length is compared."""
    equal = 1
    for number in range(2, min(length, _MOST_PARTS) + 1):
        if length % number == 0:
            equal = number
    counts = [equal] if equal > 1 else []
    if equal < _FEW_PARTS and length > _MOST_PARTS:
        counts.append(_MOST_PARTS)
    return counts


def parts_of_law(mean: float, std: float, size: int, shape: Shape) -> tuple[Parts, ...]:
    """Return the parts of an array whose values all have one law.

    Args:
        mean: The mean of the law.
        std: Its standard deviation.
        size: The values that a part stands for.
        shape: The shape of the array.
    """
    found = []
    for axis in axes_in_order(len(shape)):
        for count in part_counts(shape[axis]):
            found.append(Parts(axis, size, (mean,) * count, (std,) * count))
    return tuple(found)


@dataclass(frozen=True)
class _PartsOfBoth:
    """Equal parts of a weight along one axis, found and expected.

    Attributes:
        expected: Those expected.
        found: Those found.
        expected_size: The number of independent values of a part.
        found_size: That of those found.
        zeros: The larger share of zeros, which are among the values of a part.
    """

    expected: Parts
    found: Parts
    expected_size: float
    found_size: float
    zeros: float

    @property
    def fewest(self) -> float:
        """The smaller number of values of a part that are not zero."""
        return min(self.expected_size, self.found_size) * (1 - self.zeros)

    def name(self, number: int) -> str:
        """Return a part in words."""
        return f"part {number + 1} of {len(self.expected.stds)} along axis {self.expected.axis}"


def _parts_of_both(expected: Profile, found: Profile) -> Iterator[_PartsOfBoth]:
    """Yield the parts that are known of both and have enough values."""
    of_found = {parts.key: parts for parts in found.parts}
    # How many zeros a law has at most does not say how many there are.
    zeros = found.zeros if expected.law is not None else max(expected.zeros, found.zeros)
    for before in expected.parts:
        now = of_found.get(before.key)
        if now is None:
            continue
        parts = _PartsOfBoth(
            before,
            now,
            before.size * expected.independent / expected.size,
            now.size * found.independent / found.size,
            zeros,
        )
        if parts.fewest >= FEWEST:
            yield parts


@property_test(needs=Known.DISTRIBUTION)
def constant_parts(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether parts are constant now, or no longer are, or have another value."""
    for parts in _parts_of_both(expected, found):
        if not _may_be_chance(parts, expected, found):
            evidence = _of_constants(parts, expected.std)
            if evidence:
                return Outcome("parts", evidence)
    return None


def _of_constants(parts: _PartsOfBoth, std: float) -> str:
    """Return which part it is, in words, empty if there is none."""
    stds = zip(parts.expected.stds, parts.found.stds, strict=True)
    for number, (std_before, std_now) in enumerate(stds):
        if bool(std_before) != bool(std_now):
            verb = "varies" if std_now else "is constant"
            return f"{parts.name(number)} {verb} now"
        before, now = parts.expected.means[number], parts.found.means[number]
        is_other = abs(now - before) > 1e-6 * abs(before) + 1e-6 * std
        if not std_before and is_other:
            return f"{parts.name(number)} is {now:.4g}, and was {before:.4g}"
    return ""


def _may_be_chance(parts: _PartsOfBoth, expected: Profile, found: Profile) -> bool:
    """Return whether no part is constant, or one may be by chance."""
    if all((*parts.expected.stds, *parts.found.stds)):
        return True
    frequent = max(parts.zeros, largest_atom(expected), largest_atom(found))
    size = min(parts.expected.size, parts.found.size)
    chance = all_of_kind(frequent, expected.total + found.total, size - 1)
    return len(parts.expected.stds) * chance > IMPOSSIBLE


@property_test(needs=Known.DISTRIBUTION, of=("scale",))
def scales_of_parts(expected: Profile, found: Profile) -> Outcome | None:
    """Test the scale and the mean of parts and slices, relative to how the whole differs.

    All parts and all slices along all axes are one test: half of the probability of an alarm is
    that of parts.
    """
    if constant_parts(expected, found) is not None:
        return None
    of_both = [*_of_parts(expected, found)], [*of_single_slices(expected, found)]
    families = [outcomes for outcomes in of_both if outcomes]
    worst = []
    for outcomes in families:
        least = min(outcomes, key=lambda outcome: outcome.p)
        p = len(families) * len(outcomes) * least.p  # Bonferroni
        worst.append(replace(least, p=min(1.0, p)))
    return min(worst, key=lambda outcome: outcome.p, default=None)


def _of_parts(expected: Profile, found: Profile) -> Iterator[Outcome]:
    """Yield what is said of the scale and the mean of each part."""
    for parts in _parts_of_both(expected, found):
        # Parts of which hardly any value is not zero vary more than the whole.
        is_irregular = parts.zeros > SHARE_OF_ZEROS and max(expected.connections) < 0
        if parts.fewest < _FEWEST_OF_PART or is_irregular:
            continue
        for number, stds in enumerate(zip(parts.expected.stds, parts.found.stds, strict=True)):
            if all(stds):
                yield _scale(number, parts, expected, found)
                yield _mean(number, parts, expected, found)


def _scale(number: int, parts: _PartsOfBoth, expected: Profile, found: Profile) -> Outcome:
    kurtosis = kurtosis_of(expected, found)
    if max(expected.kurtosis, found.kurtosis) < _KURTOSIS_OF_FEW:
        kurtosis = max(kurtosis, 1 + _FOLLOWS_FROM_MEAN / parts.fewest)
    kurtosis /= 1 - parts.zeros
    before = max(2 * parts.expected_size / (kurtosis - 1), 2.0)
    now = max(2 * parts.found_size / (kurtosis - 1), 2.0)
    of_all = np.linalg.norm(parts.found.stds) / np.linalg.norm(parts.expected.stds)
    ratio = parts.found.stds[number] / parts.expected.stds[number] / float(of_all)
    return Outcome(
        "parts",
        f"{parts.name(number)} has {ratio:.3g} times its share of the scale",
        p=same_variance(ratio**2, now, before),
        deviation=abs(math.log(ratio)) - 2 * error_of_ratio(before, now),
    )


def _mean(number: int, parts: _PartsOfBoth, expected: Profile, found: Profile) -> Outcome:
    of_all = float(np.mean(parts.found.means) - np.mean(parts.expected.means))
    shift = abs(parts.found.means[number] - parts.expected.means[number] - of_all)
    # Parts of sorted values vary as the whole does.
    error = math.hypot(
        max(parts.expected.stds[number], expected.std) / math.sqrt(parts.expected_size),
        max(parts.found.stds[number], found.std) / math.sqrt(parts.found_size),
    )
    return Outcome(
        "parts",
        f"{parts.name(number)} has another mean",
        p=student_p_value(shift / error, min(parts.expected_size, parts.found_size) - 1),
        deviation=(shift - 2 * error) / expected.std,
    )
