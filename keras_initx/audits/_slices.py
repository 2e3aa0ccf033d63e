"""Tests of equal parts of a weight along an axis, such as gates or heads."""

import math
from dataclasses import dataclass, replace

import numpy as np

from keras_initx.audits._equal_values import largest_atom
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._probabilities import all_of_kind, same_variance, student
from keras_initx.audits._profile import SHARE_OF_ZEROS, Parts, Profile
from keras_initx.audits._property_test import FEWEST, Known, PropertyTest
from keras_initx.audits._repeated import IMPOSSIBLE
from keras_initx.audits._scale_error import error_of_ratio, kurtosis_of

# Of fewer values of a part, only is compared whether they vary.
_FEWEST_OF_PART = 16


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


def _parts_of_both(expected: Profile, found: Profile, place: int) -> _PartsOfBoth | None:
    """Return the parts along an axis, `None` if they are not known of both or have few values."""
    if place >= min(len(expected.parts), len(found.parts)):
        return None
    before, now = expected.parts[place], found.parts[place]
    if (before.axis, len(before.stds)) != (now.axis, len(now.stds)):
        return None
    parts = _PartsOfBoth(
        before,
        now,
        before.size * expected.independent / expected.size,
        now.size * found.independent / found.size,
        max(expected.zeros, found.zeros),
    )
    return parts if parts.fewest >= FEWEST else None


@dataclass(frozen=True)
class ConstantParts(PropertyTest):
    """Parts that are constant now, or no longer are, or have another value."""

    verdict = "parts"

    place: int

    needs = Known.DISTRIBUTION

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return bool(self._evidence(expected, found))

    def run(self, expected: Profile, found: Profile) -> Outcome:
        return self.outcome(self._evidence(expected, found))

    def _evidence(self, expected: Profile, found: Profile) -> str:
        """Return which part it is, in words, empty if there is none."""
        parts = _parts_of_both(expected, found, self.place)
        if parts is None or self._may_be_chance(parts, expected, found):
            return ""
        stds = zip(parts.expected.stds, parts.found.stds, strict=True)
        for number, (std_before, std_now) in enumerate(stds):
            if bool(std_before) != bool(std_now):
                return f"{parts.name(number)} {'varies' if std_now else 'is constant'} now"
            before, now = parts.expected.means[number], parts.found.means[number]
            is_other = abs(now - before) > 1e-6 * abs(before) + 1e-6 * expected.std
            if not std_before and is_other:
                return f"{parts.name(number)} is {now:.4g}, and was {before:.4g}"
        return ""

    def _may_be_chance(self, parts: _PartsOfBoth, expected: Profile, found: Profile) -> bool:
        """Return whether no part is constant, or one may be by chance."""
        stds = (*parts.expected.stds, *parts.found.stds)
        if all(stds):
            return True
        frequent = max(parts.zeros, largest_atom(expected), largest_atom(found))
        size = min(parts.expected.size, parts.found.size)
        chance = all_of_kind(frequent, expected.total + found.total, size - 1)
        return len(parts.expected.stds) * chance > IMPOSSIBLE


@dataclass(frozen=True)
class ScalesOfParts(PropertyTest):
    """The scale or the mean of one part, relative to how the whole differs."""

    verdict = "parts"

    place: int

    needs = Known.DISTRIBUTION

    def concerns(self, expected: Profile, found: Profile) -> bool:
        parts = _parts_of_both(expected, found, self.place)
        if parts is None:
            return False
        # Parts of which hardly any value is not zero vary more than the whole.
        is_irregular = parts.zeros > SHARE_OF_ZEROS and max(expected.connections) < 0
        if parts.fewest < _FEWEST_OF_PART or is_irregular:
            return False
        vary = any(map(min, parts.expected.stds, parts.found.stds))
        return vary and not ConstantParts(self.place).applies(expected, found)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        parts = _parts_of_both(expected, found, self.place)
        assert parts is not None
        outcomes = []
        for number, stds in enumerate(zip(parts.expected.stds, parts.found.stds, strict=True)):
            if all(stds):
                outcomes.append(self._scale(number, parts, expected, found))
                outcomes.append(self._mean(number, parts, expected, found))
        worst = min(outcomes, key=lambda outcome: outcome.p)
        return replace(worst, p=min(1.0, len(outcomes) * worst.p))  # Bonferroni

    def _scale(
        self, number: int, parts: _PartsOfBoth, expected: Profile, found: Profile
    ) -> Outcome:
        kurtosis = kurtosis_of(expected, found) / (1 - parts.zeros)
        before = max(2 * parts.expected_size / (kurtosis - 1), 2.0)
        now = max(2 * parts.found_size / (kurtosis - 1), 2.0)
        of_all = np.linalg.norm(parts.found.stds) / np.linalg.norm(parts.expected.stds)
        ratio = parts.found.stds[number] / parts.expected.stds[number] / float(of_all)
        return self.outcome(
            f"{parts.name(number)} has {ratio:.3g} times its share of the scale",
            p=same_variance(ratio**2, now, before),
            deviation=abs(math.log(ratio)) - 2 * error_of_ratio(before, now),
        )

    def _mean(self, number: int, parts: _PartsOfBoth, expected: Profile, found: Profile) -> Outcome:
        of_all = float(np.mean(parts.found.means) - np.mean(parts.expected.means))
        shift = abs(parts.found.means[number] - parts.expected.means[number] - of_all)
        # Parts of sorted values vary as the whole does.
        error = math.hypot(
            max(parts.expected.stds[number], expected.std) / math.sqrt(parts.expected_size),
            max(parts.found.stds[number], found.std) / math.sqrt(parts.found_size),
        )
        return self.outcome(
            f"{parts.name(number)} has another mean",
            p=student(shift / error, min(parts.expected_size, parts.found_size) - 1),
            deviation=(shift - 2 * error) / expected.std,
        )
