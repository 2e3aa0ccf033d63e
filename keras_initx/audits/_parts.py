"""Equal parts of a weight along its axes, such as gates, heads, or the keys beside queries."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from keras_initx._typing import Shape
from keras_initx.audits._ends import of_single_slices
from keras_initx.audits._equal_values import largest_atom
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._probabilities import all_of_kind, same_variance, student
from keras_initx.audits._profile import Parts, Profile
from keras_initx.audits._property_test import FEWEST, IMPOSSIBLE, Known, property_test
from keras_initx.audits._reading import MOST, SHARE_OF_ZEROS, Reading
from keras_initx.audits._scale_error import error_of_ratio, kurtosis_of
from keras_initx.audits._slices import axes_in_order, slices_of_axes

# The most equal parts of an axis, and the number of nearly equal ones where it has few equal ones.
_MOST_PARTS = 12
_FEW_PARTS = 6
# Of fewer values of a part, only is compared whether they vary.
_FEWEST_OF_PART = 16


def parts_of(reading: Reading) -> tuple[Parts, ...]:
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
            stds = tuple(float(part.std()) for part in parts)
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
    kurtosis = kurtosis_of(expected, found) / (1 - parts.zeros)
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
        p=student(shift / error, min(parts.expected_size, parts.found_size) - 1),
        deviation=(shift - 2 * error) / expected.std,
    )
