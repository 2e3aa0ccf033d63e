"""One draw in several weights: with a factor for each, with another sign, or in several lengths.

One seed in a config and a scale for each layer make them. Signs and ranks of the first values do
not depend on a factor.
"""

import itertools
from collections.abc import Iterable

import numpy as np

from keras_initx._typing import Array
from keras_initx.audits._profile import Profile
from keras_initx.audits._reading import Reading

# Values whose signs are compared, and whose order is. Of weights with fewer, nothing is known.
_SIGNS = 64
_RANKS = 16
# Of the signs, so many are independent at least, where values are there several times.
_FEWEST_DIFFERENT = 44
# The probability that two weights have equal or opposite signs, or one order or the reverse, by
# chance: less than that of 43 independent signs, and than 2 / 16!.
CHANCE = 2.0**-42
# Values that are sorted, or in other patterns, are no draw. Of independent values, the number of
# changes of signs is nearly always among these, and so is that of values that are lower than the
# one before.
_USUAL_CHANGES = range(16, 49)
_USUAL_DESCENTS = range(3, 13)


def signs_of(reading: Reading) -> str:
    """Return the signs of the first 64 values that are not 0, in 16 hexadecimal digits.

    Empty if there are fewer, or if they tell less than independent signs.
    """
    values = _first(reading, _SIGNS)
    are_negative = values < 0
    changes = int(np.count_nonzero(are_negative[1:] != are_negative[:-1]))
    if len(values) < _SIGNS or len(np.unique(values)) < _FEWEST_DIFFERENT:
        return ""
    if int(are_negative.sum()) not in _USUAL_CHANGES or changes not in _USUAL_CHANGES:
        return ""
    return np.packbits(are_negative).tobytes().hex()


def ranks_of(reading: Reading) -> str:
    """Return the ranks of the first 16 values that are not 0, each as a hexadecimal digit.

    Empty if there are fewer, if some are equal, or if they are nearly sorted.
    """
    values = _first(reading, _RANKS)
    if len(values) < _RANKS or len(np.unique(values)) < _RANKS:
        return ""
    if int(np.count_nonzero(np.diff(values) < 0)) not in _USUAL_DESCENTS:
        return ""
    return "".join(f"{rank:x}" for rank in values.argsort().argsort().tolist())


def _first(reading: Reading, count: int) -> Array:
    """Return the first values that are not 0."""
    flat = reading.values.reshape(-1)
    beginning = flat[: 16 * count]
    first: Array = beginning[beginning != 0][:count]
    if len(first) < count < flat.size:  # as of a window whose center alone has values
        first = flat[flat != 0][:count]
    return first


def are_opposite(one: Profile, other: Profile) -> bool:
    """Return whether the values of one draw have the other sign in one of two weights."""
    for mine, theirs in ((one.signs, other.signs), (one.ranks, other.ranks)):
        if mine and theirs:
            return (mine[0] >= "8") != (theirs[0] >= "8")
    return False


def _keys(profile: Profile) -> list[tuple[str, int]]:
    """Return what weights that are one draw have in common, whatever their signs."""
    keys = []
    for what, digits in (("signs", profile.signs), ("ranks", profile.ranks)):
        if digits:
            number, highest = int(digits, 16), 16 ** len(digits) - 1
            keys.append((what, min(number, highest - number)))
    return keys


def sets_of_one_draw(profiles: Iterable[tuple[str, Profile]]) -> list[list[str]]:
    """Return sets of the paths of weights that are one draw, of weights with their paths."""
    sets: list[list[str]] = []
    set_of: dict[tuple[str, int], list[str]] = {}
    for path, profile in profiles:
        keys = _keys(profile)
        known = [set_of[key] for key in keys if key in set_of]
        together = known[0] if known else []
        if not known:
            sets.append(together)
        together.append(path)
        for key in keys:
            set_of.setdefault(key, together)
    return [paths for paths in sets if len(paths) > 1]


def are_independent(draws: Iterable[Profile]) -> bool:
    """Return whether the signs of draws differ as often as those of independent ones."""
    numbers = [int(draw.signs, 16) for draw in draws if draw.signs]
    pairs = itertools.combinations(numbers, 2)
    return all((one ^ other).bit_count() in _USUAL_CHANGES for one, other in pairs)
