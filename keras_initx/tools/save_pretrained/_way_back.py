"""Where the values of a weight go in the arrays of a file: the way back through a load.

A load is a chain of functions of arrays, which says nothing of its inverse. So it is run on other
arrays than those of the file:

- On the array that is about to be written. A load that only moves axes or takes slices returns a
  view of it, `array.T`: what is written to the view is written to the array.
- If it returns a copy, on the positions in the array, `[[1, 2, 3], [4, 5, 6]]`. What comes back,
  `[[3, 6], [2, 5], [1, 4]]`, says where each value is from. Mostly that is a view in another order
  along some axes: here `array.T` with the rows `[2, 1, 0]`. A load that computes values returns
  what are no positions.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.files._casts import cast
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray, Selection

# Values that are compared, and that are moved at a time, so that this takes no memory.
_CHUNK = 1 << 16
_BLOCK = 1 << 20


class NoWayBackError(Exception):
    """Says why the values of a weight have no places in an array."""


class StandIn:
    """Reads an array of a file, or what stands in its place.

    Attributes:
        array: What stands in its place, `None` for nothing.
    """

    def __init__(self, stored: LazyArray) -> None:
        self._stored = stored
        self.array: Array | None = None

    def __call__(self, region: Selection) -> Array:
        if self.array is None:
            return self._stored.read(region)
        values: Array = self.array[region]
        return values


def with_stand_ins(contents: Contents) -> tuple[Contents, dict[str, StandIn]]:
    """Return the arrays of a file, in whose place others can be read, and what reads them."""
    arrays = Contents()
    arrays.layers = contents.layers
    arrays.are_in_order = contents.are_in_order
    stand_ins = {}
    for name, array in contents.items():
        stand_ins[name] = StandIn(array)
        arrays[name] = replace(array, read=stand_ins[name])
    return arrays, stand_ins


@contextlib.contextmanager
def _in_place(stand_ins: Mapping[str, StandIn], arrays: Mapping[str, Array]) -> Iterator[None]:
    for name, array in arrays.items():
        stand_ins[name].array = array
    try:
        yield
    finally:
        for name in arrays:
            stand_ins[name].array = None


class Places(NamedTuple):
    """Where the values of a weight go in an array.

    Attributes:
        view: A view of the array in the shape of the weight, `None` if there is none.
        orders: The order of the values along axes of this view, by axis.
        positions: Without a view the position of each value, counted from 1, and 0 for those that
            are not in the array.
    """

    view: Array | None
    orders: Mapping[int, Array] = {}
    positions: Array | None = None

    def write(self, array: Array, values: Array) -> None:
        """Write values to their places in an array, rounded to its dtype.

        Raises:
            OverflowError: If a finite number is beyond the range of this dtype.
        """
        dtype = array.dtype.name
        if self.view is not None:
            for block in _blocks(self.view):
                self.view[block] = cast(self._values_of(block, values), dtype, copy=False)
        else:
            flat = array.reshape(-1)
            for where, what in _chunks(self.positions, values):
                has_place = where > 0
                flat[where[has_place] - 1] = cast(what[has_place], dtype, copy=False)

    def have(self, array: Array, values: Array) -> bool:
        """Return whether the places have these values, rounded to the dtype of the array."""
        dtype = array.dtype.name
        if self.view is not None:
            for block in _blocks(self.view):
                if not is_equal(self.view[block], cast(self._values_of(block, values), dtype)):
                    return False
            return True
        flat = array.reshape(-1)
        for where, what in _chunks(self.positions, values):
            has_place = where > 0
            if not is_equal(flat[where[has_place] - 1], cast(what[has_place], dtype)):
                return False
        return True

    def _values_of(self, block: tuple[slice, ...], values: Array) -> Array:
        """Return the values of a block of the view."""
        parts = {axis: order[block[axis]] for axis, order in self.orders.items()}
        others = [slice(None) if axis in parts else one for axis, one in enumerate(block)]
        chosen = values[tuple(others)]
        for axis, part in sorted(parts.items(), key=lambda item: len(item[1])):
            chosen = np.take(chosen, part, axis)
        return chosen


def places_of(
    load: LazyArray,
    array: Array,
    name: str,
    sources: Mapping[str, LazyArray],
    stand_ins: Mapping[str, StandIn],
) -> Places:
    """Return where the values of a weight go in an array that is about to be written.

    Args:
        load: What is loaded into the weight.
        array: The array, whose values say nothing yet.
        name: Its name in the file.
        sources: All arrays of the file that the weight is loaded from, by name.
        stand_ins: What reads the arrays of the file.

    Raises:
        NoWayBackError: If the load does not only move values.
    """
    # A single byte in its shape shows quickly whether there is a view.
    byte = np.zeros((), np.int8)
    if len(sources) == 1:
        with _in_place(stand_ins, {name: np.broadcast_to(byte, array.shape)}):
            has_view = np.may_share_memory(load.read(...), byte)
        if has_view:
            with _in_place(stand_ins, {name: array}):
                return Places(load.read(...))
    positions = positions_of(load, name, sources, stand_ins)
    return _as_view(array, positions) or Places(None, {}, positions)


def _as_view(array: Array, positions: Array) -> Places | None:
    """Return places as a view of an array in another order along some axes, if they are one.

    Then a position is a sum of offsets, one for each axis.
    """
    if not positions.size:
        return None
    first = int(positions[(0,) * positions.ndim])
    offsets = []
    for axis in range(positions.ndim):
        line = np.moveaxis(positions, axis, -1)[(0,) * (positions.ndim - 1)]
        offsets.append(line - first)
    for block in _blocks(positions):
        parts = [offset[part] for offset, part in zip(offsets, block, strict=True)]
        if not np.array_equal(positions[block], sum(np.ix_(*parts), positions.dtype.type(first))):
            return None
    orders, strides = {}, []
    start = first - 1
    for axis, offset in enumerate(offsets):
        order = np.argsort(offset, kind="stable")
        steps = np.unique(np.diff(offset[order]))
        if len(steps) > 1:
            return None
        start += int(offset[order[0]])
        strides.append(int(steps[0]) if len(steps) else 0)
        if not np.array_equal(order, np.arange(order.size)):
            orders[axis] = order
    # Each place once: along an axis lie all places of the axes with shorter strides.
    length = 1
    for stride, count in sorted(zip(strides, positions.shape, strict=True)):
        if count > 1 and stride < length:
            return None
        length = max(length, stride * count)
    if start < 0:
        return None
    bytes_apart = [stride * array.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided(array.reshape(-1)[start:], positions.shape, bytes_apart)
    return Places(view, orders)


def _blocks(array: Array) -> Iterator[tuple[slice, ...]]:
    """Yield the blocks of an array, along the axis whose values are next to each other in memory.

    Copied by these blocks, a matrix is transposed in a fraction of the time.
    """
    if not array.ndim:
        yield ()
        return
    long = [axis for axis in range(array.ndim) if array.shape[axis] > 1]
    nearest = min(long, key=lambda axis: abs(array.strides[axis]), default=0)
    axis = nearest if nearest != array.ndim - 1 else 0
    length = array.shape[axis]
    rows = max(1, _BLOCK * length // max(1, array.size))
    for begin in range(0, length, rows):
        yield tuple(
            slice(begin, begin + rows) if one == axis else slice(None) for one in range(array.ndim)
        )


def _chunks(*arrays: Any) -> Any:
    """Return an iterator over arrays of one shape, of which it yields equal parts as vectors."""
    return np.nditer(arrays, ["external_loop", "buffered", "zerosize_ok"], buffersize=_CHUNK)


def positions_of(
    load: LazyArray, name: str, sources: Mapping[str, LazyArray], stand_ins: Mapping[str, StandIn]
) -> Array:
    """Return where each value of a weight is from in an array: its position, counted from 1.

    It is 0 for values that are not from this array.

    Args:
        load: What is loaded into a weight.
        name: The name of the array in the file.
        sources: All arrays that the weight is loaded from, by name.
        stand_ins: What reads the arrays of the file.

    Raises:
        NoWayBackError: If the load does not only move values.
    """
    arrays: dict[str, Array] = {}
    for other, one in sources.items():
        arrays[other] = np.broadcast_to(np.int32(0), one.shape)
    shape = sources[name].shape
    size = math.prod(shape)
    dtype = np.int32 if size < np.iinfo(np.int32).max else np.int64
    arrays[name] = np.arange(1, size + 1, dtype=dtype).reshape(shape)
    try:
        with _in_place(stand_ins, arrays), np.errstate(all="ignore"):
            values = load.read(...)
    except Exception as error:  # the function of a user may raise anything
        raise NoWayBackError(f"{type(error).__name__}: {error}") from None
    finally:
        del arrays
    is_number = values.dtype.kind in "iuf"
    if not is_number or (values.size and not 0 <= values.min() <= values.max() <= size):
        raise NoWayBackError("it computes values")
    if values.dtype.kind == "f":
        whole = values.astype(np.int64)
        if not np.array_equal(whole, values):
            raise NoWayBackError("it computes values")
        return whole
    return values


def is_equal(found: Array, values: Array, through: DType | None = None) -> bool:
    """Return whether two arrays have the same bits, or are both NaN, everywhere.

    Args:
        found: An array.
        values: Another one of the same dtype.
        through: The dtype that these were rounded to on their way, if any.
    """
    return not any(_differences(found, values, through))


def count_differences(found: Array, values: Array, through: DType | None = None) -> int:
    """Return how many values differ, see `is_equal`."""
    return sum(_differences(found, values, through))


def _differences(found: Array, values: Array, through: DType | None) -> Iterator[int]:
    bits = f"uint{8 * values.itemsize}"
    for one, other in _chunks(found, values):
        expected = other
        if through is not None and through != values.dtype.name:
            expected = cast(cast(other, through, copy=False), values.dtype.name, copy=False)
        differs = one.view(bits) != expected.view(bits)
        if differs.any() and one.dtype.kind not in "biu":
            differs &= ~((one != one) & (expected != expected))
        yield int(np.count_nonzero(differs))
