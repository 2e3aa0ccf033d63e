"""The factor on a kernel with which the variance of a layer's output is 1."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_initx._typing import Array
from keras_initx.diagnostics._values import spread

# A kernel that is doubled and changes the variance by less than this power of 2 does not decide it.
_LEAST_POWER = 0.1
# Examples that differ by less than this share of their size are the same up to rounding.
_LEAST_SPREAD = 1e-5


class Fit(NamedTuple):
    """The factor, how many there were before it was found, and why there is none."""

    factor: float
    steps: int
    reason: str = ""


def unit_variance(outputs: Callable[[float], Array | None], power: float, tolerance: float, max_steps: int) -> Fit:
    """Return the factor with which the variance of `outputs` is within `tolerance` of 1.

    The output of a layer is mostly proportional to its kernel, and one step is enough. A bias, or what else is added,
    makes it less than that: then the next step follows the line through the last two, on logarithmic scales.

    Args:
        outputs: Function of a factor on the kernel.
        power: By which power of the factor the variance changes: twice the number of kernels that are multiplied.
        tolerance: A positive number.
        max_steps: Number of factors to be tried.

    Returns:
        A `Fit` to the closest variance found, or one with a reason.
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
        if abs(logarithm) > 80:  # of float32's range
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
    """Return why no factor brings the variance of `values` to 1, empty if one may."""
    if values is None:
        return "it gives no floats"
    if not np.isfinite(values).all():
        return "its output is not finite"
    size = math.sqrt(float(np.square(values, dtype="float64").mean())) if values.size else 0.0
    if not size:
        return "its output is zero"
    if spread(values) <= _LEAST_SPREAD * size:
        return "its output is the same for all examples"
    return ""
