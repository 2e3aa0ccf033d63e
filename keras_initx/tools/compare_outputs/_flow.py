"""How the calls of a record depend on each other: by the tensors that they return and get."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from keras_initx.tools.compare_outputs._recorded import RecordedCall
from keras_initx.tools.compare_outputs._samples import RecordedTensor
from keras_initx.tools.compare_outputs._tolerance import (
    TOLERANCES,
    choose_tolerance,
    compute_sum_factor,
)


class Flow:
    """The calls that each call of a record depends on.

    Sets of calls are numbers, in which the bit `i` is that of the call at the place `i`.

    Args:
        calls: The calls, in the order in which they have ended.

    Attributes:
        calls: The same.
        certain: What is known to have been used by each call: itself, the calls inside it whose
            outputs are its own, the calls whose outputs it gets, and what these have used.
        possible: What may have been used: all calls inside it too, and where it gets a tensor that
            is known neither from a call nor as an input of the model, all that ended before.
    """

    def __init__(self, calls: Sequence[RecordedCall]) -> None:
        self.calls: Sequence[RecordedCall] = calls
        self.certain: list[int] = []
        self.possible: list[int] = []
        self._makers: dict[int, int] = {}
        self._of_model: set[int] = set()
        for call in calls:
            if call.is_model:
                self._of_model.update(map(id, call.inputs.values()))
        for place, call in enumerate(calls):
            for tensor in call.outputs.values():
                self._makers.setdefault(id(tensor), place)
            self._add(place, call)

    def _add(self, place: int, call: RecordedCall) -> None:
        certain = possible = 1 << place
        for maker in self.iterate_makers(call.outputs.values(), call.begin, place):
            certain |= self.certain[maker]
        for maker in range(call.begin, place):
            possible |= self.possible[maker]
        for maker in self.iterate_makers(call.inputs.values(), 0, call.begin):
            certain |= self.certain[maker]
            possible |= self.possible[maker]
        if self.has_unknown_inputs(call):
            possible |= (1 << call.begin) - 1
        self.certain.append(certain)
        self.possible.append(possible)

    def iterate_makers(
        self, tensors: Iterable[RecordedTensor], begin: int, end: int
    ) -> Iterator[int]:
        """Yield the places of the calls, in a range of places, that have first returned tensors."""
        for tensor in tensors:
            maker = self._makers.get(id(tensor))
            if maker is not None and begin <= maker < end:
                yield maker

    def has_unknown_inputs(self, call: RecordedCall) -> bool:
        """Return whether a call gets what is neither an input of the model nor from a call."""
        for tensor in call.inputs.values():
            has_maker = any(True for _ in self.iterate_makers([tensor], 0, call.begin))
            if not has_maker and id(tensor) not in self._of_model:
                return True
        return False

    def inner_calls(self, place: int) -> int:
        """Return the calls inside one."""
        return (1 << place) - (1 << self.calls[place].begin)

    def list_members(self, found: int) -> list[int]:
        """Return the places of the calls in a set."""
        return [place for place in range(len(self.calls)) if found >> place & 1]


def propagate_tolerances(
    flow: Flow, given: float | None, backends: Collection[str] = ()
) -> list[float]:
    """Return the tolerance for floats of each call: the largest of all that it may depend on.

    It is that of the dtype, or more where a call sums many values.

    Args:
        flow: How the calls depend on each other.
        given: That which a user gives for all.
        backends: The backends on which both models have run.
    """
    found: list[float] = []
    largest = [0.0]
    for place, call in enumerate(flow.calls):
        own = 0.0
        for tensor in (*call.inputs.values(), *call.outputs.values()):
            own = max(own, choose_tolerance(tensor.dtype, given) or 0.0)
        if given is None:
            # Sums of 16 bits are made in float32.
            own = max(own, min(own, TOLERANCES["float32"]) * _estimate_sum_factor(call, backends))
        for maker in (
            *flow.iterate_makers(call.inputs.values(), 0, call.begin),
            *range(call.begin, place),
        ):
            own = max(own, found[maker])
        if flow.has_unknown_inputs(call):
            own = max(own, largest[call.begin])
        found.append(own)
        largest.append(max(own, largest[-1]))
    return found


def find_output_tolerances(
    calls: Sequence[RecordedCall], given: float | None, backends: Collection[str] = ()
) -> dict[str, float]:
    """Return the tolerance of each output of a model, by its place: of all that it depends on.

    Args:
        calls: The calls of the model, the last of which is its own.
        given: See `tolerances_along`.
        backends: See `tolerances_along`.
    """
    flow = Flow(calls)
    allowed = propagate_tolerances(flow, given, backends)
    found = {}
    for place, tensor in calls[-1].outputs.items():
        makers = list(flow.iterate_makers([tensor], 0, len(calls)))
        # What is cast at the end is known from no call inside, and depends on all of them.
        found[place] = max(allowed[maker] for maker in makers)
    return found


def _estimate_sum_factor(call: RecordedCall, backends: Collection[str]) -> float:
    """Return how many times the tolerance of a value the sums of a call have.

    As far as its settings and shapes say what it sums. One value is added after the other by JAX in
    windows, and by TensorFlow along all axes but the last.
    """
    tensor = next(iter(call.inputs.values()), None)
    output = next(iter(call.outputs.values()), None)
    if tensor is None or output is None:
        return 1.0
    shape = tensor.shape
    for name in ("kernel_size", "pool_size"):
        if name in call.settings:
            is_in_order = name == "pool_size" and "jax" in backends
            count = math.prod(_as_list(call.settings[name]))
            return compute_sum_factor(count, is_in_order=is_in_order)
    adds_in_order = "tensorflow" in backends
    groups = call.settings.get("groups")
    if isinstance(groups, int) and groups > 0:
        return compute_sum_factor(math.prod(shape[1:]) / groups, is_in_order=adds_in_order)
    axes = _as_list(call.settings.get("axis"))
    if axes and all(isinstance(axis, int) and -len(shape) <= axis < len(shape) for axis in axes):
        has_last = -1 in axes or len(shape) - 1 in axes
        count = math.prod(shape[axis] for axis in axes)
        return compute_sum_factor(count, is_in_order=adds_in_order and not has_last)
    count = math.prod(shape) / max(math.prod(output.shape), 1)
    is_in_order = adds_in_order and len(output.shape) < len(shape)
    return compute_sum_factor(count, is_in_order=is_in_order)


def _as_list(value: Any) -> list[Any]:
    """Return a setting for several axes: itself, or the only one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
