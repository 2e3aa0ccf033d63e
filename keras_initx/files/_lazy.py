"""Arrays of which a region is read when it is needed, and views of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np

from keras_initx._typing import Array, DType, Shape

# A slice without a step for each axis, or everything.
Selection: TypeAlias = tuple[slice, ...] | EllipsisType


@dataclass(frozen=True, eq=False)
class LazyArray:
    """An array in a file or in memory, or a view of others.

    Attributes:
        shape: Its shape.
        dtype: The name of its dtype.
        read: Function of a region that reads it, a file while it is open.
        how: What views have done to it, in words.
    """

    shape: Shape
    dtype: DType
    read: Callable[[Selection], Array]
    how: tuple[str, ...] = ()

    def expect(self, *shapes: Shape) -> "LazyArray":
        """Return the array itself, which must have one of these shapes.

        Raises:
            ValueError: If it has not. A reshape would take any shape of the same size.
        """
        if self.shape in shapes:
            return self
        raise ValueError(f"the shape is {self.shape} instead of {' or '.join(map(str, shapes))}")

    def transposed(self, *axes: int) -> "LazyArray":
        """Return the array with its axes in another order."""
        if axes == tuple(range(len(axes))):
            return self
        places = [axes.index(axis) for axis in range(len(axes))]

        def read(region: Selection) -> Array:
            own = region if region is ... else tuple(region[place] for place in places)
            return self.read(own).transpose(axes)

        shape = tuple(self.shape[axis] for axis in axes)
        return replace(self, shape=shape, read=read, how=(*self.how, "transposed"))

    def part(self, index: Any) -> "LazyArray":
        """Return what an index of NumPy gives; slices are read without the rest.

        Raises:
            IndexError: If there is no such part.
        """
        # An array of this shape that takes no memory.
        shape = np.broadcast_to(np.int8(0), self.shape)[index].shape
        text = format_index(index)
        slices = _slices_of_axes(index, len(self.shape))
        if slices is None:
            return self.changed(lambda array: array[index], shape, text)
        starts = [part.indices(n)[0] for part, n in zip(slices, self.shape, strict=True)]

        def read(region: Selection) -> Array:
            parts = (slice(None),) * len(shape) if region is ... else region
            own = []
            for start, part, length in zip(starts, parts, shape, strict=True):
                first, end, _ = part.indices(length)
                own.append(slice(start + first, start + end))
            return self.read(tuple(own))

        return replace(self, shape=shape, read=read, how=(*self.how, text))

    def reshaped(self, shape: Shape) -> "LazyArray":
        """Return the array in another shape of the same size."""
        if shape == self.shape:
            return self
        return self.changed(lambda array: array.reshape(shape), shape, "reshaped")

    def noted(self, note: str) -> "LazyArray":
        """Return the array with a note about it."""
        return replace(self, how=(*self.how, note))

    def changed(self, function: Callable[[Array], Array], shape: Shape, how: str) -> "LazyArray":
        """Return what a function makes of the whole, which is read for each region."""

        def read(region: Selection) -> Array:
            return function(self.read(...))[region]

        return replace(self, shape=shape, read=read, how=(*self.how, how))


def sum_lazily(arrays: Sequence[LazyArray]) -> LazyArray:
    """Return the sum of arrays of one shape, in float64, so that it is rounded once."""
    first = arrays[0]

    def read(region: Selection) -> Array:
        values = [array.read(region).astype("float64") for array in arrays]
        return sum(values[1:], values[0])

    return LazyArray(first.shape, "float64", read, (*first.how, "summed"))


def stack_lazily(arrays: Sequence[LazyArray]) -> LazyArray:
    """Return arrays of one shape along a new first axis."""
    first = arrays[0]
    shape = (len(arrays), *first.shape)

    def read(region: Selection) -> Array:
        rows, *others = (slice(None),) * len(shape) if region is ... else region
        return np.stack([array.read(tuple(others)) for array in arrays[rows]])

    return LazyArray(shape, first.dtype, read, (*first.how, "stacked"))


def _slices_of_axes(index: Any, rank: int) -> tuple[slice, ...] | None:
    """Return an index as a slice for each axis, or `None` if it is more than slices."""
    parts = index if isinstance(index, tuple) else (index,)
    missing = (slice(None),) * (rank - sum(part is not ... for part in parts))
    places = [place for place, part in enumerate(parts) if part is ...]
    place = places[0] if places else len(parts)
    parts = (*parts[:place], *missing, *parts[place + 1 :])
    if all(isinstance(part, slice) and part.step in (None, 1) for part in parts):
        return parts
    return None


def format_index(index: Any) -> str:
    """Return an index as source text."""
    parts = index if isinstance(index, tuple) else (index,)
    return f"[{', '.join(map(_part_text, parts))}]"


def _part_text(part: Any) -> str:
    if part is ...:
        return "..."
    if not isinstance(part, slice):
        return str(part)
    start = "" if part.start is None else part.start
    stop = "" if part.stop is None else part.stop
    if part.step is None:
        return f"{start}:{stop}"
    return f"{start}:{stop}:{part.step}"
