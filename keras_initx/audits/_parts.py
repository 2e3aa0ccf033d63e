"""Parts of a weight along its axes: equal ones, and the slices that are farthest from the others.

A part may have a scale of its own, as a gate, or the keys beside queries; a single slice too, as a
unit or a row.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.audits._repeated import MOST

# The most equal parts of an axis, and the number of nearly equal ones where it has few equal ones.
_MOST_PARTS = 12
_FEW_PARTS = 6
# Values of a slice that are looked at, at least, if it has so many.
_FEWEST_SEEN = 64


@dataclass(frozen=True)
class Parts:
    """The values of equal parts of a weight along an axis.

    Attributes:
        axis: The axis.
        size: The number of values of a part that the numbers are of; of nearly equal ones, that of
            the smallest.
        means: The mean of each part.
        stds: The standard deviation of each part.
    """

    axis: int
    size: int
    means: tuple[float, ...]
    stds: tuple[float, ...]

    @property
    def key(self) -> tuple[int, int]:
        """The axis and the number of parts, by which those of two weights belong together."""
        return self.axis, len(self.stds)


@dataclass(frozen=True)
class Slices:
    """The slices along an axis, such as units, by those that are farthest from the others.

    Attributes:
        axis: The axis.
        size: The number of values of a slice that the numbers are of.
        number: The number of slices.
        means: The lowest and the highest mean of a slice, and the indices of both.
        stds: The lowest and the highest standard deviation of a slice, and the indices of both.
    """

    axis: int
    size: int
    number: int
    means: tuple[float, ...]
    stds: tuple[float, ...]


def parts_of(values: Array, inliers: tuple[float, float] | None) -> Iterator[Parts]:
    """Yield the statistics of equal parts along each axis.

    Where a length has few divisors, those of parts that differ in length by one are yielded too.

    Args:
        values: The values.
        inliers: If there are outliers, the median of the values, and how far from it others are.
    """
    for axis in _in_order(values.ndim):
        for count in part_counts(values.shape[axis]):
            rows = []
            for part in np.array_split(values, count, axis):
                seen = _thinned(part, axis, count).reshape(-1).astype("float64")
                if inliers is not None:
                    median, reach = inliers
                    seen[np.abs(seen - median) > reach] = median
                rows.append(seen)
            means = tuple(float(row.mean()) for row in rows)
            stds = tuple(float(row.std()) for row in rows)
            yield Parts(axis, min(row.size for row in rows), means, stds)


def _in_order(ndim: int) -> list[int]:
    """Return the first axis, the last, and those between them."""
    return list(dict.fromkeys([*range(ndim)[:1], *range(ndim)[-1:], *range(ndim)]))


def part_counts(length: int) -> list[int]:
    """Return the numbers of parts in which an axis of a length is compared."""
    equal = 1
    for number in range(2, min(length, _MOST_PARTS) + 1):
        if length % number == 0:
            equal = number
    counts = [equal] if equal > 1 else []
    if equal < _FEW_PARTS and length > _MOST_PARTS:
        counts.append(_MOST_PARTS)
    return counts


def _thinned(part: Array, axis: int, count: int) -> Array:
    """Return values of a part of an array, few enough of each of so many parts."""
    before = math.prod(part.shape[:axis])
    flat = part.reshape(before, -1)
    step = max(1, flat.size // (MOST // count))
    first = min(step, before)
    return flat[::first, :: max(1, step // first)]


def slices_of(values: Array) -> Iterator[Slices]:
    """Yield what is known of the slices along each axis."""
    for axis in _in_order(values.ndim):
        count = values.shape[axis]
        if values.ndim < 2 or count < 2:
            continue
        before = math.prod(values.shape[:axis])
        flat = values.reshape(before, count, -1)
        step = max(1, before * flat.shape[2] // max(MOST // count, _FEWEST_SEEN))
        first = min(step, before)
        seen = flat[::first, :, :: max(1, step // first)]
        size = seen.size // count
        means = seen.mean(axis=(0, 2), dtype="float64")
        centered = seen - means[:, None]
        stds = np.sqrt(np.square(centered, out=centered).mean(axis=(0, 2)))
        yield Slices(axis, size, count, _ends(means), _ends(stds))


def _ends(numbers: Array) -> tuple[float, ...]:
    """Return the lowest and the highest number, and their places."""
    low, high = int(numbers.argmin()), int(numbers.argmax())
    return float(numbers[low]), float(numbers[high]), low, high


def merged_slices(slices: tuple[Slices, ...]) -> Slices:
    """Return what several draws say of the slices along one axis: the farthest of all."""
    first = slices[0]
    means, stds = first.means, first.stds
    for other in slices[1:]:
        means = _farther(means, other.means)
        stds = _farther(stds, other.stds)
    number = sum(one.number for one in slices)
    return Slices(first.axis, first.size, number, means, stds)


def _farther(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    low = min((one[0], one[2]), (other[0], other[2]))
    high = max((one[1], one[3]), (other[1], other[3]))
    return low[0], high[0], low[1], high[1]


def parts_of_law(mean: float, std: float, size: int, shape: Shape) -> tuple[Parts, ...]:
    """Return the parts of an array whose values all have one law.

    Args:
        mean: The mean of the law.
        std: Its standard deviation.
        size: The values that a part stands for.
        shape: The shape of the array.
    """
    found = []
    for axis in _in_order(len(shape)):
        for count in part_counts(shape[axis]):
            found.append(Parts(axis, size, (mean,) * count, (std,) * count))
    return tuple(found)
