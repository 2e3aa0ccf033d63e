"""Tests of values that are equal: slices of a weight, and copies of values."""

import math

import numpy as np

from keras_initx.audits._outcome import Outcome, impossible
from keras_initx.audits._probabilities import as_few
from keras_initx.audits._profile import BITS_OF_RANDOM, LEVELS, NOTHING, Profile
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


class _OfSlices(PropertyTest):
    """What is equal in slices where it was not, or no longer is.

    Attributes:
        field: The field of a profile that says what it is, and where.
    """

    needs = Known.KIND
    field: str

    def concerns(self, expected: Profile, found: Profile) -> bool:
        before, now = getattr(expected, self.field), getattr(found, self.field)
        return None not in (before, now) and before != now

    def run(self, expected: Profile, found: Profile) -> Outcome:
        verdict, where = getattr(found, self.field)
        if verdict:
            return impossible(verdict, where)
        verdict, where = getattr(expected, self.field)
        return impossible(verdict, f"no longer {where}")


class Repeats(_OfSlices):
    """Slices that are equal to each other where they were not, or no longer are."""

    field = "repeated"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        if not super().concerns(expected, found):
            return False
        return are_exact(expected, found) or expected.repeated == NOTHING


class Crowded(_OfSlices):
    """Slices in which one value is too often there where it was not, or no longer is."""

    field = "crowded"


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
