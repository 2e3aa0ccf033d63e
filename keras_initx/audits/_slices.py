"""Slices of an array along its axes, such as units, inputs or heads."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_initx._typing import Array, Shape


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
