"""From standard draws to those asked for, with the same bits everywhere."""

import numpy as np


def affine(xp, x, offset, factor, bounds=None):
    """Return `offset + factor * x`, computed so that no compiler can round it in another way.

    A multiplication that an addition follows may become one operation, which rounds once instead
    of twice. An addition that a multiplication follows cannot, so this is `(x + offset / factor) *
    factor`.

    Args:
        xp: The namespace of `x`.
        x: Draws, in float32 or float64, which may be overwritten.
        offset: A number.
        factor: A positive number.
        bounds: Two numbers that no value may be beyond, not even by rounding.
    """
    # Where this is the larger of the two the draws are lost in rounding, and the quotient stays finite.
    offset, factor = float(offset), max(float(factor), abs(float(offset)) * 2.0**-60)
    if offset:
        x += offset / factor
    x *= factor
    if bounds is None:
        return x
    bounds = _inwards(x.dtype, *bounds)
    return np.clip(x, *bounds, out=x) if isinstance(x, np.ndarray) else xp.clip(x, *bounds)


def _inwards(dtype, lower, upper):
    """Return the bounds rounded to `dtype`, each towards the other."""
    lower, upper = float(lower), float(upper)
    if "float64" in str(dtype):
        return lower, upper
    low, high = np.float32(lower), np.float32(upper)
    if float(low) < lower:
        low = np.nextafter(low, np.float32(np.inf))
    if float(high) > upper:
        high = np.nextafter(high, np.float32(-np.inf))
    return float(low), float(high)
