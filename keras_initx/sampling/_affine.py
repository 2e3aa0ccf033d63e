"""Shift and scale standard draws, with the same bits everywhere."""

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
    """The function that maps draws `x` to `(x + shift) * factor`, optionally clipped.

    Its parameters are passed as data, so that one compiled program serves all values: see
    `numbers`.

    Attributes:
        xp: The namespace of the draws.
        shift: A number.
        factor: A positive number.
        bounds: Lower and upper bound of the values, which also hold after rounding.
        zero: Replacement for draws that are zero.
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
    """Apply the `Affine` with these `numbers`. All steps are always applied, because unused ones are exact."""
    zero, shift, factor, lower, upper = (numbers[i] for i in range(5))
    return xp.clip((xp.where(x == 0, zero, x) + shift) * factor, lower, upper)


def affine(xp: Namespace, offset: float, factor: float, bounds: Bounds | None = None) -> Affine:
    """Return a function that maps draws `x` to `offset + factor * x`, with the same rounding under every compiler.

    A compiler may fuse a multiplication followed by an addition into one operation, which rounds
    once instead of twice. An addition followed by a multiplication cannot be fused, so this
    computes `(x + offset / factor) * factor`, and the quotient is computed before compilation.

    Args:
        xp: The namespace of the draws.
        offset: A number.
        factor: A positive number.
        bounds: Lower and upper bound of the values, which also hold after rounding.

    Returns:
        A function of draws in float32 or float64, which it may overwrite.
    """
    # If the second is larger, the draws are negligible after rounding, and the quotient stays finite.
    offset, factor = float(offset), max(float(factor), abs(float(offset)) * 2.0**-60)
    return Affine(xp, offset / factor, factor, bounds)


def limited(xp: Namespace, x: Tensor, bounds: Bounds, dtype: DType) -> Tensor:
    """Clip `x` to the range of `dtype` values between two bounds, so that a cast to `dtype` stays inside.

    Args:
        xp: The namespace of `x`.
        x: An array, which may be overwritten.
        bounds: Two numbers. If no value of `dtype` lies between them, the largest value below
            replaces both.
        dtype: The dtype, or its name.
    """
    bounds = inwards(dtype, *map(float, bounds))
    return np.clip(x, *bounds, out=x) if isinstance(x, np.ndarray) else xp.clip(x, *bounds)


@functools.lru_cache(maxsize=8)  # each block of a draw needs the same
def inwards(dtype: DType, lower: float, upper: float) -> Bounds:
    """Return the bounds rounded inward to `dtype`."""
    with np.errstate(over="ignore"):
        low, high = np.array([lower, upper]).astype(keras.backend.standardize_dtype(dtype))
    if float(low) < lower:
        low = np.nextafter(low, high.dtype.type(np.inf))
    if float(high) > upper:
        high = np.nextafter(high, high.dtype.type(-np.inf))
    return min(float(low), float(high)), float(high)
