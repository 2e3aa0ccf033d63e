"""Where the values of a weight go in the arrays of a file: the way back through a load.

A load is a chain of functions of arrays, which says nothing of its inverse. So it is run on other
arrays than those of the file:

- On an array that is about to be written, `[[0, 0, 0], [0, 0, 0]]`. A load that only moves axes or
  takes slices returns a view of it, `array.T`: what is written to the view is written to the array.
- Otherwise on the positions in the array, `[[1, 2, 3], [4, 5, 6]]`. What it returns,
  `[[4, 1], [5, 2], [6, 3]]`, says where each value is from. A load that computes values returns
  what are no positions.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from keras_initx._typing import Array
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray, Selection

# Values that are moved or compared at a time, so that this takes no memory.
_CHUNK = 1 << 16


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


def view_of(
    load: LazyArray, array: Array, name: str, stand_ins: Mapping[str, StandIn]
) -> Array | None:
    """Return the view of an array that a load returns for it, `None` if it returns another array.

    Args:
        load: What is loaded into a weight.
        array: An array, whose values say nothing.
        name: The name of the array in the file in whose place it is read.
        stand_ins: What reads the arrays of the file.
    """
    with _in_place(stand_ins, {name: array}):
        values = load.read(...)
    is_view = np.may_share_memory(values, array) and values.dtype == array.dtype
    return values if is_view and values.flags.writeable else None


def positions_of(
    load: LazyArray, name: str, others: Mapping[str, LazyArray], stand_ins: Mapping[str, StandIn]
) -> Array:
    """Return where each value of a weight is from in an array: its position, counted from 1.

    It is 0 for values that are not from this array.

    Args:
        load: What is loaded into a weight.
        name: The name of the array in the file.
        others: All arrays that the weight is loaded from, by name.
        stand_ins: What reads the arrays of the file.

    Raises:
        NoWayBackError: If the load does not only move values.
    """
    arrays = {other: np.broadcast_to(np.int32(0), one.shape) for other, one in others.items()}
    shape = others[name].shape
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


def scatter(array: Array, positions: Array, values: Array) -> None:
    """Write values to their positions in an array, which are 0 for those that are left out."""
    flat = array.reshape(-1)
    flags = ["external_loop", "buffered", "zerosize_ok"]
    for where, what in np.nditer([positions, values], flags, buffersize=_CHUNK):
        has_place = where > 0
        if has_place.all():
            flat[where - 1] = what
        else:
            flat[where[has_place] - 1] = what[has_place]


def gather(array: Array, positions: Array, values: Array) -> Array:
    """Return the values at positions in an array, and `values` where these are 0."""
    return np.where(positions > 0, array.reshape(-1)[positions - 1], values)


def count_differences(first: Array, second: Array) -> int:
    """Return how many values of two arrays of one dtype have other bits, and are not both NaN."""
    count = 0
    bits = f"uint{8 * first.itemsize}"
    flags = ["external_loop", "buffered", "zerosize_ok"]
    for one, other in np.nditer([first, second], flags, buffersize=_CHUNK):
        differs = one.view(bits) != other.view(bits)
        if differs.any() and one.dtype.kind not in "biu":
            differs &= ~((one != one) & (other != other))
        count += int(np.count_nonzero(differs))
    return count
