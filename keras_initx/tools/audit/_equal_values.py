"""Find equal values, within a weight and in several weights.

There are three kinds: slices that repeat others (`find_repeated`), single values that occur several
times (`count_independent`), and weights that are *one draw*: one is a multiple of the other, or its
beginning (`group_one_draw`). Values that are equal by chance or by rounding do not count.

    Slices of an array (3, 4, 5) along axis 1    values (3, 4, 5): before, slices, after
    Slices along the axes 1 to 2, such as heads  values (3, 20, 1)
"""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keras_initx._checks import summarize_names
from keras_initx._typing import Array, Shape
from keras_initx.tools.audit._probabilities import fisher_p_value
from keras_initx.tools.audit._profile import (
    LEVELS,
    NOTHING,
    Finding,
    Profile,
    Reading,
    epsilon,
    sample_values,
)
from keras_initx.tools.audit._property_test import (
    FEWEST_OF_SHAPE,
    IMPOSSIBLE,
    Known,
    Outcome,
    property_test,
)


@dataclass(frozen=True)
class Slices:
    """The slices of an array along an axis, or along several that follow each other.

    Attributes:
        values: The array as `[before, number, after]`. The middle axis counts the slices.
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
        first, end = self.axes
        where = f"axis {first}" if end == first + 1 else f"axes {first} to {end - 1}"
        return f"{self.number} slices along {where}"

    def format_index(self, index: int) -> str:
        """Write the index of a slice along these axes: `[3]`, `[1, 2]`."""
        return f"[{', '.join(map(str, np.unravel_index(index, self.lengths)))}]"

    def sample(self, count: int) -> Array:
        """Take a limited number of values of each, at even distances, as `[values, number]`."""
        if count >= self.size:
            return self.take(slice(None))
        flat = np.linspace(0, self.size - 1, count).astype(int)
        rows, columns = np.divmod(flat, self.values.shape[2])
        return self.values[rows, :, columns]

    def take(self, indices: Array | slice) -> Array:
        """Take all values of some of the slices, as `[values, number]`."""
        chosen = self.values[:, indices]
        return chosen.transpose(0, 2, 1).reshape(self.size, chosen.shape[1])


def slice_along(values: Array, first: int, end: int) -> Slices:
    """Slice an array along the axes from `first` to the one before `end`."""
    lengths = values.shape[first:end]
    shape = math.prod(values.shape[:first]), math.prod(lengths), math.prod(values.shape[end:])
    return Slices(values.reshape(shape), (first, end), lengths)


def order_axes(ndim: int) -> list[int]:
    """List the first axis, the last, and those between them."""
    axes = range(ndim)
    return list(dict.fromkeys([*axes[:1], *axes[-1:], *axes]))


def slice_each_axis(values: Array) -> Iterator[Slices]:
    """Slice an array along each axis by itself."""
    for axis in order_axes(values.ndim):
        yield slice_along(values, axis, axis + 1)


def slice_axes_and_groups(values: Array) -> list[Slices]:
    """Slice an array along each axis, and along the first or the last ones together.

    Slices along several axes have 16 values at least. The fewest slices come first.
    """
    ndim = values.ndim
    all_slices = [slice_along(values, axis, axis + 1) for axis in range(ndim)]
    for cut in range(1, ndim):
        for first, end in ((0, cut), (cut, ndim)):
            if end > first + 1:
                slices = slice_along(values, first, end)
                # Fewer values may be equal to those of another slice by chance.
                all_slices += [slices] if slices.size >= 16 else []
    return sorted(all_slices, key=lambda slices: slices.number)


# The precision of values: whether they were rounded to 16 bits.


# The dtypes of 16 bits, by the bits of their mantissas.
BITS = {7: "bfloat16", 10: "float16"}
# A rate of false answers: independent values with more bits are different numbers, but for one pair
# of 131,072.
BITS_OF_RANDOM = 16


def count_bits(reading: Reading) -> int:
    """Count the bits of the mantissa of float32 that are used, up to the last that is not 0."""
    bits = np.bitwise_or.reduce(reading.sample.astype("float32").view("uint32"))
    used = int(bits & 0x7FFFFF)
    if not used:
        return 0
    return 24 - (used & -used).bit_length()


def are_exact(expected: Profile, actual: Profile) -> bool:
    """Return whether both have enough bits, so that no two values are equal by rounding."""
    return min(expected.bits, actual.bits) > BITS_OF_RANDOM


@property_test()
def compare_precision(expected: Profile, actual: Profile) -> Outcome | None:
    """Test whether values were rounded to 16 bits."""
    # The coarsest dtype that holds all of them.
    bits = next((bits for bits in BITS if actual.bits <= bits), None)
    if bits is None or expected.bits <= 2 * bits:
        return None
    # So many bits of all values are 0 by chance with a probability of 2**-100.
    if min(actual.size, expected.independent) * (expected.bits - bits) <= 100:
        return None
    return Outcome("precision", f"its values were rounded to {BITS[bits]}")


# Slices of a weight that repeat others, and cannot by chance.


# A time: values of a slice that are compared before all are, because most slices differ in these.
_BEGINNING = 16
# The numbers of equal parts of an axis, such as shards: 8 includes 4 and 2, 4 includes 2.
_PARTS = (8, 4, 3, 2)


def find_repeated(reading: Reading) -> Finding:
    """Find equal values within an array that cannot be equal by chance.

    `"copies"` are equal parts along an axis, for example shards that were drawn with one seed.
    `"equal slices"` may be equal but for the sign: slices along each axis, such as units, inputs or
    heads, and along the first or the last axes together, such as the units of all heads.
    """
    values = reading.values
    surprise = -math.log(_estimate_chance_of_equal_values(reading))
    for axis in range(values.ndim):
        count = _count_equal_parts(slice_along(values, axis, axis + 1), surprise)
        if count:
            return "copies", f"{count} equal parts along axis {axis}"
    for slices in slice_axes_and_groups(values):
        pairs = _find_equal_slices(slices, surprise)
        if pairs:
            return "equal slices", _describe_pairs(slices, pairs)
    return NOTHING


def _estimate_chance_of_equal_values(reading: Reading) -> float:
    """Estimate the probability that two values that are not 0 are equal."""
    # One equal pair of so many values is a chance of 2**-23, the float spacing of float32.
    sample = sample_values(reading.values, 1 << 12)
    sample = sample[sample != 0]
    counts = np.unique(sample, return_counts=True)[1].astype("float64")
    pairs = sample.size * (sample.size - 1)
    share = float((counts * (counts - 1)).sum()) / pairs if pairs else 1.0
    # JAX draws no more random bits than the mantissa has.
    return max(share, epsilon(reading.dtype))


def _cannot_be_chance(count: int, surprise: float, slices: int) -> bool:
    """Return whether two of these slices cannot be equal by chance.

    Args:
        count: The number of values of a slice that are not 0.
        surprise: The negative logarithm of the probability that two are equal.
        slices: The number of slices.
    """
    return count * surprise > math.log(slices**2 / IMPOSSIBLE)


def _count_equal_parts(slices: Slices, surprise: float) -> int:
    """Count the parts of an axis that are all equal, 0 if there are none."""
    values, number = slices.values, slices.number
    for count in _PARTS:
        size = number // count
        # Most arrays differ in the first slices already.
        if number % count or not np.array_equal(values[:, 0], values[:, size]):
            continue
        first, *others = np.split(values, count, axis=1)
        if not _cannot_be_chance(int(np.count_nonzero(first)), surprise, count):
            continue
        if all(np.array_equal(first, other) for other in others):
            return count
    return 0


def _find_equal_slices(slices: Slices, surprise: float) -> list[tuple[int, int]]:
    """Find slices that are equal or opposite to an earlier one, each with the index of that one.

    The first values of all slices are hashed, and only slices with equal hashes are read. Slices
    that may be equal by chance do not count.
    """
    if not _cannot_be_chance(slices.size, surprise, slices.number):
        return []
    beginnings = _make_first_positive(slices.sample(_BEGINNING))
    bits = np.ascontiguousarray(beginnings, "float32").view("uint32").astype("uint64")
    codes = _draw_multipliers()[: len(beginnings)] @ bits
    ordered = np.sort(codes)
    repeated_codes = ordered[1:][ordered[1:] == ordered[:-1]]
    if not repeated_codes.size:
        return []
    candidates = np.flatnonzero(np.isin(codes, repeated_codes))
    whole = np.ascontiguousarray(_make_first_positive(slices.take(candidates)).T)
    first: dict[bytes, int] = {}
    pairs = []
    for candidate, values in zip(candidates.tolist(), whole, strict=True):
        if not _cannot_be_chance(int(np.count_nonzero(values)), surprise, slices.number):
            continue
        earliest = first.setdefault(values.tobytes(), candidate)
        if earliest != candidate:
            pairs.append((candidate, earliest))
    return pairs


@functools.cache
def _draw_multipliers() -> Array:
    return np.random.default_rng(3).integers(1 << 64, size=_BEGINNING, dtype="uint64") | 1


def _make_first_positive(columns: Array) -> Array:
    # In each column, the first number that is not 0 becomes positive.
    first = columns[0]
    if not first.all():
        first = np.take_along_axis(columns, (columns != 0).argmax(axis=0)[None], axis=0)[0]
    return np.where(first < 0, -columns, columns) + 0.0  # no zero with a sign


def _describe_pairs(slices: Slices, pairs: Sequence[tuple[int, int]]) -> str:
    values = slices.values
    are_opposite = any((values[:, later] != values[:, first]).any() for later, first in pairs)
    but = " but for the sign" if are_opposite else ""
    texts = []
    for later, first in pairs:
        texts.append(f"{slices.format_index(later)} to {slices.format_index(first)}")
    named = summarize_names(texts, shown=3)
    return f"{len(pairs)} of {slices.text} equal to another{but}: {named}"


@property_test(needs=Known.KIND)
def compare_repeated(expected: Profile, actual: Profile) -> Outcome | None:
    """Test whether slices repeat others and did not, or the reverse."""
    if not (are_exact(expected, actual) or expected.repeated == NOTHING):
        return None
    if expected.repeated is None or actual.repeated is None or expected.repeated == actual.repeated:
        return None
    status, detail = actual.repeated
    if status:
        return Outcome(status, detail)
    status, detail = expected.repeated
    return Outcome(status, f"no longer {detail}")


def count_independent(reading: Reading) -> float:
    """Count the independent values with the same information as all values."""
    ordered, size = reading.ordered, reading.sample.size
    if count_bits(reading) > BITS_OF_RANDOM:
        return size * ((1 + int(np.count_nonzero(np.diff(ordered)))) / ordered.size)
    return size / _count_copies(ordered)


def _count_copies(values: Array) -> int:
    """Count the copies of each value, although few bits make values equal, too."""
    counts = np.unique(values, return_counts=True)[1]
    # By chance, 16 different values are there an even number of times in one of 65,536 cases.
    if counts.size < 16:
        return 1
    return int(np.gcd.reduce(counts))


def estimate_chance_of_equal_weights(profile: Profile) -> float:
    """Estimate the probability that another draw has the same values, 0 if it is not known."""
    if not profile.has_distribution:
        return 0.0
    chance = 2.0**-profile.bits
    if profile.bits <= BITS_OF_RANDOM or profile.independent < profile.size:
        chance = compute_largest_atom(profile)
    return math.pow(chance, profile.total * (1 - profile.zeros))


def compute_largest_atom(profile: Profile) -> float:
    """Compute the share of the most frequent value among the values of the quantiles."""
    quantiles = np.array(profile.quantiles)
    last = np.searchsorted(quantiles, quantiles, side="right") - 1
    # Of two equal values that follow each other, quantiles between them are equal.
    return (float((LEVELS[last] - LEVELS).max()) * (profile.size - 1) + 1) / profile.size


@property_test()
def compare_copies(expected: Profile, actual: Profile) -> Outcome | None:
    """Test whether single values occur several times."""
    shares = actual.independent / actual.size, expected.independent / expected.size
    are_enough = min(expected.size, actual.size) >= FEWEST_OF_SHAPE
    # Where each value is there twice, a share of 0.5 differ from each other.
    if not (are_enough and are_exact(expected, actual)) or shares[0] >= 0.6 * shares[1]:
        return None
    if compare_repeated(expected, actual) is not None:
        return None
    # Those of a law with one frequent value, such as a lower bound, differ in number by chance.
    counts = round(actual.independent), round(expected.independent)
    return Outcome(
        "copies",
        "a share of {:.2g} of the values differ from each other, expected {:.2g}".format(*shares),
        p=fisher_p_value(counts[0], actual.size, counts[1], expected.size),
        deviation=math.inf,
    )


# One draw in several weights: with a factor for each, with another sign, or in several lengths.


# A rate of false alarms: the probability that two weights have equal or opposite signs, or one
# order or the reverse, by chance. It is at least that of `_FEWEST_SIGNS` and of `_RANKS`.
CHANCE = 2.0**-42
# So many of the first values of a weight are compared by their signs, and by their order. Weights
# with fewer values are not compared. The chance of 16 ranks, 2 / 16!, is below 2**-43.
_SIGNS = 64
_RANKS = 16
# Of the signs, so many are independent at least, where values are there several times. The chance
# of these, 2 / 2**44, is 2**-43.
_FEWEST_SIGNS = 44
# Values that are sorted, or in other patterns, are no draw. Of independent values, the number of
# changes of signs is among these but for 2 of 100,000 cases (a binomial distribution), and so is
# that of values that are lower than the one before but for 4 of a million (Euler's numbers).
_USUAL_CHANGES = range(16, 49)
_USUAL_DESCENTS = range(3, 13)


def encode_signs(reading: Reading) -> str:
    """Write the signs of the first 64 values that are not 0, in 16 hexadecimal digits.

    Empty if there are fewer, or if they have less information than independent signs.
    """
    values = _take_first(reading, _SIGNS)
    are_negative = values < 0
    changes = int(np.count_nonzero(are_negative[1:] != are_negative[:-1]))
    if len(values) < _SIGNS or len(np.unique(values)) < _FEWEST_SIGNS:
        return ""
    if int(are_negative.sum()) not in _USUAL_CHANGES or changes not in _USUAL_CHANGES:
        return ""
    return np.packbits(are_negative).tobytes().hex()


def encode_ranks(reading: Reading) -> str:
    """Write the ranks of the first 16 values that are not 0, each as a hexadecimal digit.

    Empty if there are fewer, if some are equal, or if they are nearly sorted.
    """
    values = _take_first(reading, _RANKS)
    if len(values) < _RANKS or len(np.unique(values)) < _RANKS:
        return ""
    if int(np.count_nonzero(np.diff(values) < 0)) not in _USUAL_DESCENTS:
        return ""
    return "".join(f"{rank:x}" for rank in values.argsort().argsort().tolist())


def _take_first(reading: Reading, count: int) -> Array:
    # Those that are not 0.
    flat = reading.values.reshape(-1)
    beginning = flat[: 16 * count]
    first: Array = beginning[beginning != 0][:count]
    if len(first) < count < flat.size:  # for example if only the center of a window has values
        first = flat[flat != 0][:count]
    return first


def are_opposite(first: Profile, second: Profile) -> bool:
    """Return whether the values of one draw have the other sign in one of two weights."""
    for digits, other_digits in ((first.signs, second.signs), (first.ranks, second.ranks)):
        if digits and other_digits:
            return (digits[0] >= "8") != (other_digits[0] >= "8")
    return False


def _make_keys(profile: Profile) -> list[tuple[str, int]]:
    # Keys that weights of one draw have in common, whatever the sign of their factor: with another
    # sign, each digit is 15 less itself.
    keys = []
    for name, digits in (("signs", profile.signs), ("ranks", profile.ranks)):
        if digits:
            code, highest = int(digits, 16), 16 ** len(digits) - 1
            keys.append((name, min(code, highest - code)))
    return keys


def group_one_draw(profiles: Iterable[tuple[str, Profile]]) -> list[list[str]]:
    """Group weights that are one draw: the paths of each group, of weights with their paths."""
    groups: list[list[str]] = []
    group_by_key: dict[tuple[str, int], list[str]] = {}
    for path, profile in profiles:
        keys = _make_keys(profile)
        known = [group_by_key[key] for key in keys if key in group_by_key]
        group = known[0] if known else []
        if not known:
            groups.append(group)
        group.append(path)
        for key in keys:
            group_by_key.setdefault(key, group)
    return [paths for paths in groups if len(paths) > 1]


def are_independent(draws: Iterable[Profile]) -> bool:
    """Return whether the signs of draws differ as often as for independent draws."""
    codes = [int(draw.signs, 16) for draw in draws if draw.signs]
    pairs = itertools.combinations(codes, 2)
    return all((first ^ second).bit_count() in _USUAL_CHANGES for first, second in pairs)
