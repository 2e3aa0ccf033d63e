"""Which values of a weight are looked at, and whether some of them repeat others."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from keras_initx._checks import first_of
from keras_initx._typing import Array, DType, Shape

# Elements that are compared with a distribution. With so many, a standard deviation is known to
# 0.3 %. The extremes are those of all elements.
SAMPLE = 1 << 16
# Elements of which the moments are computed.
MOST = 1 << 18
# Elements of which is counted how many are equal.
_COUNTED = 1 << 12
# Fewer values of a slice along several axes may be equal to those of another by chance.
_FEWEST = 16
# Values of a slice that are compared before all are.
_BEGINNING = 16
# Pairs of equal slices that are named.
_MOST_PAIRS = 3
# Parts of an axis, such as shards.
_PARTS = (8, 4, 3, 2)
# With a smaller probability, something counts as impossible.
IMPOSSIBLE = 1e-9


def sampled(values: Array) -> Array:
    """Return all values, or 262,144 of them, as a vector."""
    return sample_of(values, MOST, run=4096)


def sample_of(values: Array, size: int = SAMPLE, run: int = 64) -> Array:
    """Return at most `size` of the values, in runs from all parts."""
    flat = values.reshape(-1)
    if flat.size <= size:
        return flat
    runs = size // run
    stratum = flat.size / runs
    room = np.random.default_rng(0).random(runs) * (stratum - run)
    starts = (np.arange(runs) * stratum + room).astype(int)
    return flat[starts[:, None] + np.arange(run)].reshape(-1)


def epsilon(dtype: DType) -> float:
    """Return the distance of 1 to the next larger number of `dtype`."""
    return {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(dtype, 2.0**-23)


def repeated(values: Array, dtype: DType) -> tuple[str, str]:
    """Return what is equal within an array, and cannot be so by chance: its name, and where.

    Both are empty if nothing is. `"copies"` are equal parts along an axis, as of shards that are
    drawn with one seed. `"equal slices"` may be equal but for the sign: slices along each axis,
    such as units, inputs or heads, and along the first or the last axes together, such as the units
    of all heads.
    """
    surprise = -math.log(_chance_of_equality(values, dtype))
    for axis, length in enumerate(values.shape):
        for count in _PARTS:
            size = length // count
            # Most arrays differ in the first place already.
            if length % count or not np.array_equal(
                values.take([0], axis), values.take([size], axis)
            ):
                continue
            first, *others = np.split(values, count, axis)
            if not _cannot_be_chance(int(np.count_nonzero(first)), surprise, count):
                continue
            if all(np.array_equal(first, other) for other in others):
                return "copies", f"{count} equal parts along axis {axis}"
    for begin, end in axes_of_slices(values.shape):
        lengths = values.shape[begin:end]
        slices = values.reshape(math.prod(values.shape[:begin]), math.prod(lengths), -1)
        found = _equal_slices(slices, surprise)
        if found:
            are_opposite = any((slices[:, one] != slices[:, other]).any() for one, other in found)
            but = " but for the sign" if are_opposite else ""
            where = f"{slices.shape[1]} slices along {axes_text(begin, end)}"
            pairs = _pairs_text(found, lengths)
            return "equal slices", f"{len(found)} of {where} equal to another{but}: {pairs}"
    return "", ""


def _chance_of_equality(values: Array, dtype: DType) -> float:
    """Return the probability that two values that are not 0 are equal."""
    sample = sample_of(values, _COUNTED)
    sample = sample[sample != 0]
    counts = np.unique(sample, return_counts=True)[1].astype("float64")
    pairs = sample.size * (sample.size - 1)
    share = float((counts * (counts - 1)).sum()) / pairs if pairs else 1.0
    # JAX draws no more random bits than the mantissa has.
    return max(share, epsilon(dtype))


def _cannot_be_chance(count: int, surprise: float, slices: int) -> bool:
    """Return whether two of so many slices cannot be equal by chance.

    Args:
        count: The number of values of a slice that are not 0.
        surprise: The negative logarithm of the probability that two are equal.
        slices: The number of slices.
    """
    return count * surprise > math.log(slices**2 / IMPOSSIBLE)


def axes_of_slices(shape: Shape) -> list[tuple[int, int]]:
    """Return the first and last axes whose indices count slices, the fewest slices first."""
    ndim = len(shape)
    found = [(axis, axis + 1) for axis in range(ndim)]
    for cut in range(1, ndim):
        for first, last in ((0, cut), (cut, ndim)):
            others = math.prod(shape) // math.prod(shape[first:last])
            if last - first > 1 and others >= _FEWEST:
                found.append((first, last))
    return sorted(found, key=lambda axes: math.prod(shape[slice(*axes)]))


def _equal_slices(slices: Array, surprise: float) -> list[tuple[int, int]]:
    """Return the slices along the middle axis that are equal or opposite to an earlier one.

    Each stands with that one. Those that may be equal by chance are left out.
    """
    before, count, after = slices.shape
    if not _cannot_be_chance(before * after, surprise, count):
        return []
    places = np.linspace(0, before * after - 1, min(before * after, _BEGINNING)).astype(int)
    rows, columns = np.divmod(places, after)
    beginnings = _without_sign(slices[rows, :, columns])
    bits = np.ascontiguousarray(beginnings, "float32").view("uint32").astype("uint64")
    codes = _multipliers()[: len(places)] @ bits
    ordered = np.sort(codes)
    repeated_codes = ordered[1:][ordered[1:] == ordered[:-1]]
    if not repeated_codes.size:
        return []
    candidates = np.flatnonzero(np.isin(codes, repeated_codes))
    whole = slices[:, candidates].transpose(0, 2, 1).reshape(-1, len(candidates))
    whole = np.ascontiguousarray(_without_sign(whole).T)
    first: dict[bytes, int] = {}
    found = []
    for candidate, values in zip(candidates.tolist(), whole, strict=True):
        if not _cannot_be_chance(int(np.count_nonzero(values)), surprise, count):
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


def axes_text(first: int, last: int) -> str:
    if last == first + 1:
        return f"axis {first}"
    return f"axes {first} to {last - 1}"


def place_text(index: int, lengths: Sequence[int]) -> str:
    """Return the place of a slice along axes of these lengths."""
    return f"[{', '.join(map(str, np.unravel_index(index, lengths)))}]"


def _pairs_text(pairs: Sequence[tuple[int, int]], lengths: Shape) -> str:
    """Return the places of the first slices that are equal, along axes of these lengths."""
    texts = []
    for one, other in pairs:
        texts.append(f"{place_text(one, lengths)} to {place_text(other, lengths)}")
    return first_of(texts, shown=_MOST_PAIRS)
