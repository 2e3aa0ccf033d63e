"""Which tensors of two calls are compared, and how they differ."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from keras_initx.tools.compare_outputs._samples import RecordedTensor
from keras_initx.tools.compare_outputs._tolerance import (
    Difference,
    choose_tolerance,
    find_least_difference,
)


class TensorPair(NamedTuple):
    """A tensor, and what it is compared with.

    Attributes:
        place: Its place among the inputs or outputs of its call.
        tensor: The tensor.
        other_place: The place of the other one, `None` if there is none.
        difference: How they differ, `None` if they were not compared.
        obstacle: Why not, empty if they were.
        tolerance: Up to what difference they are equal.
    """

    place: str
    tensor: RecordedTensor
    other_place: str | None
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
    """Return each tensor with the one that it is compared with.

    That is the one at the same place if both have the same places. Otherwise those that differ
    least are compared, each with one other.

    Args:
        tensors: The tensors by their places.
        others: Those that they are compared with.
        tolerance: The tolerance for floats, `None` for that of their dtype.
    """
    if tensors.keys() == others.keys():
        return [
            compare_tensors(place, tensors[place], place, others[place], tolerance)
            for place in tensors
        ]
    pairs: list[TensorPair] = []
    for place, tensor in tensors.items():
        for other_place, other in others.items():
            pairs.append(compare_tensors(place, tensor, other_place, other, tolerance))
    chosen: dict[str, TensorPair] = {}
    taken = set()
    for pair in sorted(pairs, key=lambda one: one.size):
        is_free = pair.label not in chosen and pair.other_label not in taken
        if is_free and pair.difference is not None:
            chosen[pair.label] = pair
            taken.add(pair.other_label)
    for place, tensor in tensors.items():
        if place not in chosen:
            left = [other for name, other in others.items() if name not in taken]
            chosen[place] = TensorPair(
                place, tensor, None, None, _explain_misfit(tensor, left), 0.0
            )
    return [chosen[place] for place in tensors]


def compare_tensors(
    place: str,
    tensor: RecordedTensor,
    other_place: str,
    other: RecordedTensor,
    tolerance: float | None,
) -> TensorPair:
    """Return two tensors with their difference, if they can be compared."""
    pair = TensorPair(place, tensor, other_place, None, "", 0.0)
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
    """Return the dtype of floats, and that all others are integers."""
    return tensor.dtype if "float" in tensor.dtype else "integer"


def _explain_misfit(tensor: RecordedTensor, others: Iterable[RecordedTensor]) -> str:
    """Return why a tensor was compared with none of `others`."""
    shapes = []
    for other in others:
        if _dtype_kind(tensor) != _dtype_kind(other) and any(
            True for _ in tensor.iterate_orders(other.shape)
        ):
            return f"other dtype: {tensor.dtype} here, {other.dtype} there"
        shapes.append(str(other.shape))
    if not shapes:
        return f"no output there, {tensor.shape} here"
    return f"other shape: {tensor.shape} here, {' and '.join(shapes)} there"
