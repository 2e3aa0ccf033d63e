"""A logarithm with the same bits on every machine."""

import numpy as np

from keras_initx._typing import Array


def portable_log(x: Array | float) -> Array:
    """Return the natural logarithm of `x`, an array of positive float64, with the same bits on every machine."""
    # Additions, multiplications and divisions are rounded the same everywhere; np.log is not.
    mantissa, exponent = np.frexp(x)
    s = (mantissa - 1) / (mantissa + 1)
    series = np.polyval([2.0 / n for n in range(45, 0, -2)], s * s)
    logarithm: Array = exponent * 0.6931471805599453 + s * series
    return logarithm
