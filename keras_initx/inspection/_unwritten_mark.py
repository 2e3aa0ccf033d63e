"""Mark values before they are written, by the bits of a NaN that no computation makes.

`loading` marks the weights of a model before a user's code writes them, and counts the marks
afterward. A float32 that was never written has the bits 0x7FD2D2D1; the NaN of a computation has
0x7FC00000. This distinguishes two meanings of NaN: `Count(unwritten=3, nan=1)`.
"""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._typing import Array, Tensor
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.backends._moments import iterate_chunks
from keras_initx.inspection._weights import ModelWeight, is_quantized

# The bits of a value that was never written. In floating-point numbers they are a NaN, but none
# that computations or files have; those of float32 and float64 are one, so that it survives where a
# weight is read in the other. An integer has no NaN: it counts only where a whole weight has it.
BITS = {
    "float16": 0x7E96,
    "bfloat16": 0x7FD2,
    "float32": 0x7FD2D2D1,
    "float64": 0x7FFA5A5A20000000,
    "int8": 0x5A,
    "uint8": 0x5A,
}
# The largest bits, without the sign, of a number that is no NaN: infinity.
_INFINITY_BITS = {
    "float16": 0x7C00,
    "bfloat16": 0x7F80,
    "float32": 0x7F800000,
    "float64": 0x7FF0000000000000,
}


def can_be_marked(weight: ModelWeight) -> bool:
    """Return whether a weight has floating-point numbers, or the integers of a quantized layer."""
    if weight.dtype in DTYPES:
        return True
    return weight.dtype in BITS and is_quantized(weight.layer)


class Count(NamedTuple):
    """The number of values of a weight with the mark, and the number of other NaN."""

    unwritten: int
    nan: int


def count_unwritten(value: Tensor) -> Count:
    """Count the values of a weight that were never written, and the values that are another NaN.

    Processes that share the weight get the same counts.
    """
    if backend.available_dtype(keras.backend.standardize_dtype(value.dtype)) not in BITS:
        return Count(0, 0)
    unwritten = nan = size = 0
    for _, values in backend.parts(value, counted_once=True):
        size += values.size
        for chunk in iterate_chunks(values):
            marked = int(np.count_nonzero(_is_unwritten(chunk)))
            unwritten += marked
            if marked < chunk.size:
                nan += _count_nan(chunk) - marked
    if backend.is_shared(value):
        counts = np.array([unwritten, nan, size], "uint64")
        unwritten, nan, size = map(int, backend.from_processes(counts, value).sum(axis=0))
    if keras.backend.standardize_dtype(value.dtype) not in DTYPES:
        unwritten = size if unwritten == size else 0
        nan = 0
    return Count(unwritten, nan)


def is_any_written(value: Tensor) -> bool:
    """Return whether a weight has a value without the mark in this process."""
    for _, values in backend.parts(value):
        if not all(_is_unwritten(chunk).all() for chunk in iterate_chunks(values)):
            return True
    return False


def unwritten_mask(value: Tensor) -> Tensor:
    """Return a mask of the values that were never written, in the layout of the weight."""

    def mask(region: Region | None, values: Array) -> Array:
        return np.asarray(_is_unwritten(values), "uint8")  # not all take over bools

    return keras.ops.cast(backend.changed_in_parts(value, mask), "bool")


def _is_unwritten(values: Array) -> Array:
    mask: Array = _view_bits(values) == BITS[values.dtype.name]
    return mask


def _count_nan(values: Array) -> int:
    # With or without the mark.
    largest = _INFINITY_BITS.get(values.dtype.name)
    if largest is None:
        return int(np.count_nonzero(_is_unwritten(values)))
    without_sign = _view_bits(values) & ((1 << (8 * values.itemsize - 1)) - 1)
    return int(np.count_nonzero(without_sign > largest))


def _view_bits(values: Array) -> Array:
    return values.view(f"uint{8 * values.itemsize}")


def make_marks(values: Array) -> Array:
    """Make an array of the shape and dtype of another, with the mark everywhere."""
    marks = np.empty_like(values)
    _view_bits(marks).fill(BITS[values.dtype.name])
    return marks


def has_values(variable: Any) -> bool:
    """Return whether a variable has values, which it may get when a program first runs."""
    with backend.outside_of_programs():
        return backend.host_view(variable.value).shape == tuple(variable.shape)


def mark_unwritten(variable: Any) -> None:
    """Assign the mark to each value of a variable."""

    def fill(region: Region | None, values: Array) -> Array:
        return make_marks(values)

    with backend.outside_of_programs():
        variable.assign(backend.changed_in_parts(variable.value, fill))
