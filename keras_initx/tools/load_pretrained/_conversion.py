"""Convert arrays of a source to the values of a weight: part, layout, order of rows, size.

The arrays are read when the values are needed. Before that, only shapes and dtypes are checked.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.checkpoints._sources import to_lazy
from keras_initx.files._casts import can_be_cast
from keras_initx.files._lazy import LazyArray, Selection, format_index
from keras_initx.files._resizing import Grid, Resizing
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.load_pretrained._array_names import Candidate
from keras_initx.tools.load_pretrained._differences import Differences
from keras_initx.tools.load_pretrained._layouts import (
    UnknownOrderError,
    convert_from_keras,
    convert_from_torch,
    join_units,
)
from keras_initx.tools.load_pretrained._resize import fit_to_weight


class MismatchError(Exception):
    """Raised if arrays cannot be converted to a weight."""


def convert(
    weight: ModelWeight,
    candidate: Candidate,
    stored: Sequence[LazyArray],
    kind: Resizing | None,
    differences: Differences | None,
) -> LazyArray:
    """Convert arrays to the new values of a weight, when they are read."""
    for name, array in zip(candidate.names, stored, strict=True):
        if not can_be_cast(array.dtype, weight.dtype):
            raise MismatchError(f"cannot cast {name!r}, {array.dtype}, to {weight.dtype}")
    reordered: set[int] = set()
    if callable(candidate.part):
        parts = [_apply_function(weight, candidate.part, stored[0])]
        convert = functools.partial(_check_returned_shape, parts[0])
    else:
        if candidate.is_joined:
            parts = [_join_units(weight, stored, differences)]
        else:
            parts = [take_part(array, candidate) for array in stored]
        convert = functools.partial(_convert_layout, weight, parts, differences, kind)
        if differences is not None:
            reordered = differences.list_reordered_axes(weight)
    try:
        return fit_to_weight(weight, kind, convert, math.prod(parts[0].shape), reordered)
    except ValueError as error:
        raise MismatchError(str(error)) from None


def _convert_layout(
    weight: ModelWeight,
    parts: Sequence[LazyArray],
    differences: Differences | None,
    kind: Resizing | None,
    shape: Shape,
) -> LazyArray:
    if differences is None:
        return convert_from_keras(weight, parts, shape)
    try:
        array = convert_from_torch(weight, parts, shape)
    except UnknownOrderError:
        # A table has its positions in the order of the image in both layouts.
        if not isinstance(kind, Grid):
            raise
        return convert_from_keras(weight, parts, shape)
    return differences.reorder_and_note(weight, array)


def _check_returned_shape(array: LazyArray, shape: Shape) -> LazyArray:
    if array.shape != shape:
        raise ValueError(f"the function returns shape {array.shape}")
    return array


def _join_units(
    weight: ModelWeight, arrays: Sequence[LazyArray], differences: Differences | None
) -> LazyArray:
    try:
        return join_units(weight, arrays, "keras" if differences is None else "torch")
    except ValueError as error:
        raise MismatchError(str(error)) from None


def take_part(array: LazyArray, candidate: Candidate) -> LazyArray:
    if candidate.third is not None:
        if math.prod(array.shape[:1]) % 3:
            raise MismatchError(
                f"the shape {array.shape} cannot be split into query, key and value"
            )
        length = array.shape[0] // 3
        return array.part(np.s_[candidate.third * length : (candidate.third + 1) * length])
    if candidate.part is None:
        return array
    try:
        return array.part(candidate.part)
    except (IndexError, TypeError) as error:
        raise MismatchError(f"no part {format_index(candidate.part)}: {error}") from None


def _apply_function(
    weight: ModelWeight, function: Callable[[Array], Any], array: LazyArray
) -> LazyArray:
    """Make an array that a user's function computes. Call it once now, as a check."""

    def call() -> LazyArray:
        return to_lazy(function(np.array(array.read(...))))  # a copy, which it may change

    result = call()
    if not can_be_cast(result.dtype, weight.dtype):
        raise MismatchError(f"the function returns {result.dtype}")
    name = getattr(function, "__name__", type(function).__name__)

    def read(region: Selection) -> Array:
        return call().read(region)  # so that not all results are kept until the end

    return LazyArray(result.shape, result.dtype, read, (f"{name}()",))
