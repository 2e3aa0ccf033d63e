"""A call beside its counterpart: which tensors are compared, and the row that says the result."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from keras_initx.outputs._outputs_report import OutputRow
from keras_initx.outputs._recorded import RecordedCall
from keras_initx.outputs._rounding import Difference, Rounding, difference_of
from keras_initx.outputs._samples import RecordedTensor

# How a layer with an activation is compared with one that has none.
BEFORE_ACTIVATION = "before its activation"


class Compared(NamedTuple):
    """A call and its row.

    Attributes:
        call: The call.
        other: What it was compared with, if there is one.
        row: Its row.
        is_equal_before: Whether both have an activation, and it is equal before that.
        order: The order in which its inputs are flattened there, empty if it is the same.
    """

    call: RecordedCall
    other: RecordedCall | None
    row: OutputRow
    is_equal_before: bool = False
    order: str = ""


def compared_call(call: RecordedCall, other: RecordedCall | None, rounding: Rounding) -> Compared:
    """Return a call with its row."""
    row = OutputRow(*call.key, call.kind, "not compared", "no counterpart", is_model=call.is_model)
    if other is None:
        return Compared(call, None, row)
    outputs = _Differences(call.outputs, other.outputs, rounding)
    inputs = _Differences(call.inputs, other.inputs, rounding)
    dtypes = [tensor.dtype for tensor in call.outputs.values()]
    dtype = dtypes[0] if dtypes else ""
    row = replace(
        row,
        how=outputs.obstacle,
        like=other.key.name,
        inputs=inputs.size,
        inputs_differ=inputs.are_real,
        dtype=dtype,
        is_whole=not outputs.obstacle,
    )
    before = _before_activation(call, other, rounding)
    if before is not None and outputs.are_real and not before.is_real:
        row = _answered(row, before, BEFORE_ACTIVATION)
    elif outputs.worst is not None:
        row = _answered(row, outputs.worst, outputs.obstacle)
    order = ""
    for difference in inputs.found:
        if difference.order.view != difference.order.shape and len(difference.order.shape) == 2:
            order = difference.order.name
    return Compared(call, other, row, _is_equal_before(call, other, rounding), order)


def _answered(row: OutputRow, difference: Difference, remark: str) -> OutputRow:
    remarks = [remark]
    if difference.order.name:
        remarks.append(f"axes moved: {difference.order.name}")
    if difference.is_real and difference.has_same_values:
        remarks.append("the same values in another order")
    return replace(
        row,
        answer="differs" if difference.is_real else "equal",
        how="; ".join(filter(None, remarks)),
        outputs=difference.size,
        noise=difference.noise,
        compared=difference.compared,
        left_out=difference.left_out,
    )


class _Differences:
    """The differences of the tensors of a call, its inputs or its outputs.

    Attributes:
        found: The difference of each that was compared.
        obstacle: Why others were not, empty if all were.
    """

    def __init__(
        self,
        tensors: Mapping[str, RecordedTensor],
        others: Mapping[str, RecordedTensor],
        rounding: Rounding,
    ) -> None:
        self.found: list[Difference] = []
        self.obstacle: str = ""
        if not tensors:
            self.obstacle = "no values that are seen"
        for tensor, other in _pairs(tensors, others):
            difference = None
            if other is None:
                obstacle = _misfit(tensor, others)
            elif other.dtype != tensor.dtype:
                obstacle = f"other dtype: {tensor.dtype} here, {other.dtype} there"
            else:
                obstacle = "its rounding is not known"
                difference = difference_of(tensor, other, rounding)
            if difference is None:
                self.obstacle = obstacle
            else:
                self.found.append(difference)

    @property
    def worst(self) -> Difference | None:
        """The difference that is the largest beside what rounding makes of it."""
        return max(self.found, key=lambda one: (one.is_real, one.size), default=None)

    @property
    def size(self) -> float | None:
        """The largest difference, `None` if none was compared."""
        return None if self.worst is None else self.worst.size

    @property
    def are_real(self) -> bool:
        """Whether any is more than rounding."""
        return any(difference.is_real for difference in self.found)


def _pairs(
    tensors: Mapping[str, RecordedTensor], others: Mapping[str, RecordedTensor]
) -> Iterator[tuple[RecordedTensor, RecordedTensor | None]]:
    """Yield each tensor with the one that it is compared with.

    That is the one at the same place if both have the same places, otherwise the first of those
    that fit and were not taken.
    """
    left = dict(others)
    for place, tensor in tensors.items():
        fitting = [name for name, other in left.items() if _fits(tensor, other)]
        if place in fitting:
            chosen: str | None = place
        elif tensors.keys() == others.keys() or not fitting:
            chosen = None
        else:
            chosen = fitting[0]
        yield tensor, None if chosen is None else left.pop(chosen)


def _fits(tensor: RecordedTensor, other: RecordedTensor) -> bool:
    return any(True for _ in tensor.in_orders_of(other.shape))


def _misfit(tensor: RecordedTensor, others: Mapping[str, RecordedTensor]) -> str:
    """Return why a tensor was compared with none of `others`."""
    shapes = [str(other.shape) for other in others.values()]
    if not shapes:
        return f"no output there, {tensor.shape} here"
    return f"other shape: {tensor.shape} here, {' and '.join(shapes)} there"


def _before_activation(
    call: RecordedCall, other: RecordedCall, rounding: Rounding
) -> Difference | None:
    """Return how calls differ before the activation that only one of them is known to have.

    `None` if both have one, or none.
    """
    before, other_before = call.before_activation, other.before_activation
    tensors = list(call.outputs.values())
    counterparts = list(other.outputs.values())
    if before is not None and other_before is None:
        tensors = [before]
    elif before is None and other_before is not None:
        counterparts = [other_before]
    else:
        return None
    for tensor, counterpart in itertools.product(tensors, counterparts):
        if _fits(tensor, counterpart) and tensor.dtype == counterpart.dtype:
            return difference_of(tensor, counterpart, rounding)
    return None


def _is_equal_before(call: RecordedCall, other: RecordedCall, rounding: Rounding) -> bool:
    """Return whether both are known to have an activation, and get the same before it."""
    before, other_before = call.before_activation, other.before_activation
    if before is None or other_before is None:
        return False
    found = _Differences({"": before}, {"": other_before}, rounding)
    return not found.obstacle and not found.are_real
