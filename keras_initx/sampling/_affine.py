"""From standard draws to those asked for, with the same bits everywhere."""

import functools

import keras
import numpy as np

from keras_initx._typing import DType, Elementwise, Tensor
from keras_initx.sampling._namespace import Namespace

Bounds = tuple[float, float]


def affine(xp: Namespace, offset: float, factor: float, bounds: Bounds | None = None) -> Elementwise:
    """Return a function from draws `x` to `offset + factor * x`, which no compiler can round in another way.

    A multiplication that an addition follows may become one operation, which rounds once instead
    of twice. An addition that a multiplication follows cannot, so this is `(x + offset / factor) *
    factor`.

    Args:
        xp: The namespace of the draws.
        offset: A number.
        factor: A positive number.
        bounds: Two numbers that no value may be beyond, not even by rounding.

    Returns:
        A function of draws in float32 or float64, which it may overwrite.
    """
    # Where this is the larger of the two the draws are lost in rounding, and the quotient stays finite.
    offset, factor = float(offset), max(float(factor), abs(float(offset)) * 2.0**-60)

    def apply(x: Tensor) -> Tensor:
        if offset:
            x += offset / factor
        if factor != 1:
            x *= factor
        return x if bounds is None else limited(xp, x, bounds, x.dtype)

    return apply


def limited(xp: Namespace, x: Tensor, bounds: Bounds, dtype: DType) -> Tensor:
    """Return `x` limited to the numbers of `dtype` between two bounds, so that a cast to `dtype` stays inside.

    Args:
        xp: The namespace of `x`.
        x: An array, which may be overwritten.
        bounds: Two numbers. With no number of `dtype` between them, the largest below stands for both.
        dtype: The dtype, or its name.
    """
    bounds = _inwards(dtype, *map(float, bounds))
    return np.clip(x, *bounds, out=x) if isinstance(x, np.ndarray) else xp.clip(x, *bounds)


@functools.lru_cache(maxsize=8)  # for every block of a draw asks for the same
def _inwards(dtype: DType, lower: float, upper: float) -> Bounds:
    """Return the bounds rounded to `dtype`, each towards the other."""
    with np.errstate(over="ignore"):
        low, high = np.array([lower, upper]).astype(keras.backend.standardize_dtype(dtype))
    if float(low) < lower:
        low = np.nextafter(low, high.dtype.type(np.inf))
    if float(high) > upper:
        high = np.nextafter(high, high.dtype.type(-np.inf))
    return min(float(low), float(high)), float(high)
