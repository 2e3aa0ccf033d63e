"""Find the places of a weight's values in the arrays of a file: the way back through a load.

A load is a chain of functions of arrays, which has no inverse. So the load runs on other arrays
than the arrays of the file. A *stand-in* reads an array of the file, or another array in its place:

- First the array that is about to be written. A load that only moves axes or takes slices returns a
  *view* of it, `array.T`: values that are written to the view are written to the array.
- If the load returns a copy, the *positions* in the array, `[[1, 2, 3], [4, 5, 6]]`. Here it
  returns `[[3, 6], [2, 5], [1, 4]]`, so the first value of the weight is the third one of the
  array. Mostly that is a view in another *order* along some axes: here `array.T` with the rows
  `[2, 1, 0]`. If a load computes values, it returns no positions.

A *line* has the positions along one axis of the weight, through its first value: here `[3, 2, 1]`
and `[3, 6]`.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.files._casts import cast
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray, Selection

# Values that are moved or compared at a time, so that this takes no memory.
_CHUNK_SIZE = 1 << 16
_BLOCK_SIZE = 1 << 20
# Positions are read in digits of 15 bits, which every framework has signed integers for.
_BITS = 15
_BASE = 1 << _BITS


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

    They show all positions if each position is a sum of offsets, one for each axis. The result is
    `None` if not, or if there are no axes or no values.
    """
    if not load.shape or not math.prod(load.shape):
        return None
    lines = [np.zeros(length, np.int64) for length in load.shape]
    for number in range(_count_digits(sources[name])):
        digits = _read_digits(load, name, sources, stand_ins, number)
        for axis, line in enumerate(lines):
            along = np.moveaxis(digits, axis, -1)[(0,) * (digits.ndim - 1)]
            line += along.astype(np.int64) * _BASE**number
        if not _are_sums(digits, lines, number):
            return None
    return lines


def _are_sums(digits: Array, lines: Sequence[Array], number: int) -> bool:
    """Return whether the digits come from sums of offsets along each axis."""
    # Only this digit of a sum is compared, so higher digits may leave the range of the dtype.
    dtype = np.dtype(f"uint{16 << number}").type
    order = sorted(range(digits.ndim), key=lambda axis: -abs(digits.strides[axis]))
    digits = digits.transpose(order)
    first = lines[0][0]
    offsets = [(lines[axis] - first).astype(dtype) for axis in order]
    for block in _split_blocks(digits):
        offsets_in_block = [offset[cut] for offset, cut in zip(offsets, block, strict=True)]
        sums = sum(np.ix_(*offsets_in_block), dtype(first))
        if not np.array_equal(digits[block], (sums >> dtype(_BITS * number)) & dtype(_BASE - 1)):
            return False
    return True


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


def _split_blocks(array: Array) -> Iterator[tuple[slice, ...]]:
    """Split an array into blocks along the axis whose values are next to each other in memory.

    Copied by these blocks, a matrix is transposed in a fraction of the time.
    """
    if not array.ndim:
        yield ()
        return
    long = [axis for axis in range(array.ndim) if array.shape[axis] > 1]
    nearest = min(long, key=lambda axis: abs(array.strides[axis]), default=0)
    axis = nearest if nearest != array.ndim - 1 else 0
    length = array.shape[axis]
    rows = max(1, _BLOCK_SIZE * length // max(1, array.size))
    for begin in range(0, length, rows):
        block = [slice(None)] * array.ndim
        block[axis] = slice(begin, begin + rows)
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
    positions = np.zeros(load.shape, np.int32 if size <= np.iinfo(np.int32).max else np.int64)
    for number in range(_count_digits(sources[name])):
        digits = _read_digits(load, name, sources, stand_ins, number)
        positions += digits * positions.dtype.type(_BASE**number)
    if positions.max(initial=0) > size:
        raise NoWayBackError("it computes values")
    return positions


def _count_digits(array: LazyArray) -> int:
    count, size = 1, math.prod(array.shape)
    while size >= _BASE**count:
        count += 1
    return count


def _read_digits(
    load: LazyArray,
    name: str,
    sources: Mapping[str, LazyArray],
    stand_ins: Mapping[str, StandIn],
    number: int,
) -> Array:
    """Read one digit of the position of each value, see `find_positions`. Number 0 is the lowest.

    Digits take half the memory of positions.
    """
    arrays: dict[str, Array] = {}
    for source, stored in sources.items():
        arrays[source] = np.broadcast_to(np.int16(0), stored.shape)
    shape = sources[name].shape
    digits = np.empty(1 + math.prod(shape), np.int16)
    for begin in range(0, digits.size, _BASE):
        numbers = np.arange(_BASE) if number == 0 else np.array([begin // _BASE**number % _BASE])
        run = digits[begin : begin + _BASE]
        run[...] = numbers[: run.size]
    arrays[name] = digits[1:].reshape(shape)
    del digits
    try:
        with _replace_arrays(stand_ins, arrays), np.errstate(all="ignore"):
            values = load.read(...)
    except Exception as error:  # the function of a user may raise anything
        raise NoWayBackError(f"{type(error).__name__}: {error}") from None
    finally:
        del arrays
    are_digits = values.dtype.kind in "iuf"
    if are_digits and values.size:
        are_digits = bool(0 <= values.min() <= values.max() < _BASE)
    whole = values.astype(np.int16, copy=False) if are_digits else None
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
    for block in _split_blocks(array):
        stored, expected = array[block], values[block]
        for dtype in (through, array.dtype.name):
            if dtype is not None:
                expected = cast(expected, dtype, copy=False)
        differs = stored.view(bits) != expected.view(bits)
        if differs.any() and stored.dtype.kind not in "biu":
            differs &= ~((stored != stored) & (expected != expected))
        yield int(np.count_nonzero(differs))
