"""Tests of parts and of single slices of a weight along an axis, such as gates, heads or units."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from keras_initx.audits._equal_values import largest_atom
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._parts import Parts, Slices
from keras_initx.audits._probabilities import all_of_kind, same_variance, student
from keras_initx.audits._profile import SHARE_OF_ZEROS, Profile
from keras_initx.audits._property_test import FEWEST, Known, PropertyTest
from keras_initx.audits._repeated import IMPOSSIBLE
from keras_initx.audits._scale_error import error_of_ratio, kurtosis_of

# Of fewer values of a part, only is compared whether they vary.
_FEWEST_OF_PART = 16
# Slices of values with longer tails than normal ones have may be of any scale.
_KURTOSIS_OF_NORMAL = 3.05
# With a smaller share of values that differ from each other, slices are not independent.
_INDEPENDENT = 0.9
# With a smaller probability, slices of what is expected have scales of their own.
_THEIR_OWN = 0.01


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


class ConstantParts(PropertyTest):
    """Parts that are constant now, or no longer are, or have another value."""

    verdict = "parts"

    needs = Known.DISTRIBUTION

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return bool(self._evidence(expected, found))

    def run(self, expected: Profile, found: Profile) -> Outcome:
        return self.outcome(self._evidence(expected, found))

    def _evidence(self, expected: Profile, found: Profile) -> str:
        """Return which part it is, in words, empty if there is none."""
        for parts in _parts_of_both(expected, found):
            if not self._may_be_chance(parts, expected, found):
                evidence = self._evidence_of(parts, expected.std)
                if evidence:
                    return evidence
        return ""

    def _evidence_of(self, parts: _PartsOfBoth, std: float) -> str:
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

    def _may_be_chance(self, parts: _PartsOfBoth, expected: Profile, found: Profile) -> bool:
        """Return whether no part is constant, or one may be by chance."""
        stds = (*parts.expected.stds, *parts.found.stds)
        if all(stds):
            return True
        frequent = max(parts.zeros, largest_atom(expected), largest_atom(found))
        size = min(parts.expected.size, parts.found.size)
        chance = all_of_kind(frequent, expected.total + found.total, size - 1)
        return len(parts.expected.stds) * chance > IMPOSSIBLE


class ScalesOfParts(PropertyTest):
    """The scale or the mean of one part or one slice, relative to how the whole differs.

    All parts and all slices along all axes are one test: half of the probability of an alarm is
    that of parts.
    """

    verdict = "parts"

    of = ("scale",)

    needs = Known.DISTRIBUTION

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return bool(self._outcomes(expected, found))

    def run(self, expected: Profile, found: Profile) -> Outcome:
        families = self._outcomes(expected, found)
        worst = []
        for outcomes in families:
            least = min(outcomes, key=lambda outcome: outcome.p)
            p = len(families) * len(outcomes) * least.p  # Bonferroni
            worst.append(replace(least, p=min(1.0, p)))
        return min(worst, key=lambda outcome: outcome.p)

    def _outcomes(self, expected: Profile, found: Profile) -> list[list[Outcome]]:
        """Return what is said of parts, and of slices, where there are any."""
        if ConstantParts().applies(expected, found):
            return []
        families = [
            list(self._of_parts(expected, found)),
            list(_of_slices(expected, found)),
        ]
        return [outcomes for outcomes in families if outcomes]

    def _of_parts(self, expected: Profile, found: Profile) -> Iterator[Outcome]:
        for parts in _parts_of_both(expected, found):
            # Parts of which hardly any value is not zero vary more than the whole.
            is_irregular = parts.zeros > SHARE_OF_ZEROS and max(expected.connections) < 0
            if parts.fewest < _FEWEST_OF_PART or is_irregular:
                continue
            for number, stds in enumerate(zip(parts.expected.stds, parts.found.stds, strict=True)):
                if all(stds):
                    yield self._scale(number, parts, expected, found)
                    yield self._mean(number, parts, expected, found)

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


def _of_slices(expected: Profile, found: Profile) -> Iterator[Outcome]:
    """Yield what is said of the slices that are farthest from the whole.

    They are compared where values are independent, of a family without long tails, and where the
    slices expected have no scales of their own.
    """
    has_long_tails = expected.law is not None and expected.kurtosis > _KURTOSIS_OF_NORMAL
    has_copies = found.independent < _INDEPENDENT * found.size
    if not expected.laws or has_long_tails or has_copies:
        return
    of_expected = {slices.axis: slices for slices in expected.slices}
    for slices in found.slices:
        before = of_expected.get(slices.axis)
        if slices.size < _FEWEST_OF_PART or (before is None and expected.law is None):
            continue
        if before is not None:
            chances = [outcome.p for outcome in _farthest(before, expected)]
            if len(chances) * min(chances) <= _THEIR_OWN:
                continue
        yield from _farthest(slices, found)


def _farthest(slices: Slices, profile: Profile) -> Iterator[Outcome]:
    """Yield how probable the lowest and the highest scale and mean of a slice are.

    Of values that are as far in as uniform ones, the scale varies less than of normal ones.
    """
    degrees = slices.size - 1
    error = error_of_ratio(math.inf, degrees)
    low, high, *places = slices.stds
    for std, place in zip((low, high), places, strict=True):
        ratio = max(std / profile.std, 1e-9)
        p = same_variance(ratio**2 / (1 - 1 / slices.size), degrees, math.inf)
        yield Outcome(
            "parts",
            f"{_name(slices, place)} has {std / profile.std:.3g} times the scale of the whole",
            p=min(1.0, slices.number * p),
            deviation=abs(math.log(ratio)) - 2 * error,
        )
    low, high, *places = slices.means
    for mean, place in zip((low, high), places, strict=True):
        shift = abs(mean - profile.mean) / profile.std
        error = 1 / math.sqrt(slices.size)
        yield Outcome(
            "parts",
            f"{_name(slices, place)} has another mean",
            p=min(1.0, slices.number * math.erfc(shift / error / math.sqrt(2))),
            deviation=shift - 2 * error,
        )


def _name(slices: Slices, place: float) -> str:
    return f"[{place:.0f}] of {slices.number} slices along axis {slices.axis}"
