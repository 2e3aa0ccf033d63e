"""Casts to the dtype of a weight, which must hold what it is given."""

import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._typing import Array, DType

# Numbers that are compared at a time, so that a check takes no memory.
_CHUNK = 1 << 16


def can_be_cast(source: DType, target: DType) -> bool:
    """Return whether values of dtype `source` may be given to a weight of dtype `target`.

    Only floats are rounded.
    """
    return source == target or {source, target} <= set(DTYPES)


def cast(array: Array, dtype: DType, *, copy: bool = True) -> Array:
    """Return `array` in `dtype`. Infinities and NaN stay what they are.

    Args:
        array: An array of a dtype for which `can_be_cast` is true.
        dtype: The name of a dtype.
        copy: If false, an array that has this dtype is returned itself.

    Raises:
        OverflowError: If a finite number is beyond the range of `dtype`.
    """
    with np.errstate(over="ignore"):
        result = array.astype(dtype, copy=copy)
    if np.can_cast(array.dtype, result.dtype):
        return result
    pieces = np.nditer(
        [array, result], ["external_loop", "buffered", "zerosize_ok"], buffersize=_CHUNK
    )
    for given, rounded in pieces:
        if np.any(np.isfinite(given) & ~np.isfinite(rounded)):
            raise OverflowError(f"numbers beyond the range of {dtype}")
    return result
