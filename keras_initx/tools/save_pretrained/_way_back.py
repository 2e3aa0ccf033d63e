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


def insert_stand_ins(contents: Contents) -> tuple[Contents, dict[str, StandIn]]:
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
            for block in _split_blocks(self.view):
                self.view[block] = cast(self._select_block(block, values), dtype, copy=False)
        else:
            flat = array.reshape(-1)
            for where, what in _split_chunks(self.positions, values):
                has_place = where > 0
                flat[where[has_place] - 1] = cast(what[has_place], dtype, copy=False)

    def holds(self, array: Array, values: Array) -> bool:
        """Return whether the places have these values, rounded to the dtype of the array."""
        dtype = array.dtype.name
        if self.view is not None:
            for block in _split_blocks(self.view):
                if not has_equal_bits(
                    self.view[block], cast(self._select_block(block, values), dtype)
                ):
                    return False
            return True
        flat = array.reshape(-1)
        for where, what in _split_chunks(self.positions, values):
            has_place = where > 0
            if not has_equal_bits(flat[where[has_place] - 1], cast(what[has_place], dtype)):
                return False
        return True

    def _select_block(self, block: tuple[slice, ...], values: Array) -> Array:
        """Return the values of a block of the view."""
        parts = {axis: order[block[axis]] for axis, order in self.orders.items()}
        others = [slice(None) if axis in parts else one for axis, one in enumerate(block)]
        chosen = values[tuple(others)]
        for axis, part in sorted(parts.items(), key=lambda item: len(item[1])):
            chosen = np.take(chosen, part, axis)
        return chosen


def find_destination(
    load: LazyArray,
    array: Array,
    name: str,
    sources: Mapping[str, LazyArray],
    stand_ins: Mapping[str, StandIn],
) -> Destination:
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
    """Return the positions along each axis of a weight, through its first value.

    They say all positions if each is a sum of offsets, one for each axis. It is `None` if not, or
    if there are no axes or no values.
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
    """Return whether digits are those of the sums of offsets along each axis."""
    # What is above the digit is of no account, so sums may leave the range of the dtype.
    dtype = np.dtype(f"uint{16 << number}").type
    order = sorted(range(digits.ndim), key=lambda axis: -abs(digits.strides[axis]))
    digits = digits.transpose(order)
    first = lines[0][0]
    offsets = [(lines[axis] - first).astype(dtype) for axis in order]
    for block in _split_blocks(digits):
        parts = [offset[part] for offset, part in zip(offsets, block, strict=True)]
        sums = sum(np.ix_(*parts), dtype(first))
        if not np.array_equal(digits[block], (sums >> dtype(_BITS * number)) & dtype(_BASE - 1)):
            return False
    return True


def _view_lines(array: Array, lines: Sequence[Array]) -> Destination | None:
    """Return places as a view of an array in another order along some axes, if they are one.

    Args:
        array: The array.
        lines: The positions along each axis, see `_find_lines`.
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
    # Each place once: along an axis lie all places of the axes with shorter strides.
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
    rows = max(1, _BLOCK_SIZE * length // max(1, array.size))
    for begin in range(0, length, rows):
        yield tuple(
            slice(begin, begin + rows) if one == axis else slice(None) for one in range(array.ndim)
        )


def _split_chunks(*arrays: Any) -> Any:
    """Return an iterator over arrays of one shape, of which it yields equal parts as vectors."""
    return np.nditer(arrays, ["external_loop", "buffered", "zerosize_ok"], buffersize=_CHUNK_SIZE)


def find_positions(
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
    size = math.prod(sources[name].shape)
    positions = np.zeros(load.shape, np.int32 if size <= np.iinfo(np.int32).max else np.int64)
    for number in range(_count_digits(sources[name])):
        digits = _read_digits(load, name, sources, stand_ins, number)
        positions += digits * positions.dtype.type(_BASE**number)
    if positions.max(initial=0) > size:
        raise NoWayBackError("it computes values")
    return positions


def _count_digits(array: LazyArray) -> int:
    """Return the number of digits that the positions in an array have."""
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
    """Return a digit of the position of each value, see `find_positions`. Number 0 is the lowest.

    Digits take the memory of an array in 16 bits, positions that of two.
    """
    arrays: dict[str, Array] = {}
    for other, one in sources.items():
        arrays[other] = np.broadcast_to(np.int16(0), one.shape)
    shape = sources[name].shape
    digits = np.empty(1 + math.prod(shape), np.int16)
    for begin in range(0, digits.size, _BASE):
        numbers = np.arange(_BASE) if number == 0 else np.array([begin // _BASE**number % _BASE])
        part = digits[begin : begin + _BASE]
        part[...] = numbers[: part.size]
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


def has_equal_bits(found: Array, values: Array, through: DType | None = None) -> bool:
    """Return whether two arrays have the same bits, or are both NaN, everywhere.

    Args:
        found: An array.
        values: Another one, which is cast to the dtype of the first.
        through: The dtype that these are cast to before, if any.
    """
    return not any(_count_by_block(found, values, through))


def count_differences(found: Array, values: Array, through: DType | None = None) -> int:
    """Return how many values differ, see `has_equal_bits`."""
    return sum(_count_by_block(found, values, through))


def _count_by_block(found: Array, values: Array, through: DType | None) -> Iterator[int]:
    found, values = np.atleast_1d(found), np.atleast_1d(values)
    bits = f"uint{8 * found.itemsize}"
    for block in _split_blocks(found):
        one, expected = found[block], values[block]
        for dtype in (through, found.dtype.name):
            if dtype is not None:
                expected = cast(expected, dtype, copy=False)
        differs = one.view(bits) != expected.view(bits)
        if differs.any() and one.dtype.kind not in "biu":
            differs &= ~((one != one) & (expected != expected))
        yield int(np.count_nonzero(differs))
