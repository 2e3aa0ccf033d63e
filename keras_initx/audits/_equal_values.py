"""Values that are equal to each other, in any places of a weight."""

import math

import numpy as np

from keras_initx._typing import Array
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._precision import BITS_OF_RANDOM, are_exact, bits_of
from keras_initx.audits._probabilities import as_few
from keras_initx.audits._profile import LEVELS, Profile
from keras_initx.audits._property_test import FEWEST_OF_SHAPE, property_test
from keras_initx.audits._reading import Reading
from keras_initx.audits._repeated import repeats

# Fewer different values may all be there an even number of times by chance.
_FEWEST_DIFFERENT = 16
# Where each value is there twice, half of them differ from each other.
_COPIES = 0.6


def independent_of(reading: Reading) -> float:
    """Return the number of independent values that would tell as much as those that are there."""
    ordered, size = reading.ordered, reading.sample.size
    if bits_of(reading) > BITS_OF_RANDOM:
        return size * ((1 + int(np.count_nonzero(np.diff(ordered)))) / ordered.size)
    return size / _copies(ordered)


def _copies(values: Array) -> int:
    """Return how often each value is there, where few bits make values equal too: once or more."""
    counts = np.unique(values, return_counts=True)[1]
    if counts.size < _FEWEST_DIFFERENT:
        return 1
    return int(np.gcd.reduce(counts))


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


@property_test()
def copies(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether single values are there several times."""
    shares = found.independent / found.size, expected.independent / expected.size
    are_enough = min(expected.size, found.size) >= FEWEST_OF_SHAPE
    if not (are_enough and are_exact(expected, found)) or shares[0] >= _COPIES * shares[1]:
        return None
    if repeats(expected, found) is not None:
        return None
    # Those of a law with one frequent value, such as a lower bound, differ in number by chance.
    counts = round(found.independent), round(expected.independent)
    return Outcome(
        "copies",
        "{:.2g} of the values differ from each other, and {:.2g} did".format(*shares),
        p=as_few(counts[0], found.size, counts[1], expected.size),
        deviation=math.inf,
    )
