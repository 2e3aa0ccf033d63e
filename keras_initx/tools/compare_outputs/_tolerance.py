"""Measure the difference between the values of two tensors, and the effect of rounding alone.

With the size of its channel, the difference of two values `a` and `b` is a share `|a - b| / size`.
The difference of two tensors is `max(rms(shares), max(shares) / 4)`.
"""

import math
from dataclasses import dataclass

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.backends._moments import compute_rms
from keras_initx.tools.compare_outputs._samples import (
    MOST_VALUES,
    Order,
    RecordedTensor,
    locate_kept_values,
)

# Two values are the same if they differ by at most this share of the size of their channel. How
# these were measured is on the page on comparing outputs.
TOLERANCES = {
    "float64": 1e-12,
    "float32": 5e-6,
    "float16": 2e-2,
    "bfloat16": 1e-1,
}


# A single value may differ by so many times the tolerance: hence the 4 in the formula above.
_SINGLE = 4
# A sum of more values than this has another rounding on each backend.
_MOST_SUMMED = 32 * 32
# The same where one value is added after the other: equal values are rounded in one direction, so
# that rounding grows with their number.
_MOST_IN_ORDER = 16 * 16


def choose_tolerance(dtype: DType, tolerance: float | None = None) -> float | None:
    """Choose the tolerance for values of a dtype, `None` if it is not known.

    Args:
        dtype: The name of the dtype. Integers have the tolerance 0.
        tolerance: The tolerance that a user passes for floats.
    """
    if "float" not in dtype:
        return 0.0
    known = TOLERANCES.get(dtype)
    return known if known is None or tolerance is None else tolerance


def compute_sum_factor(count: float, *, is_in_order: bool = False) -> float:
    """Compute how many times the tolerance of a value a sum or a mean has.

    Args:
        count: How many values it has.
        is_in_order: Whether a backend adds one after the other.
    """
    times = max(1.0, math.sqrt(count / _MOST_SUMMED))
    if is_in_order:
        times = max(times, count / _MOST_IN_ORDER)
    return times


@dataclass(frozen=True)
class Difference:
    """The difference between the values of two tensors.

    Attributes:
        order: The compared order of the first tensor.
        size: The difference, see the head of this file. The size of a channel is its root mean
            square, or the size of the median channel if that is larger. It is infinite if one value
            is not finite.
        compared: How many values were compared: all kept values, without values that are infinite
            or NaN in both.
        has_same_values: Whether both have the same values, up to rounding, in another order.
    """

    order: Order
    size: float
    compared: int
    has_same_values: bool = False


def find_least_difference(
    tensor: RecordedTensor, other: RecordedTensor, tolerance: float
) -> Difference | None:
    """Find how a tensor differs from another one, in the order with the least difference.

    The result is `None` if their shapes do not fit.

    Args:
        tensor: A tensor with units: it was recorded, and not read from a file.
        other: Another tensor.
        tolerance: Sorted values are the same up to this share of their size.
    """
    differences: list[Difference] = []
    for order, values in tensor.iterate_orders(other.shape):
        differences.append(_compute_difference(tensor, values, other, order, tolerance))
    return min(differences, key=lambda difference: difference.size, default=None)


def _compute_difference(
    tensor: RecordedTensor, values: Array, other: RecordedTensor, order: Order, tolerance: float
) -> Difference:
    if tensor.units is None:
        raise ValueError("`tensor` must have its units")
    expected = other.own_values
    both_nan = np.isnan(values) & np.isnan(expected)
    is_finite = np.isfinite(values) & np.isfinite(expected)
    if not (is_finite | both_nan | (values == expected)).all():
        return Difference(order, math.inf, values.size)
    units = tensor.units.scale_at(locate_kept_values(order), tensor.shape)[is_finite]
    here = values[is_finite].astype("float64")
    there = expected[is_finite].astype("float64")
    # A channel without any size is measured by the other tensor.
    units = np.where(units > 0, units, compute_rms(there) or 1.0)
    shares = np.abs(here - there) / units
    size = max(compute_rms(shares), float(shares.max(initial=0)) / _SINGLE)
    is_whole = values.size < MOST_VALUES or values.size == math.prod(tensor.shape)
    moved = np.abs(np.sort(here) - np.sort(there)).max(initial=0)
    has_same_values = is_whole and moved <= tolerance * compute_rms(there)
    return Difference(order, size, here.size, has_same_values)
