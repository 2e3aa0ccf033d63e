"""Slices of a weight, such as units, in which one value is there more often than by chance."""

import math
from collections.abc import Sequence

import numpy as np

from keras_initx._checks import first_of
from keras_initx._typing import Array, DType
from keras_initx.audits._repeated import (
    IMPOSSIBLE,
    MOST,
    axes_of_slices,
    axes_text,
    place_text,
    sample_of,
)

# The share of one value that rounding makes of a continuous law, at least. JAX draws no more random
# numbers than the mantissa has, and of normal values here one in 65,536 is 0.
_BY_ROUNDING = {"bfloat16": 2.0**-6, "float16": 2.0**-9}
_BY_ROUNDING_ELSE = 2.0**-16
# Values of a slice that are looked at, and at least.
_MOST_SEEN = 256
_FEWEST_SEEN = 32
# Slices that are named.
_MOST_NAMED = 3


def crowded(values: Array, dtype: DType, share: float | None = None) -> tuple[str, str]:
    """Return in which slices one value is too often there: what that is, and where.

    Both are empty if there are none. It is `"zeros"` if the value is 0 in all of them, `"constant"`
    if all values of such slices are equal, otherwise `"copies"`. Whole slices come first.

    Args:
        values: An array.
        dtype: The dtype that it was rounded to.
        share: The share of the most frequent value that is expected, by default that of `values`.
    """
    if values.ndim < 2:
        return "", ""
    frequent = max(_BY_ROUNDING.get(dtype, _BY_ROUNDING_ELSE), _share(values, share))
    first = "", ""
    for begin, end in axes_of_slices(values.shape):
        lengths = values.shape[begin:end]
        slices = values.reshape(math.prod(values.shape[:begin]), math.prod(lengths), -1)
        found = _crowded_slices(slices, frequent)
        if not found:
            continue
        are_whole = all((slices[:, index] == value).all() for index, value in found.items())
        verdict = "constant" if are_whole else "copies"
        if not any(found.values()):
            verdict = "zeros"
        where = f"{len(found)} of {slices.shape[1]} slices along {axes_text(begin, end)}"
        said = verdict, f"{where}: {_text(slices, found, lengths)}"
        if are_whole:
            return said
        first = first if first[0] else said
    return first


def _share(values: Array, share: float | None) -> float:
    """Return the share of the most frequent value, or the one expected."""
    if share is not None:
        return share
    sample = sample_of(values)
    count = int(np.unique(sample, return_counts=True)[1].max())
    # The count of another draw may be larger by chance.
    return min((count + 4 * math.sqrt(count)) / sample.size, 1.0)


def _crowded_slices(slices: Array, frequent: float) -> dict[int, float]:
    """Return the values that are too often in slices along the middle axis, by their indices.

    Args:
        slices: The array.
        frequent: The share of the most frequent value.
    """
    before, count, after = slices.shape
    size = before * after
    seen = min(size, _MOST_SEEN, max(MOST // count, _FEWEST_SEEN))
    most = _most_by_chance(seen, count, frequent)
    if most >= seen:
        return {}
    rows, columns = np.divmod(np.linspace(0, size - 1, seen).astype(int), after)
    ordered = np.sort(slices[rows, :, columns], axis=0)
    are_equal = ordered[most:] == ordered[: seen - most]  # a run that is longer than that
    found = {}
    for index in np.flatnonzero(are_equal.any(axis=0)).tolist():
        found[index] = (
            float(ordered[are_equal[:, index].argmax(), index]) + 0.0
        )  # no zero with a sign
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


def _text(slices: Array, found: dict[int, float], lengths: Sequence[int]) -> str:
    """Return the first slices with their values in words."""
    size = slices.shape[0] * slices.shape[2]
    texts = []
    for index, value in found.items():
        count = int(np.count_nonzero(slices[:, index] == value))
        how_many = "all" if count == size else f"{count} of {size}"
        texts.append(f"{how_many} of {place_text(index, lengths)} are {value:.4g}")
    return first_of(texts, shown=_MOST_NAMED)
