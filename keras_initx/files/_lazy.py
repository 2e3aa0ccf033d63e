"""Arrays that read a region when it is needed, and views of them.

    array = LazyArray((6, 4), "float32", read)
    view = array.transposed(1, 0).part(np.s_[:2])     nothing is read yet
    view.read(np.s_[:, :3])                           reads array[:3, :2]
    view.how                                          ("transposed", "[:2]")

A *region* is a slice without a step for each axis, or everything.
"""

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
        read: Function that reads a region. A file must be open.
        how: The changes that views have made, in words.
    """

    shape: Shape
    dtype: DType
    read: Callable[[Selection], Array]
    how: tuple[str, ...] = ()

    def expect(self, *shapes: Shape) -> "LazyArray":
        """Return the array itself, or raise an error unless it has one of these shapes.

        Use it before a reshape, which would take any shape of the same size.

        Raises:
            ValueError: If it has another shape.
        """
        if self.shape in shapes:
            return self
        raise ValueError(f"the shape is {self.shape} instead of {' or '.join(map(str, shapes))}")

    def transposed(self, *axes: int) -> "LazyArray":
        """Return the array with its axes in another order."""
        if axes == tuple(range(len(axes))):
            return self
        source_axes = [axes.index(axis) for axis in range(len(axes))]

        def read(region: Selection) -> Array:
            source_region = (
                region
                if region is ...
                else tuple(region[source_axis] for source_axis in source_axes)
            )
            return self.read(source_region).transpose(axes)

        shape = tuple(self.shape[axis] for axis in axes)
        return replace(self, shape=shape, read=read, how=(*self.how, "transposed"))

    def part(self, index: Any) -> "LazyArray":
        """Return the array at an index of NumPy; slices are read without the rest.

        Raises:
            IndexError: If the array has no such index.
        """
        # An array of this shape that takes no memory.
        shape = np.broadcast_to(np.int8(0), self.shape)[index].shape
        text = format_index(index)
        slices = _list_slices(index, len(self.shape))
        if slices is None:
            return self.changed(lambda array: array[index], shape, text)
        pairs = zip(slices, self.shape, strict=True)
        starts = [selected.indices(length)[0] for selected, length in pairs]

        def read(region: Selection) -> Array:
            selection = (slice(None),) * len(shape) if region is ... else region
            source_region = []
            for start, selected, length in zip(starts, selection, shape, strict=True):
                first, end, _ = selected.indices(length)
                source_region.append(slice(start + first, start + end))
            return self.read(tuple(source_region))

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
        """Return the result of a function of the whole array, which is read for each region."""

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


def join_lazily(arrays: Sequence[LazyArray], how: tuple[str, ...], axis: int = 0) -> LazyArray:
    """Return arrays of one dtype one after the other along an axis, with the changes in `how`."""
    first = arrays[0]
    length = sum(array.shape[axis] for array in arrays)
    shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])

    def read(region: Selection) -> Array:
        joined: Array | None = None
        end = 0
        for array in arrays:  # one at a time, so that only one is in memory next to the result
            values = array.read(...)
            if joined is None:
                joined = np.empty(shape, values.dtype)
            begin, end = end, end + values.shape[axis]
            joined[(slice(None),) * axis + (slice(begin, end),)] = values
        assert joined is not None
        return joined[region]

    return LazyArray(shape, first.dtype, read, how)


def _list_slices(index: Any, rank: int) -> tuple[slice, ...] | None:
    # A slice for each axis, or `None` if the index has more than slices without a step.
    indices = index if isinstance(index, tuple) else (index,)
    missing = (slice(None),) * (rank - sum(entry is not ... for entry in indices))
    ellipses = [position for position, entry in enumerate(indices) if entry is ...]
    position = ellipses[0] if ellipses else len(indices)
    indices = (*indices[:position], *missing, *indices[position + 1 :])
    if all(isinstance(entry, slice) and entry.step in (None, 1) for entry in indices):
        return indices
    return None


def format_index(index: Any) -> str:
    """Format an index as source text: `[:2, ..., 0]`."""
    indices = index if isinstance(index, tuple) else (index,)
    return f"[{', '.join(map(_format_axis, indices))}]"


def _format_axis(entry: Any) -> str:
    if entry is ...:
        return "..."
    if not isinstance(entry, slice):
        return str(entry)
    start = "" if entry.start is None else entry.start
    stop = "" if entry.stop is None else entry.stop
    if entry.step is None:
        return f"{start}:{stop}"
    return f"{start}:{stop}:{entry.step}"
