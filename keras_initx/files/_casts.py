"""Cast arrays to the dtype of a weight, which must be able to hold their numbers."""

import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._typing import Array, DType

# Numbers that are compared at a time, so that a check takes no memory.
_CHUNK = 1 << 16


def can_be_cast(source: DType, target: DType) -> bool:
    """Return whether a weight of dtype `target` may take values of dtype `source`.

    Only floats are rounded.
    """
    return source == target or {source, target} <= set(DTYPES)


def cast(array: Array, dtype: DType, *, copy: bool = True) -> Array:
    """Cast `array` to `dtype`. Infinities and NaN stay.

    Args:
        array: An array of a dtype for which `can_be_cast` is true.
        dtype: The name of a dtype.
        copy: If false, an array that has this dtype is returned itself.

    Raises:
        OverflowError: If a finite number is beyond the range of `dtype`.
    """
    with np.errstate(over="ignore"):
        if array.dtype == "float64" and dtype == "bfloat16":
            result = _round_to_odd(array).astype(dtype)
        else:
            result = array.astype(dtype, copy=copy)
    if np.can_cast(array.dtype, result.dtype):
        return result
    pieces = np.nditer(
        [array, result], ["external_loop", "buffered", "zerosize_ok"], buffersize=_CHUNK
    )
    for original, rounded in pieces:
        is_beyond = ~np.isfinite(rounded)
        if is_beyond.any() and np.isfinite(original[is_beyond]).any():
            raise OverflowError(f"numbers beyond the range of {dtype}")
    return result


def _round_to_odd(array: Array) -> Array:
    """Round float64 numbers to float32 before another rounding to fewer bits.

    If float32 cannot hold a number, its rounded value ends with an odd bit. Then two roundings give
    the same as one (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", IEEE
    Transactions on Computers 57(4), 2008). NumPy's bfloat16 rounds to float32 first.
    """
    nearest = np.asarray(array.astype("float32"))
    is_beyond = np.abs(nearest) > np.abs(array)
    inner = np.where(is_beyond, np.nextafter(nearest, np.float32(0)), nearest)
    bits = inner.view("uint32") | (inner != array)
    odd: Array = bits.view("float32")
    return odd
