"""Compare a call with its counterpart: the row that says how its outputs differ."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from keras_initx.report._text import join_clauses
from keras_initx.tools.compare_outputs._outputs_report import OutputRow, Status
from keras_initx.tools.compare_outputs._pairs import TensorPair, compare_tensors, pair_tensors
from keras_initx.tools.compare_outputs._recorded import RecordedCall

# How a layer with an activation is compared with one that has none.
BEFORE_ACTIVATION = "before its activation"


class CallComparison(NamedTuple):
    """A call and its row.

    Attributes:
        call: The call.
        other: Its counterpart, if there is one.
        row: Its row.
        inputs: Its inputs, paired with the inputs of the other.
    """

    call: RecordedCall
    other: RecordedCall | None
    row: OutputRow
    inputs: Sequence[TensorPair] = ()


def compare_call(
    call: RecordedCall,
    other: RecordedCall | None,
    tolerance: float | None,
    *,
    remark: str = "",
    settings: Sequence[str] = (),
    has_varied: bool,
) -> CallComparison:
    """Compare a call with its counterpart.

    Args:
        call: The call.
        other: Its counterpart, if there is one.
        tolerance: The tolerance for floats, `None` for the tolerance of their dtype.
        remark: Why it has no counterpart, or a doubt about it.
        settings: The settings that differ, in words.
        has_varied: Whether the examples of the inputs of the model differ.
    """
    if other is None:
        detail = remark or "no counterpart"
        row = OutputRow(*call.key, call.kind, "not compared", detail, is_model=call.is_model)
        return CallComparison(call, None, row)
    inputs = pair_tensors(call.inputs, other.inputs, tolerance)
    outputs = pair_tensors(call.outputs, other.outputs, tolerance)
    before = _compare_before_activation(call, other, tolerance)
    if before is not None and not before.differs and any(pair.differs for pair in outputs):
        outputs = [before]
    compared = [pair for pair in outputs if pair.difference is not None]
    unproven = [_explain_unproven(pair, has_varied) for pair in compared]
    worst = max(compared, key=lambda pair: (pair.differs, pair.size), default=None)
    status = _judge(worst, unproven)
    remarks = [*_list_remarks(call, other, outputs), remark]
    if status == "not known":
        remarks = [*dict.fromkeys(unproven), *remarks]
    is_same_call = call.key.number == other.key.number
    row = OutputRow(
        *call.key,
        call.kind,
        status,
        join_clauses(*remarks),
        like=other.key.name if is_same_call else str(other.key),
        inputs=_find_largest(inputs),
        outputs=None if worst is None else worst.size,
        tolerance=0.0 if worst is None else worst.tolerance,
        compared=sum(pair.difference.compared for pair in compared if pair.difference),
        settings=tuple(settings),
        is_model=call.is_model,
        is_whole=bool(compared) and len(compared) == len(outputs) and status != "not known",
        inputs_differ=any(pair.differs for pair in inputs),
        dtype="" if worst is None else worst.tensor.dtype,
    )
    return CallComparison(call, other, row, inputs)


def _judge(worst: TensorPair | None, unproven: Sequence[str]) -> Status:
    """Judge a call by the pair that differs most, and by why equality proves nothing."""
    if worst is None:
        return "not compared"
    if worst.differs:
        return "differs"
    return "not known" if any(unproven) else "equal"


def _find_largest(pairs: Sequence[TensorPair]) -> float | None:
    return max((pair.size for pair in pairs if pair.difference is not None), default=None)


def _explain_unproven(pair: TensorPair, has_varied: bool) -> str:
    """Say why equality proves nothing for a tensor, empty if it proves something."""
    tensor = pair.tensor
    if pair.difference is not None and not pair.difference.compared:
        return "no value is finite"
    if tensor.is_constant:
        return "all zero" if tensor.mean == 0 else "all the same value"
    if has_varied and tensor.units is not None and tensor.units.spread <= pair.tolerance:
        return "the same for all examples"
    return ""


def _list_remarks(
    call: RecordedCall, other: RecordedCall, outputs: Sequence[TensorPair]
) -> list[str]:
    """List how the outputs were compared, and why some were not."""
    remarks = [] if outputs else ["no values that are seen"]
    if [pair.label for pair in outputs] == [BEFORE_ACTIVATION]:
        remarks.append(BEFORE_ACTIVATION)
    names = [(pair.label, pair.other_label) for pair in outputs if pair.difference is not None]
    if len(names) > 1 and any(here != there for here, there in names):
        remarks.append(", ".join(f"{here} with {there}" for here, there in names))
    for pair in outputs:
        if pair.obstacle:
            prefix = f"{pair.label}: " if len(outputs) > 1 else ""
            remarks.append(f"{prefix}{pair.obstacle}")
        elif pair.difference is not None:
            if pair.difference.order.name:
                remarks.append(f"axes moved: {pair.difference.order.name}")
            if pair.differs and pair.difference.has_same_values:
                remarks.append("the same values in another order")
    labels = {pair.other_label for pair in outputs}
    others_left = [label or "an output" for label in other.outputs if label not in labels]
    if others_left and call.is_model:
        remarks.append(f"only there: {', '.join(others_left)}")
    return list(dict.fromkeys(remarks))


def _compare_before_activation(
    call: RecordedCall, other: RecordedCall, tolerance: float | None
) -> TensorPair | None:
    """Compare two calls before the activation, if only one of them has a known activation.

    A dense layer with a ReLU is compared with a dense layer whose ReLU is a layer of its own. The
    result is `None` if both have an activation, or none.
    """
    ours, theirs = call.before_activation, other.before_activation
    tensors = list(call.outputs.values())
    others = list(other.outputs.values())
    if ours is not None and theirs is None:
        tensors = [ours]
    elif ours is None and theirs is not None:
        others = [theirs]
    else:
        return None
    for tensor, counterpart in itertools.product(tensors, others):
        pair = compare_tensors(BEFORE_ACTIVATION, tensor, "", counterpart, tolerance)
        if pair.difference is not None:
            return pair
    return None


def is_equal_before_activation(comparison: CallComparison) -> bool:
    """Say whether both calls have a known activation, and are equal before it."""
    ours = comparison.call.before_activation
    theirs = None if comparison.other is None else comparison.other.before_activation
    if ours is None or theirs is None:
        return False
    pair = compare_tensors("", ours, "", theirs, comparison.row.tolerance)
    return pair.difference is not None and not pair.differs


def find_flattening_order(comparison: CallComparison) -> str:
    """Find the other model's flattening order of equal, flat inputs, empty if it is the same."""
    for pair in comparison.inputs:
        if pair.difference is not None and not pair.differs:
            order = pair.difference.order
            if len(order.shape) == 2 and order.view != order.shape:
                return order.name
    return ""
