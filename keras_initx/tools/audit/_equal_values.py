"""Values that are equal to each other, in any places of a weight."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keras_initx._checks import summarize_names
from keras_initx._typing import Array, Shape
from keras_initx.tools.audit._probabilities import as_few
from keras_initx.tools.audit._profile import LEVELS, NOTHING, Profile, Reading, epsilon, sample_of
from keras_initx.tools.audit._property_test import (
    FEWEST_OF_SHAPE,
    IMPOSSIBLE,
    Known,
    Outcome,
    property_test,
)

# Slices of an array along its axes, such as units, inputs or heads.


@dataclass(frozen=True)
class Slices:
    """The slices of an array along an axis, or along several that follow each other.

    Attributes:
        values: The array as `[before, number, after]`, where the middle axis counts the slices.
        axes: The first of these axes, and the one after the last.
        lengths: Their lengths.
    """

    values: Array
    axes: tuple[int, int]
    lengths: Shape

    @property
    def number(self) -> int:
        """The number of slices."""
        return int(self.values.shape[1])

    @property
    def size(self) -> int:
        """The number of values of each."""
        return int(self.values.shape[0] * self.values.shape[2])

    @property
    def text(self) -> str:
        """What they are, in words."""
        first, end = self.axes
        where = f"axis {first}" if end == first + 1 else f"axes {first} to {end - 1}"
        return f"{self.number} slices along {where}"

    def place(self, index: int) -> str:
        """Return the place of one along these axes."""
        return f"[{', '.join(map(str, np.unravel_index(index, self.lengths)))}]"

    def seen(self, count: int) -> Array:
        """Return at most so many values of each, at even distances, as `[values, number]`."""
        if count >= self.size:
            return self.whole(slice(None))
        places = np.linspace(0, self.size - 1, count).astype(int)
        rows, columns = np.divmod(places, self.values.shape[2])
        return self.values[rows, :, columns]

    def whole(self, which: Array | slice) -> Array:
        """Return all values of some of them, as `[values, number]`."""
        chosen = self.values[:, which]
        return chosen.transpose(0, 2, 1).reshape(self.size, chosen.shape[1])


def slices_along(values: Array, first: int, end: int) -> Slices:
    """Return the slices along the axes from `first` to the one before `end`."""
    lengths = values.shape[first:end]
    shape = math.prod(values.shape[:first]), math.prod(lengths), math.prod(values.shape[end:])
    return Slices(values.reshape(shape), (first, end), lengths)


def axes_in_order(ndim: int) -> list[int]:
    """Return the first axis, the last, and those between them."""
    axes = range(ndim)
    return list(dict.fromkeys([*axes[:1], *axes[-1:], *axes]))


def slices_of_axes(values: Array) -> Iterator[Slices]:
    """Yield the slices along each axis by itself."""
    for axis in axes_in_order(values.ndim):
        yield slices_along(values, axis, axis + 1)


def all_slices(values: Array, fewest: int = 1) -> list[Slices]:
    """Return the slices along each axis, and along the first or the last ones together.

    Those along several have a minimum of values. Where there are the fewest, they come first.
    """
    ndim = values.ndim
    found = [slices_along(values, axis, axis + 1) for axis in range(ndim)]
    for cut in range(1, ndim):
        for first, end in ((0, cut), (cut, ndim)):
            if end > first + 1:
                slices = slices_along(values, first, end)
                found += [slices] if slices.size >= fewest else []
    return sorted(found, key=lambda slices: slices.number)


# The precision of values: whether they were rounded to 16 bits.


# The bits of the mantissa of bfloat16 and float16.
BITS = {7: "bfloat16", 10: "float16"}
# Independent values with more bits are different numbers.
BITS_OF_RANDOM = 16


def bits_of(reading: Reading) -> int:
    """Return how many bits of the mantissa of float32 are used, up to the last that is not 0."""
    bits = np.bitwise_or.reduce(reading.sample.astype("float32").view("uint32"))
    used = int(bits & 0x7FFFFF)
    if not used:
        return 0
    return 24 - (used & -used).bit_length()


def are_exact(expected: Profile, found: Profile) -> bool:
    """Return whether both have so many bits that no two values are equal by rounding."""
    return min(expected.bits, found.bits) > BITS_OF_RANDOM


@property_test()
def precision(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether values were rounded to 16 bits."""
    # The coarsest dtype that holds all of them.
    bits = next((bits for bits in BITS if found.bits <= bits), None)
    if bits is None or expected.bits <= 2 * bits:
        return None
    if min(found.size, expected.independent) * (expected.bits - bits) <= 100:
        return None
    return Outcome("precision", f"values that were rounded to {BITS[bits]}")


# Slices of a weight that repeat others, and cannot by chance.


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
    named = summarize_names(texts, shown=_MOST_PAIRS)
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
    are_repeated = profile.has_levels or profile.independent < profile.size
    if profile.bits <= BITS_OF_RANDOM or are_repeated:
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
    if expected.has_levels or repeats(expected, found) is not None:
        return None
    # Those of a law with one frequent value, such as a lower bound, differ in number by chance.
    counts = round(found.independent), round(expected.independent)
    return Outcome(
        "copies",
        "{:.2g} of the values differ from each other, and {:.2g} did".format(*shares),
        p=as_few(counts[0], found.size, counts[1], expected.size),
        deviation=math.inf,
    )


# One draw in several weights: with a factor for each, with another sign, or in several lengths.


# Values whose signs are compared, and whose order is. Of weights with fewer, nothing is known.
_SIGNS = 64
_RANKS = 16
# Of the signs, so many are independent at least, where values are there several times.
_FEWEST_SIGNS = 44
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
    if len(values) < _SIGNS or len(np.unique(values)) < _FEWEST_SIGNS:
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
