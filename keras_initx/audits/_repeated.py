"""Slices of a weight that repeat others, and cannot by chance."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from keras_initx._checks import first_of
from keras_initx._typing import Array
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._precision import are_exact
from keras_initx.audits._profile import NOTHING, Profile
from keras_initx.audits._property_test import IMPOSSIBLE, Known, property_test
from keras_initx.audits._reading import Reading, epsilon, sample_of
from keras_initx.audits._slices import Slices, all_slices, slices_along

# Elements of which is counted how many are equal.
_COUNTED = 1 << 12
# Fewer values of a slice along several axes may be equal to those of another by chance.
FEWEST_OF_AXES = 16
# Values of a slice that are compared before all are.
_BEGINNING = 16
# Pairs of equal slices that are named.
_MOST_PAIRS = 3
# Parts of an axis, such as shards.
_PARTS = (8, 4, 3, 2)


def repeated(reading: Reading) -> tuple[str, str]:
    """Return what is equal within an array, and cannot be so by chance: its name, and where.

    Both are empty if nothing is. `"copies"` are equal parts along an axis, as of shards that are
    drawn with one seed. `"equal slices"` may be equal but for the sign: slices along each axis,
    such as units, inputs or heads, and along the first or the last axes together, such as the units
    of all heads.
    """
    values = reading.values
    surprise = -math.log(_chance_of_equality(reading))
    for axis in range(values.ndim):
        count = _equal_parts(slices_along(values, axis, axis + 1), surprise)
        if count:
            return "copies", f"{count} equal parts along axis {axis}"
    for slices in all_slices(values, FEWEST_OF_AXES):
        pairs = _equal_slices(slices, surprise)
        if pairs:
            return "equal slices", _evidence(slices, pairs)
    return NOTHING


def _chance_of_equality(reading: Reading) -> float:
    """Return the probability that two values that are not 0 are equal."""
    sample = sample_of(reading.values, _COUNTED)
    sample = sample[sample != 0]
    counts = np.unique(sample, return_counts=True)[1].astype("float64")
    pairs = sample.size * (sample.size - 1)
    share = float((counts * (counts - 1)).sum()) / pairs if pairs else 1.0
    # JAX draws no more random bits than the mantissa has.
    return max(share, epsilon(reading.dtype))


def _cannot_be_chance(count: int, surprise: float, slices: int) -> bool:
    """Return whether two of so many slices cannot be equal by chance.

    Args:
        count: The number of values of a slice that are not 0.
        surprise: The negative logarithm of the probability that two are equal.
        slices: The number of slices.
    """
    return count * surprise > math.log(slices**2 / IMPOSSIBLE)


def _equal_parts(slices: Slices, surprise: float) -> int:
    """Return the number of parts of an axis that are all equal, 0 if there are none."""
    values, number = slices.values, slices.number
    for count in _PARTS:
        size = number // count
        # Most arrays differ in the first place already.
        if number % count or not np.array_equal(values[:, 0], values[:, size]):
            continue
        first, *others = np.split(values, count, axis=1)
        if not _cannot_be_chance(int(np.count_nonzero(first)), surprise, count):
            continue
        if all(np.array_equal(first, other) for other in others):
            return count
    return 0


def _equal_slices(slices: Slices, surprise: float) -> list[tuple[int, int]]:
    """Return the slices that are equal or opposite to an earlier one, each with that one.

    Those that may be equal by chance are left out.
    """
    if not _cannot_be_chance(slices.size, surprise, slices.number):
        return []
    beginnings = _without_sign(slices.seen(_BEGINNING))
    bits = np.ascontiguousarray(beginnings, "float32").view("uint32").astype("uint64")
    codes = _multipliers()[: len(beginnings)] @ bits
    ordered = np.sort(codes)
    repeated_codes = ordered[1:][ordered[1:] == ordered[:-1]]
    if not repeated_codes.size:
        return []
    candidates = np.flatnonzero(np.isin(codes, repeated_codes))
    whole = np.ascontiguousarray(_without_sign(slices.whole(candidates)).T)
    first: dict[bytes, int] = {}
    found = []
    for candidate, values in zip(candidates.tolist(), whole, strict=True):
        if not _cannot_be_chance(int(np.count_nonzero(values)), surprise, slices.number):
            continue
        earliest = first.setdefault(values.tobytes(), candidate)
        if earliest != candidate:
            found.append((candidate, earliest))
    return found


@functools.cache
def _multipliers() -> Array:
    return np.random.default_rng(3).integers(1 << 64, size=_BEGINNING, dtype="uint64") | 1


def _without_sign(columns: Array) -> Array:
    """Return columns, of which the first number that is not 0 is positive in each."""
    first = columns[0]
    if not first.all():
        first = np.take_along_axis(columns, (columns != 0).argmax(axis=0)[None], axis=0)[0]
    return np.where(first < 0, -columns, columns) + 0.0  # no zero with a sign


def _evidence(slices: Slices, pairs: Sequence[tuple[int, int]]) -> str:
    """Return in words which slices are equal."""
    values = slices.values
    are_opposite = any((values[:, one] != values[:, other]).any() for one, other in pairs)
    but = " but for the sign" if are_opposite else ""
    texts = [f"{slices.place(one)} to {slices.place(other)}" for one, other in pairs]
    named = first_of(texts, shown=_MOST_PAIRS)
    return f"{len(pairs)} of {slices.text} equal to another{but}: {named}"


@property_test(needs=Known.KIND)
def repeats(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether slices repeat others that did not, or no longer do."""
    if not (are_exact(expected, found) or expected.repeated == NOTHING):
        return None
    return of_equal_slices(expected.repeated, found.repeated)


def of_equal_slices(
    expected: tuple[str, str] | None, found: tuple[str, str] | None
) -> Outcome | None:
    """Return what is said of slices in which something is equal, by its name and its place."""
    if expected is None or found is None or expected == found:
        return None
    verdict, where = found
    if verdict:
        return Outcome(verdict, where)
    verdict, where = expected
    return Outcome(verdict, f"no longer {where}")
