"""Tests of values that are equal: slices of a weight, and copies of values."""

import math

import numpy as np

from keras_initx.audits._outcome import Outcome, impossible
from keras_initx.audits._probabilities import as_few
from keras_initx.audits._profile import BITS_OF_RANDOM, LEVELS, Profile
from keras_initx.audits._property_test import FEWEST_OF_SHAPE, Known, PropertyTest

# Where each value is there twice, half of them differ from each other.
_COPIES = 0.6


def chance_of_equality(profile: Profile) -> float:
    """Return the probability that other draws have the same values, 0 if it is not known."""
    if not profile.has_distribution:
        return 0.0
    chance = 2.0**-profile.bits
    if profile.bits <= BITS_OF_RANDOM or profile.independent < profile.size:
        chance = largest_atom(profile)
    return math.pow(chance, profile.total * (1 - profile.zeros))


def largest_atom(profile: Profile) -> float:
    """Return the share of the most frequent value, of those that the quantiles are of."""
    quantiles = np.array(profile.quantiles)
    last = np.searchsorted(quantiles, quantiles, side="right") - 1
    # Of two equal values that follow each other, quantiles between them are equal.
    return (float((LEVELS[last] - LEVELS).max()) * (profile.size - 1) + 1) / profile.size


def are_exact(expected: Profile, found: Profile) -> bool:
    """Return whether both have so many bits that no two values are equal by rounding."""
    return min(expected.bits, found.bits) > BITS_OF_RANDOM


class Repeats(PropertyTest):
    """Slices that are equal to each other where they were not, or no longer are."""

    needs = Known.KIND

    def concerns(self, expected: Profile, found: Profile) -> bool:
        if expected.repeated is None or found.repeated is None:
            return False
        (before, _), (now, _) = expected.repeated, found.repeated
        if are_exact(expected, found):
            return bool(before or now) and (expected.repeated != found.repeated)
        return bool(now and not before)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        assert expected.repeated is not None
        assert found.repeated is not None
        if found.repeated[0]:
            return impossible(*found.repeated)
        verdict, where = expected.repeated
        return impossible(verdict, f"no longer {where}")


class Crowded(PropertyTest):
    """Slices in which one value is too often there where it was not, or no longer is."""

    needs = Known.KIND

    def concerns(self, expected: Profile, found: Profile) -> bool:
        if expected.crowded is None or found.crowded is None:
            return False
        return expected.crowded != found.crowded

    def run(self, expected: Profile, found: Profile) -> Outcome:
        assert expected.crowded is not None
        assert found.crowded is not None
        if found.crowded[0]:
            return impossible(*found.crowded)
        verdict, where = expected.crowded
        return impossible(verdict, f"no longer {where}")


class Copies(PropertyTest):
    """Single values that are there several times, in any places."""

    verdict = "copies"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        if Repeats().applies(expected, found) or not are_exact(expected, found):
            return False
        are_enough = min(expected.size, found.size) >= FEWEST_OF_SHAPE
        return are_enough and self._share(found) < _COPIES * self._share(expected)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        shares = self._share(found), self._share(expected)
        evidence = "{:.2g} of the values differ from each other, and {:.2g} did".format(*shares)
        # Those of a law with one frequent value, such as a lower bound, differ in number by chance.
        counts = round(found.independent), round(expected.independent)
        p = as_few(counts[0], found.size, counts[1], expected.size)
        return self.outcome(evidence, p)

    def _share(self, profile: Profile) -> float:
        """Return which share of the values differ from each other."""
        return profile.independent / profile.size
