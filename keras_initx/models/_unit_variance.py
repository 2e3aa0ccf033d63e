"""Find the factor on a kernel that gives a layer's output variance 1."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_initx._typing import Array
from keras_initx.diagnostics._values import spread

# If the variance grows with less than this power of the kernel's scale, the kernel does not determine it.
_LEAST_POWER = 0.1
# Examples that differ by less than this relative amount are equal up to rounding.
_LEAST_SPREAD = 1e-5


class Fit(NamedTuple):
    """The factor, the number of steps that it took to find it, and the reason if there is none."""

    factor: float
    steps: int
    reason: str = ""


def unit_variance(outputs: Callable[[float], Array | None], power: float, tolerance: float, max_steps: int) -> Fit:
    """Return the factor that brings the variance of `outputs` within `tolerance` of 1.

    The output of a layer is usually proportional to its kernel, so that one step is enough. A bias
    or another added term breaks the proportionality: then each step is a secant step through the
    last two points on logarithmic scales.

    Args:
        outputs: Function of a factor on the kernel.
        power: The power of the factor by which the variance scales: twice the number of multiplied
            kernels.
        tolerance: A positive number.
        max_steps: Maximum number of factors to try.

    Returns:
        A `Fit` with the best factor found, or with a reason.
    """
    values = outputs(1.0)
    reason = _obstacle(values)
    tried: list[tuple[float, float]] = []
    logarithm = 0.0
    while not reason:
        assert values is not None
        variance = float(values.var(dtype="float64"))
        if not 0 < variance < math.inf:
            reason = "its output vanishes or overflows"
            break
        tried.append((logarithm, math.log(variance)))
        if abs(variance - 1) <= tolerance or len(tried) > max_steps:
            break
        if len(tried) > 1:
            (before, from_), (after, to) = tried[-2:]
            power = (to - from_) / (after - before)
            if not power > _LEAST_POWER:
                reason = "its output does not follow its kernel"
                break
        logarithm -= tried[-1][1] / power
        if abs(logarithm) > 80:  # beyond the range of float32
            reason = "its output does not follow its kernel"
            break
        values = outputs(math.exp(logarithm))
        if values is None or not np.isfinite(values).all():
            reason = "its output vanishes or overflows"
    if reason:
        return Fit(1.0, 0, reason)
    closest = min(tried, key=lambda one: abs(one[1]))
    if closest is not tried[-1]:
        outputs(math.exp(closest[0]))
    return Fit(math.exp(closest[0]), len(tried) - 1)


def _obstacle(values: Array | None) -> str:
    """Return why no factor can bring the variance of `values` to 1, empty if one can."""
    if values is None:
        return "its output is not known or not floating-point"
    if not np.isfinite(values).all():
        return "its output is not finite"
    size = math.sqrt(float(np.square(values, dtype="float64").mean())) if values.size else 0.0
    if not size:
        return "its output is zero"
    if spread(values) <= _LEAST_SPREAD * size:
        return "its output is the same for all examples"
    return ""
