"""Slices of a weight, such as units, in which one value is there more often than by chance."""

import math

import numpy as np

from keras_initx._checks import first_of
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._profile import NOTHING, Profile
from keras_initx.audits._property_test import IMPOSSIBLE, Known, property_test
from keras_initx.audits._reading import MOST, Reading, sample_of
from keras_initx.audits._repeated import FEWEST_OF_AXES, of_equal_slices
from keras_initx.audits._slices import Slices, all_slices

# The share of one value that rounding makes of a continuous law, at least. JAX draws no more random
# numbers than the mantissa has, and of normal values here one in 65,536 is 0.
_BY_ROUNDING = {"bfloat16": 2.0**-6, "float16": 2.0**-9}
_BY_ROUNDING_ELSE = 2.0**-16
# Values of a slice that are looked at, and at least.
_MOST_SEEN = 256
_FEWEST_SEEN = 32
# Slices that are named.
_MOST_NAMED = 3


def crowded(reading: Reading) -> tuple[str, str]:
    """Return in which slices one value is too often there: what that is, and where.

    Both are empty if there are none. It is `"zeros"` if the value is 0 in all of them, `"constant"`
    if all values of such slices are equal, otherwise `"copies"`. Whole slices come first.
    """
    if reading.values.ndim < 2:
        return NOTHING
    by_rounding = _BY_ROUNDING.get(reading.dtype, _BY_ROUNDING_ELSE)
    frequent = max(by_rounding, _share(reading))
    first = NOTHING
    for slices in all_slices(reading.values, FEWEST_OF_AXES):
        found = _crowded_slices(slices, frequent)
        if not found:
            continue
        are_whole = all((slices.values[:, index] == value).all() for index, value in found.items())
        verdict = "constant" if are_whole else "copies"
        if not any(found.values()):
            verdict = "zeros"
        said = verdict, f"{len(found)} of {slices.text}: {_text(slices, found)}"
        if are_whole:
            return said
        first = first if first[0] else said
    return first


def _share(reading: Reading) -> float:
    """Return the share of the most frequent value, or the one expected."""
    if reading.share is not None:
        return reading.share
    sample = sample_of(reading.values)
    count = int(np.unique(sample, return_counts=True)[1].max())
    # The count of another draw may be larger by chance.
    return min((count + 4 * math.sqrt(count)) / sample.size, 1.0)


def _crowded_slices(slices: Slices, frequent: float) -> dict[int, float]:
    """Return the values that are too often in slices, by the indices of these.

    Args:
        slices: The slices.
        frequent: The share of the most frequent value.
    """
    seen = min(slices.size, _MOST_SEEN, max(MOST // slices.number, _FEWEST_SEEN))
    most = _most_by_chance(seen, slices.number, frequent)
    if most >= seen:
        return {}
    ordered = np.sort(slices.seen(seen), axis=0)
    are_equal = ordered[most:] == ordered[: seen - most]  # a run that is longer than that
    found = {}
    for index in np.flatnonzero(are_equal.any(axis=0)).tolist():
        value = float(ordered[are_equal[:, index].argmax(), index])
        found[index] = value + 0.0  # no zero with a sign
    return found


def _most_by_chance(size: int, slices: int, frequent: float) -> int:
    """Return how often a value may be among so many values of one of the slices by chance."""
    bound = math.log(slices / frequent / IMPOSSIBLE)
    for count in range(1, size + 1):
        share = count / size
        if share <= frequent:
            continue
        surprise = share * math.log(share / frequent)  # of many more than expected (Chernoff)
        if share < 1:
            surprise += (1 - share) * math.log((1 - share) / (1 - frequent))
        if size * surprise > bound:
            return count - 1
    return size


def _text(slices: Slices, found: dict[int, float]) -> str:
    """Return the first slices with their values in words."""
    texts = []
    for index, value in found.items():
        count = int(np.count_nonzero(slices.values[:, index] == value))
        how_many = "all" if count == slices.size else f"{count} of {slices.size}"
        texts.append(f"{how_many} of {slices.place(index)} are {value:.4g}")
    return first_of(texts, shown=_MOST_NAMED)


@property_test(needs=Known.KIND)
def crowds(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether one value is too often in slices where it was not, or no longer is."""
    return of_equal_slices(expected.crowded, found.crowded)
