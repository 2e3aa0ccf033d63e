"""Pair the tensors of two calls, and measure how they differ.

The *label* of a tensor names it within its call: `""`, `"0"`, `"logits"`, `"mask"`.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from keras_initx.tools.compare_outputs._samples import RecordedTensor
from keras_initx.tools.compare_outputs._tolerance import (
    Difference,
    choose_tolerance,
    find_least_difference,
)


class TensorPair(NamedTuple):
    """A tensor and its counterpart.

    Attributes:
        label: Its label among the inputs or outputs of its call.
        tensor: The tensor.
        other_label: The label of the other tensor, `None` if there is none.
        difference: How they differ, `None` if they were not compared.
        obstacle: Why not, empty if they were.
        tolerance: The largest difference of equal tensors.
    """

    label: str
    tensor: RecordedTensor
    other_label: str | None
    difference: Difference | None
    obstacle: str
    tolerance: float

    @property
    def size(self) -> float:
        """The size of the difference, 0 if they were not compared."""
        return 0.0 if self.difference is None else self.difference.size

    @property
    def differs(self) -> bool:
        """Whether they were compared, and are not equal."""
        return self.size > self.tolerance


def pair_tensors(
    tensors: Mapping[str, RecordedTensor],
    others: Mapping[str, RecordedTensor],
    tolerance: float | None,
) -> list[TensorPair]:
    """Pair each tensor with its counterpart.

    If both sides have the same labels, tensors with equal labels are pairs. Otherwise the tensors
    that differ least are compared, each with one other tensor.

    Args:
        tensors: The tensors by their labels.
        others: The tensors of the other side, by their labels.
        tolerance: The tolerance for floats, `None` for the tolerance of their dtype.
    """
    if tensors.keys() == others.keys():
        return [
            compare_tensors(label, tensors[label], label, others[label], tolerance)
            for label in tensors
        ]
    pairs: list[TensorPair] = []
    for label, tensor in tensors.items():
        for other_label, other in others.items():
            pairs.append(compare_tensors(label, tensor, other_label, other, tolerance))
    chosen: dict[str, TensorPair] = {}
    taken_labels = set()
    for pair in sorted(pairs, key=lambda candidate: candidate.size):
        is_free = pair.label not in chosen and pair.other_label not in taken_labels
        if is_free and pair.difference is not None:
            chosen[pair.label] = pair
            taken_labels.add(pair.other_label)
    for label, tensor in tensors.items():
        if label not in chosen:
            left = [other for name, other in others.items() if name not in taken_labels]
            chosen[label] = TensorPair(
                label, tensor, None, None, _explain_misfit(tensor, left), 0.0
            )
    return [chosen[label] for label in tensors]


def compare_tensors(
    label: str,
    tensor: RecordedTensor,
    other_label: str,
    other: RecordedTensor,
    tolerance: float | None,
) -> TensorPair:
    """Pair two tensors with their difference, if they can be compared."""
    pair = TensorPair(label, tensor, other_label, None, "", 0.0)
    if _dtype_kind(tensor) != _dtype_kind(other):
        return pair._replace(obstacle=_explain_misfit(tensor, [other]))
    allowed = choose_tolerance(tensor.dtype, tolerance)
    if allowed is None:
        return pair._replace(obstacle=f"the tolerance for {tensor.dtype} is not known")
    difference = find_least_difference(tensor, other, allowed)
    if difference is None:
        return pair._replace(obstacle=_explain_misfit(tensor, [other]))
    return pair._replace(difference=difference, tolerance=allowed)


def _dtype_kind(tensor: RecordedTensor) -> str:
    return tensor.dtype if "float" in tensor.dtype else "integer"


def _explain_misfit(tensor: RecordedTensor, others: Iterable[RecordedTensor]) -> str:
    """Say why a tensor was compared with none of `others`."""
    shapes = []
    for other in others:
        has_fitting_shape = any(True for _ in tensor.iterate_orders(other.shape))
        if has_fitting_shape and _dtype_kind(tensor) != _dtype_kind(other):
            return f"other dtype: {tensor.dtype} here, {other.dtype} there"
        shapes.append(str(other.shape))
    if not shapes:
        return f"no output there, {tensor.shape} here"
    return f"other shape: {tensor.shape} here, {' and '.join(shapes)} there"
