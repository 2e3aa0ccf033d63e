"""From standard draws to those asked for, with the same bits everywhere."""

import dataclasses
import functools
import math

import keras
import numpy as np

from keras_initx._typing import Array, DType, Tensor
from keras_initx.sampling._namespace import Namespace

Bounds = tuple[float, float]

UNBOUNDED: Bounds = (-math.inf, math.inf)


@dataclasses.dataclass(frozen=True)
class Affine:
    """The function from draws `x` to `(x + shift) * factor`, which may limit the result.

    Its numbers are data, so that one compiled program serves all of them: see `numbers`.

    Attributes:
        xp: The namespace of the draws.
        shift: A number.
        factor: A positive number.
        bounds: Two numbers that no value may be beyond, not even by rounding.
        zero: What draws that are zero become first.
    """

    xp: Namespace
    shift: float = 0.0
    factor: float = 1.0
    bounds: Bounds | None = None
    zero: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the function to draws in float32 or float64, which may be overwritten."""
        if self.zero:
            x = self.xp.where(x == 0, self.xp.full_like(x, self.zero), x)
        if self.shift:
            x += self.shift
        if self.factor != 1:
            x *= self.factor
        return x if self.bounds is None else limited(self.xp, x, self.bounds, x.dtype)

    def numbers(self, dtype: DType) -> Array:
        """Return the arguments that `affine_by` takes for this function of draws in `dtype`."""
        bounds = UNBOUNDED if self.bounds is None else inwards(dtype, *map(float, self.bounds))
        with np.errstate(over="ignore"):
            return np.array([self.zero, self.shift, self.factor, *bounds], dtype)


def affine_by(xp: Namespace, x: Tensor, numbers: Tensor) -> Tensor:
    """Apply the `Affine` that has these `numbers`: every step of it, for each is exact where it changes nothing."""
    zero, shift, factor, lower, upper = (numbers[i] for i in range(5))
    return xp.clip((xp.where(x == 0, zero, x) + shift) * factor, lower, upper)


def affine(xp: Namespace, offset: float, factor: float, bounds: Bounds | None = None) -> Affine:
    """Return a function from draws `x` to `offset + factor * x`, which no compiler can round in another way.

    A multiplication that an addition follows may become one operation, which rounds once instead
    of twice. An addition that a multiplication follows cannot, so this is `(x + offset / factor) *
    factor`, and the quotient is a number before anything is compiled.

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
    return Affine(xp, offset / factor, factor, bounds)


def limited(xp: Namespace, x: Tensor, bounds: Bounds, dtype: DType) -> Tensor:
    """Return `x` limited to the numbers of `dtype` between two bounds, so that a cast to `dtype` stays inside.

    Args:
        xp: The namespace of `x`.
        x: An array, which may be overwritten.
        bounds: Two numbers. With no number of `dtype` between them, the largest below stands for both.
        dtype: The dtype, or its name.
    """
    bounds = inwards(dtype, *map(float, bounds))
    return np.clip(x, *bounds, out=x) if isinstance(x, np.ndarray) else xp.clip(x, *bounds)


@functools.lru_cache(maxsize=8)  # for every block of a draw asks for the same
def inwards(dtype: DType, lower: float, upper: float) -> Bounds:
    """Return the bounds rounded to `dtype`, each toward the other."""
    with np.errstate(over="ignore"):
        low, high = np.array([lower, upper]).astype(keras.backend.standardize_dtype(dtype))
    if float(low) < lower:
        low = np.nextafter(low, high.dtype.type(np.inf))
    if float(high) > upper:
        high = np.nextafter(high, high.dtype.type(-np.inf))
    return min(float(low), float(high)), float(high)
