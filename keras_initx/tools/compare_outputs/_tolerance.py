"""How far the values of two tensors are apart, and how far rounding alone may bring them."""

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

# Up to so much of the size of its channel, a value is another one by rounding, see the page.
TOLERANCES = {
    "float64": 1e-12,
    "float32": 5e-6,
    "float16": 2e-2,
    "bfloat16": 1e-1,
}


# A single value may differ by so many times the tolerance.
_SINGLE = 4
# A sum of more values than this has another rounding on each backend.
_MOST_SUMMED = 32 * 32
# The same where one value is added after the other: equal values are rounded in one direction, so
# that rounding grows with their number.
_MOST_IN_ORDER = 16 * 16


def choose_tolerance(dtype: DType, given: float | None = None) -> float | None:
    """Return the tolerance for values of a dtype, `None` if it is not known.

    Args:
        dtype: The name of the dtype. Integers have none to differ by.
        given: That which a user gives for floats.
    """
    if "float" not in dtype:
        return 0.0
    known = TOLERANCES.get(dtype)
    return known if known is None or given is None else given


def compute_sum_factor(count: float, *, is_in_order: bool = False) -> float:
    """Return how many times the tolerance of a value a sum or a mean has.

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
    """How the values of a tensor differ from those of another.

    Attributes:
        order: In which order of the former they were compared.
        size: The root mean square of the differences of two values, each as a share of the root
            mean square of its channel, or of the median channel if that is larger; or a quarter of
            the largest one, if that is larger. Infinite if one value is not finite.
        compared: How many values were compared: all that are kept, but for those that are infinite
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
    """Return how a tensor differs from another one, in the order in which that is least.

    `None` if their shapes do not fit.

    Args:
        tensor: A tensor of which all values were there, not one of a file.
        other: Another one.
        tolerance: Up to what share of their size sorted values are the same.
    """
    found: list[Difference] = []
    for order, values in tensor.iterate_orders(other.shape):
        found.append(_compute_difference(tensor, values, other, order, tolerance))
    return min(found, key=lambda one: one.size, default=None)


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
