"""Find the places of a weight's values in the arrays of a file: the way back through a load.

A load is a chain of functions of arrays, which has no inverse. So the load runs on other arrays
than the arrays of the file. A *stand-in* reads an array of the file, or another array in its place:

- First the array that is about to be written. A load that only moves axes or takes slices returns a
  *view* of it, `array.T`: values that are written to the view are written to the array.
- If the load returns a copy, the *coordinates* along an axis of the array, such as the columns
  `[[1, 2, 3], [1, 2, 3]]`, which take no memory. Here it returns `[[3, 3], [2, 2], [1, 1]]`: the
  first row of the weight was the third column of the array. If a load computes values, it returns
  no coordinates.

The coordinates along all axes give the *position* in the array, where `[[1, 2, 3], [4, 5, 6]]` are
counted. Mostly the weight is a view in another *order* along some axes: here `array.T` with the
rows `[2, 1, 0]`. A *line* has the positions along one axis of the weight, through its first value:
here `[3, 2, 1]` and `[3, 6]`.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from keras_initx._typing import Array, DType, Shape
from keras_initx.files._casts import cast
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray, Selection
from keras_initx.tools.load_pretrained._parametrized import Parametrized

# Values that are moved or compared at a time, so that this takes no memory.
_CHUNK_SIZE = 1 << 16
_BLOCK_SIZE = 1 << 20
# If an array is transposed on the way: values next to each other that are moved at a time, so that
# they are read from the cache of the processor, and axes that have too few of them.
_RUN = 64
_SHORT = 16


class NoWayBackError(Exception):
    """Raised if a load does not only move values. Its text is the reason."""


class StandIn:
    """Reads an array of a file, or another one in its place.

    Attributes:
        array: The array in its place, `None` for none.
    """

    def __init__(self, stored: LazyArray) -> None:
        self._stored = stored
        self.array: Array | None = None

    def __call__(self, region: Selection) -> Array:
        if self.array is None:
            return self._stored.read(region)
        values: Array = self.array[region]
        return values


def insert_stand_ins(contents: Contents) -> tuple[Contents, dict[str, StandIn]]:
    """Make copies of the arrays of a file that stand-ins read, and these stand-ins by name."""
    arrays = Contents()
    arrays.layers = contents.layers
    arrays.are_in_order = contents.are_in_order
    stand_ins = {}
    for name, array in contents.items():
        stand_ins[name] = StandIn(array)
        arrays[name] = replace(array, read=stand_ins[name])
    return arrays, stand_ins


def insert_stand_ins_of_computed(
    parametrized: Mapping[str, Parametrized], stand_ins: dict[str, StandIn]
) -> dict[str, Parametrized]:
    """Make weights that are computed from arrays of a file read from stand-ins of their own.

    Args:
        parametrized: The weights, by name.
        stand_ins: The stand-ins of the file, to which those of the weights are added.
    """
    inserted = dict(parametrized)
    for name, weight in parametrized.items():
        if weight.array is not None:
            stand_ins[name] = StandIn(weight.array)
            array = replace(weight.array, read=stand_ins[name])
            inserted[name] = replace(weight, array=array)
    return inserted


@contextlib.contextmanager
def _replace_arrays(
    stand_ins: Mapping[str, StandIn], arrays: Mapping[str, Array]
) -> Iterator[None]:
    for name, array in arrays.items():
        stand_ins[name].array = array
    try:
        yield
    finally:
        for name in arrays:
            stand_ins[name].array = None


class Destination(NamedTuple):
    """The places of the values of a weight in an array.

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
            for block in _split_blocks(self.view):
                self.view[block] = cast(self._select_block(block, values), dtype, copy=False)
        else:
            flat = array.reshape(-1)
            for positions, chunk in _split_chunks(self.positions, values):
                is_in_array = positions > 0
                flat[positions[is_in_array] - 1] = cast(chunk[is_in_array], dtype, copy=False)

    def holds(self, array: Array, values: Array) -> bool:
        """Return whether an array has these values in their places, rounded to its dtype."""
        dtype = array.dtype.name
        if self.view is not None:
            for block in _split_blocks(self.view):
                if not has_equal_bits(
                    self.view[block], cast(self._select_block(block, values), dtype)
                ):
                    return False
            return True
        flat = array.reshape(-1)
        for positions, chunk in _split_chunks(self.positions, values):
            is_in_array = positions > 0
            expected = cast(chunk[is_in_array], dtype)
            if not has_equal_bits(flat[positions[is_in_array] - 1], expected):
                return False
        return True

    def _select_block(self, block: tuple[slice, ...], values: Array) -> Array:
        # The values of a block of the view, which has some axes in another order.
        orders = {axis: order[block[axis]] for axis, order in self.orders.items()}
        slices = [slice(None) if axis in orders else cut for axis, cut in enumerate(block)]
        selected = values[tuple(slices)]
        # The axis that leaves the fewest values first.
        for axis, order in sorted(orders.items(), key=lambda item: len(item[1])):
            selected = np.take(selected, order, axis)
        return selected


def find_destination(
    load: LazyArray,
    array: Array,
    name: str,
    sources: Mapping[str, LazyArray],
    stand_ins: Mapping[str, StandIn],
) -> Destination:
    """Find the destination of the values of a weight in an array that is about to be written.

    Args:
        load: The array that is loaded into the weight, read through stand-ins.
        array: The new array, whose values are not set yet.
        name: Its name in the file.
        sources: All arrays of the file that the weight is loaded from, by name.
        stand_ins: The stand-ins of the arrays of the file.

    Raises:
        NoWayBackError: If the load does not only move values.
    """
    # A single byte, broadcast to the shape of the array, shows quickly whether there is a view.
    byte = np.zeros((), np.int8)
    if len(sources) == 1:
        with _replace_arrays(stand_ins, {name: np.broadcast_to(byte, array.shape)}):
            has_view = np.may_share_memory(load.read(...), byte)
        if has_view:
            with _replace_arrays(stand_ins, {name: array}):
                return Destination(load.read(...))
    lines = _find_lines(load, name, sources, stand_ins)
    view = None if lines is None else _view_lines(array, lines)
    return view or Destination(None, {}, find_positions(load, name, sources, stand_ins))


def _find_lines(
    load: LazyArray, name: str, sources: Mapping[str, LazyArray], stand_ins: Mapping[str, StandIn]
) -> list[Array] | None:
    """Find the lines of a weight, if they show all positions.

    They show all positions if each coordinate is a sum of offsets, one for each axis. The result is
    `None` if not, or if there are no axes or no values.
    """
    if not load.shape or not math.prod(load.shape):
        return None
    lines = [np.ones(length, np.int64) for length in load.shape]
    for numbers, stride in _list_coordinates(sources[name].shape):
        along_axes = _split_sums(_read_coordinates(load, name, sources, stand_ins, numbers))
        if along_axes is None:
            return None
        for line, along in zip(lines, along_axes, strict=True):
            line += (along.astype(np.int64) - 1) * stride
    return lines


def _split_sums(coordinates: Array) -> list[Array] | None:
    """Find the coordinates along each axis, if the others are sums of their offsets."""
    along_axes = []
    for axis in range(coordinates.ndim):
        along = np.moveaxis(coordinates, axis, -1)[(0,) * (coordinates.ndim - 1)]
        along_axes.append(along.copy())
    first = int(coordinates.flat[0])
    wide = np.promote_types(coordinates.dtype, np.int32)
    axes = _sort_axes(coordinates)
    coordinates = coordinates.transpose(axes)
    for block in _split_blocks(coordinates):
        pairs = zip(axes, block, strict=True)
        offsets = [along_axes[axis][cut].astype(wide) - first for axis, cut in pairs]
        if not np.array_equal(coordinates[block], sum(np.ix_(*offsets), wide.type(first))):
            return None
    return along_axes


def _view_lines(array: Array, lines: Sequence[Array]) -> Destination | None:
    """Make the destination as a view of an array in another order along some axes, if possible.

    Sorted, a line must have equal steps: `[3, 2, 1]` is an axis of stride 1 in the order
    `[2, 1, 0]`, and `[3, 6]` an axis of stride 3.

    Args:
        array: The array.
        lines: See `_find_lines`.
    """
    orders, strides = {}, []
    first = int(lines[0][0])
    start = first - 1
    for axis, line in enumerate(lines):
        order = np.argsort(line, kind="stable")
        steps = np.unique(np.diff(line[order]))
        if len(steps) > 1:
            return None
        start += int(line[order[0]]) - first
        strides.append(int(steps[0]) if len(steps) else 0)
        if not np.array_equal(order, np.arange(order.size)):
            orders[axis] = order
    shape = [line.size for line in lines]
    # Each value of the array at most once: a stride reaches over the axes with shorter strides.
    length = 1
    for stride, count in sorted(zip(strides, shape, strict=True)):
        if count > 1 and stride < length:
            return None
        length = max(length, stride * count)
    end = start + sum(stride * (count - 1) for stride, count in zip(strides, shape, strict=True))
    if start < 0 or end >= array.size:
        return None
    bytes_apart = [stride * array.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided(array.reshape(-1)[start:], shape, bytes_apart)
    return Destination(view, orders)


def _sort_axes(array: Array) -> list[int]:
    # The nearest axis in memory last.
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))


def _split_blocks(array: Array) -> Iterator[tuple[slice, ...]]:
    """Split an array into blocks that are quickly written from values in another order of axes.

    An array that is transposed is split along the axes whose values are next to each other in
    memory. NumPy writes these one after the other, and so reads values that are far apart. In a
    block these are few, and their neighbours are still in the cache when they are read.
    """
    block = [slice(None)] * array.ndim
    long = [axis for axis in range(array.ndim) if array.shape[axis] > 1]
    sorted_axes = [axis for axis in _sort_axes(array) if axis in long]
    short: list[int] = []
    if not long:
        yield tuple(block)
        return
    is_transposed = sorted_axes != long and array.size > _CHUNK_SIZE
    if is_transposed:
        while len(sorted_axes) > 1 and array.shape[sorted_axes[-1]] <= _SHORT:
            short.append(sorted_axes.pop())
    # One index of each short axis at a time, and some rows of another axis.
    split_axis = sorted_axes[-1] if is_transposed else long[0]
    lengths = [array.shape[axis] for axis in short]
    values_per_row = max(1, array.size // (math.prod(lengths) * array.shape[split_axis]))
    size, fewest_rows = (_CHUNK_SIZE, _RUN) if is_transposed else (_BLOCK_SIZE, 1)
    rows = max(fewest_rows, size // values_per_row)
    for indices in np.ndindex(*lengths):
        for short_axis, index in zip(short, indices, strict=True):
            block[short_axis] = slice(index, index + 1)
        for begin in range(0, array.shape[split_axis], rows):
            block[split_axis] = slice(begin, begin + rows)
            yield tuple(block)


def _split_chunks(*arrays: Any) -> Any:
    # Yields parts of arrays of one shape as vectors, which belong together.
    return np.nditer(arrays, ["external_loop", "buffered", "zerosize_ok"], buffersize=_CHUNK_SIZE)


def find_positions(
    load: LazyArray, name: str, sources: Mapping[str, LazyArray], stand_ins: Mapping[str, StandIn]
) -> Array:
    """Find the position in an array of each value of a weight, counted from 1.

    It is 0 for values that are not from this array.

    Args:
        load: The array that is loaded into the weight, read through stand-ins.
        name: The name of the array in the file.
        sources: All arrays that the weight is loaded from, by name.
        stand_ins: The stand-ins of the arrays of the file.

    Raises:
        NoWayBackError: If the load does not only move values.
    """
    size = math.prod(sources[name].shape)
    positions = np.ones(load.shape, np.int32 if size <= np.iinfo(np.int32).max else np.int64)
    for numbers, stride in _list_coordinates(sources[name].shape):
        coordinates = _read_coordinates(load, name, sources, stand_ins, numbers)
        offsets = coordinates.astype(positions.dtype)
        offsets -= 1
        offsets *= stride
        positions += offsets
    # The coordinates of values that are not from this array are 0, so their position is less.
    return np.maximum(positions, 0, out=positions)


def _list_coordinates(shape: Shape) -> list[tuple[Array, int]]:
    """List the coordinates along each axis, with the distance between their positions.

    The coordinates of the shape `(2, 3)` are `[[1], [2]]`, which are 3 apart, and `[1, 2, 3]`.
    """
    coordinates = []
    for axis, length in enumerate(shape):
        if length > 1:
            # Every framework has signed integers. Small ones take less memory.
            dtype = np.promote_types(np.int16, np.min_scalar_type(-length - 1))
            numbers = np.arange(1, length + 1, dtype=dtype)
            behind = shape[axis + 1 :]
            coordinates.append((numbers.reshape(-1, *(1,) * len(behind)), math.prod(behind)))
    return coordinates or [(np.ones((), np.int16), 1)]


def _read_coordinates(
    load: LazyArray,
    name: str,
    sources: Mapping[str, LazyArray],
    stand_ins: Mapping[str, StandIn],
    numbers: Array,
) -> Array:
    """Read the coordinate of each value along one axis; it is 0 for values of other arrays."""
    arrays: dict[str, Array] = {}
    for source, stored in sources.items():
        in_array = numbers if source == name else numbers.dtype.type(0)
        arrays[source] = np.broadcast_to(in_array, stored.shape)
    try:
        with _replace_arrays(stand_ins, arrays), np.errstate(all="ignore"):
            values = load.read(...)
    except Exception as error:  # the function of a user may raise anything
        raise NoWayBackError(f"{type(error).__name__}: {error}") from None
    are_coordinates = values.dtype.kind in "iuf"
    if are_coordinates and values.size:
        are_coordinates = bool(0 <= values.min() <= values.max() <= numbers.size)
    whole = values.astype(numbers.dtype, copy=False) if are_coordinates else None
    if whole is None or (whole is not values and not np.array_equal(whole, values)):
        raise NoWayBackError("it computes values")
    return whole


def has_equal_bits(array: Array, values: Array, through: DType | None = None) -> bool:
    """Return whether two arrays have the same bits, or are both NaN, everywhere.

    Args:
        array: An array.
        values: Another one, which is cast to the dtype of the first.
        through: The dtype that these are cast to before, if any.
    """
    return not any(_count_by_block(array, values, through))


def count_differences(array: Array, values: Array, through: DType | None = None) -> int:
    """Count the values that differ, see `has_equal_bits`."""
    return sum(_count_by_block(array, values, through))


def _count_by_block(array: Array, values: Array, through: DType | None) -> Iterator[int]:
    array, values = np.atleast_1d(array), np.atleast_1d(values)
    bits = f"uint{8 * array.itemsize}"
    # NumPy compares arrays along their last axis, if they differ in which one is nearest.
    axes = _sort_axes(array)
    array, values = array.transpose(axes), values.transpose(axes)
    for block in _split_blocks(array):
        stored, expected = array[block], values[block]
        for dtype in (through, array.dtype.name):
            if dtype is not None:
                expected = cast(expected, dtype, copy=False)
        differs = stored.view(bits) != expected.view(bits)
        if differs.any() and stored.dtype.kind not in "biu":
            differs &= ~((stored != stored) & (expected != expected))
        yield int(np.count_nonzero(differs))
