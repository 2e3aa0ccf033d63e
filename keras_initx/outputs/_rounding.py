"""What of a difference is rounding: measured in runs that round otherwise.

Bounds by the dtype, or by the depth, were tried: one that is quiet on all models hides an epsilon
of 1e-5 for 1e-6, because rounding does not grow with the depth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_initx._typing import Array
from keras_initx.outputs._keras_calls import EPSILONS
from keras_initx.outputs._recorded import CallKey, CallListener, RecordedCall, Values
from keras_initx.outputs._samples import Order, RecordedTensor, sampled

# So many runs are made.
RUNS = 3
# A row differs where its difference is so many times what rounding makes of it. In clean pairs of
# models it was at most 1.8 times that.
MOST = 8
# It differs too where one output is a multiple of the other, by so many standard errors.
_ERRORS = 4
# Places whose noise is so many times that of most are left out: what is masked whole.
_LEFT_OUT = 30


class Rounding(CallListener):
    """The noise of each value that was recorded in a run: its deviation over some more runs.

    Args:
        calls: The calls of the run that they are compared with.
    """

    def __init__(self, calls: Sequence[RecordedCall]) -> None:
        self._calls = {call.key: call for call in calls}
        self._runs: dict[tuple[int, Order], list[Array]] = {}
        self._run = 0

    def next_run(self) -> None:
        """Hear of the calls of one more run from here on."""
        self._run += 1

    def begin(self, key: CallKey, arguments: Mapping[str, Any]) -> None:
        if key in self._calls:
            self._add(self._calls[key].inputs, arguments)

    def end(
        self,
        key: CallKey,
        operation: Any,
        outputs: Mapping[str, Values],
        before_activation: Values | None = None,
    ) -> None:
        if key not in self._calls:
            return
        call = self._calls[key]
        self._add(call.outputs, outputs)
        if call.before_activation is not None and before_activation is not None:
            self._add({"": call.before_activation}, {"": before_activation})

    def _add(self, tensors: Mapping[str, RecordedTensor], values: Mapping[str, Any]) -> None:
        """Add the values of tensors in this run, once for a tensor that several calls have."""
        for place, tensor in tensors.items():
            one = values.get(place)
            if not isinstance(one, Values) or one.array.shape != tensor.shape:
                continue
            for order in tensor.values:
                runs = self._runs.setdefault((id(tensor), order), [])
                if len(runs) < self._run:
                    runs.append(sampled(one.array, order))

    def of(self, tensor: RecordedTensor, order: Order) -> Array | None:
        """Return the noise of the values of a tensor, `None` if it is not known.

        It is not where the calls of a run depend on how values are rounded.
        """
        runs = self._runs.get((id(tensor), order), [])
        if len(runs) < RUNS:
            return None
        with np.errstate(invalid="ignore", over="ignore"):
            noise: Array = np.std(np.stack(runs), axis=0, dtype="float64", ddof=1)
        return noise


@dataclass(frozen=True)
class Difference:
    """How the values of a tensor differ from those of another.

    Attributes:
        order: The order in which they were compared.
        size: The root mean square of their difference, in standard deviations of the other.
        noise: That of what rounding makes of it.
        slope: By what factor they are larger than the others.
        is_real: Whether it is more than rounding.
        compared: The number of values that were compared.
        left_out: The number of those that were not, as rounding changes them by far more, or as
            both are infinite or NaN.
        has_same_values: Whether mean and deviation are those of the other, as of the same values in
            another order.
    """

    order: Order
    size: float
    noise: float
    slope: float
    is_real: bool
    compared: int
    left_out: int
    has_same_values: bool = False


def difference_of(
    tensor: RecordedTensor, other: RecordedTensor, rounding: Rounding
) -> Difference | None:
    """Return how a tensor differs from another one, in the first order in which it does not.

    Its own order counts if it differs in all. `None` if they cannot be compared.

    Args:
        tensor: The tensor.
        other: One of a shape that it may have in another order, and of the same dtype.
        rounding: The noise of the former.
    """
    found: Difference | None = None
    for order, values in tensor.in_orders_of(other.shape):
        noise = rounding.of(tensor, order)
        if noise is None:
            continue
        one = _difference(tensor, values, other, noise, order)
        if one is not None and not one.is_real:
            return one
        if found is None:
            found = one
    return found


def _difference(
    tensor: RecordedTensor, values: Array, other: RecordedTensor, noise: Array, order: Order
) -> Difference | None:
    epsilon = EPSILONS.get(tensor.dtype, 0.0)
    expected = other.own_values.astype("float64")
    values = values.astype("float64")
    are_finite = np.isfinite(values) & np.isfinite(expected)
    is_alike = are_finite | (values == expected) | (np.isnan(values) & np.isnan(expected))
    if not is_alike.all():
        return Difference(order, math.inf, 0.0, math.nan, True, values.size, 0)
    kept = are_finite & np.isfinite(noise)
    kept[kept] &= ~_is_erratic(noise[kept])
    left_out = int(values.size - kept.sum())
    if not kept.any():
        return None
    values, expected, noise = values[kept], expected[kept], noise[kept]
    unit = float(expected.std()) or _size(expected) or 1.0
    # Rounding to the nearest number is not in the noise of what was not computed from floats.
    of_row = math.hypot(_size(noise), epsilon / 4 * _size(expected))
    size = _size(values - expected)
    slope, error = _slope(values, expected, of_row)
    is_multiple = size > 0 and abs(slope - 1) > _ERRORS * (error + of_row / unit)
    is_real = size > MOST * of_row or is_multiple
    allowed = MOST * of_row + 1e-6 * unit
    has_same_values = abs(tensor.mean - other.mean) <= allowed
    has_same_values &= abs(tensor.deviation - other.deviation) <= allowed
    return Difference(
        order,
        size / unit,
        of_row / unit,
        slope,
        is_real,
        values.size,
        left_out,
        has_same_values,
    )


def _is_erratic(noise: Array) -> Array:
    """Return which places have far more noise than most that have any."""
    noisy = noise[noise > 0]
    if not noisy.size:
        return np.zeros(noise.shape, bool)
    erratic: Array = noise > _LEFT_OUT * np.quantile(noisy, 0.25)
    return erratic


def _size(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _slope(values: Array, expected: Array, noise: float) -> tuple[float, float]:
    """Return the slope of values on others, and the standard error that noise gives it."""
    centered = expected - expected.mean()
    squares = float(centered @ centered)
    if not squares:
        return 1.0, 0.0
    slope = float(centered @ values) / squares
    return slope, noise * math.sqrt(2 / squares)
