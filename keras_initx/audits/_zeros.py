"""Tests of zeros: how many there are, and where."""

import math
from dataclasses import dataclass

from keras_initx.audits._outcome import Outcome
from keras_initx.audits._probabilities import log_choose, poisson_tail, same_rate
from keras_initx.audits._profile import Profile
from keras_initx.audits._property_test import BITS, ONCE, PropertyTest

# The share of zeros that rounding to 16 bits may make.
_ZEROS_IN_16_BITS = 2.0**-7


class ZerosOfLaw(PropertyTest):
    """The number of zeros, where a law says how many there are by rounding."""

    verdict = "zeros"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.law is not None

    def run(self, expected: Profile, found: Profile) -> Outcome:
        count = found.zeros * found.total
        evidence = f"{count:.0f} of {found.total} values are 0"
        p = poisson_tail(round(count), found.total * expected.zeros)
        return self.outcome(evidence, p)


class PlacesOfZeros(PropertyTest):
    """Zeros at other places than in all draws."""

    verdict = "zeros"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.zeros_at not in (None, found.zeros_at)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        shares = f"{found.zeros:.3g}, and {expected.zeros:.3g}"
        return self.outcome(
            f"other values are 0 than were: {shares}", self._chance(expected, found)
        )

    def _chance(self, expected: Profile, found: Profile) -> float:
        """Return the probability that so many values were 0 in all draws, or in none, by chance.

        If a value is 0 in some draws, each draw may be the one that differs from the others.
        """
        draws = expected.total / found.total
        before, now = expected.zeros * found.total, found.zeros * found.total
        # As many zeros at other places: all may be.
        differing = abs(now - before) if round(now) != round(before) else now + before
        return math.pow(draws + 1, -differing)


@dataclass(frozen=True)
class Connections(PropertyTest):
    """The number of values that are not zero for each index of the first axis (0) or the last."""

    verdict = "connections"

    axis: int

    def concerns(self, expected: Profile, found: Profile) -> bool:
        differ = 0 < expected.connections[self.axis] != found.connections[self.axis]
        are_elsewhere = PlacesOfZeros().applies(expected, found)
        return differ and not are_elsewhere

    def run(self, expected: Profile, found: Profile) -> Outcome:
        name = ("first", "last")[self.axis]
        before, now = expected.connections[self.axis], found.connections[self.axis]
        number = "another number" if now < 0 else f"{now}"
        evidence = f"{number} of values that are not 0 for each index of the {name} axis"
        p = self._chance(before, expected) ** ONCE * self._chance(now, found)
        return self.outcome(f"{evidence}, expected {before}", p)

    def _chance(self, count: int, profile: Profile) -> float:
        """Return the probability that each index has so many, 1 if the number varies.

        A few indices have one number by chance where zeros are random.
        """
        if count < 1:
            return 1.0
        share = 1 - profile.zeros
        indices = profile.total * share / count
        length = round(profile.total / indices)
        log_chance = count * math.log(share) + (length - count) * math.log(profile.zeros)
        return math.exp((round(indices) - 1) * (log_choose(length, count) + log_chance))


class ShareOfZeros(PropertyTest):
    """The share of zeros, compared with that of other draws."""

    verdict = "zeros"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.law is None and not PlacesOfZeros().applies(expected, found)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        # Rounding to 16 bits makes zeros, on one backend more than on another.
        is_rounded = min(expected.bits, found.bits) <= max(BITS)
        rounded = _ZEROS_IN_16_BITS if is_rounded else 0.0
        deviation = math.inf if abs(found.zeros - expected.zeros) > rounded else 0.0
        before, now = expected.zeros * expected.total, found.zeros * found.total
        return self.outcome(
            f"{found.zeros:.3g} of the values are 0, and {expected.zeros:.3g} were",
            p=same_rate(before, expected.total, now, found.total),
            deviation=deviation,
        )
