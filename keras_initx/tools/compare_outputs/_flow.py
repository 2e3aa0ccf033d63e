"""How the calls of a record depend on each other: by the tensors that they return and get.

Calls are numbered by their ends: in `net(gate, act(gate))` they are gate 0, act 1, net 2. A set of
calls is a number whose bit `i` means call `i`: `act` depends on 0b011. The *maker* of a tensor is
the first call that has returned it.
"""

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
    """The calls that each call of a record depends on, as sets in the bits of numbers.

    Args:
        calls: The calls, ordered by their ends.

    Attributes:
        calls: The same.
        certain: The calls that each call has certainly used: itself, the calls inside it that make
            its own outputs, the calls that make its inputs, and the calls that these used.
        possible: The calls that it may have used. These are also all calls inside it. If it gets a
            tensor of unknown origin, these are also all calls that ended before.
    """

    def __init__(self, calls: Sequence[RecordedCall]) -> None:
        self.calls: Sequence[RecordedCall] = calls
        self.certain: list[int] = []
        self.possible: list[int] = []
        self._makers: dict[int, int] = {}
        self._model_inputs: set[int] = set()
        for call in calls:
            if call.is_model:
                self._model_inputs.update(map(id, call.inputs.values()))
        for index, call in enumerate(calls):
            for tensor in call.outputs.values():
                self._makers.setdefault(id(tensor), index)
            self._add(index, call)

    def _add(self, index: int, call: RecordedCall) -> None:
        certain = possible = 1 << index
        for maker in self.iterate_makers(call.outputs.values(), call.begin, index):
            certain |= self.certain[maker]
        for maker in range(call.begin, index):
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
        """Yield the makers of tensors, as far as their indices are in a range."""
        for tensor in tensors:
            maker = self._makers.get(id(tensor))
            if maker is not None and begin <= maker < end:
                yield maker

    def has_unknown_inputs(self, call: RecordedCall) -> bool:
        """Say whether a call gets a tensor that is no input of the model, and no call has made."""
        for tensor in call.inputs.values():
            has_maker = any(True for _ in self.iterate_makers([tensor], 0, call.begin))
            if not has_maker and id(tensor) not in self._model_inputs:
                return True
        return False

    def inner_calls(self, index: int) -> int:
        """Return the set of the calls inside a call."""
        return (1 << index) - (1 << self.calls[index].begin)

    def list_members(self, members: int) -> list[int]:
        """List the indices of the calls in a set."""
        return [index for index in range(len(self.calls)) if members >> index & 1]


def propagate_tolerances(
    flow: Flow, tolerance: float | None, backends: Collection[str] = ()
) -> list[float]:
    """Compute the tolerance for floats of each call: the largest of all that it may depend on.

    The tolerance of a call by itself is the tolerance of its dtype, or more if it sums many values.

    Args:
        flow: How the calls depend on each other.
        tolerance: The user's tolerance for all floats, if there is one.
        backends: The backends of both models.
    """
    tolerances: list[float] = []
    largest_so_far = [0.0]
    for index, call in enumerate(flow.calls):
        largest = 0.0
        for tensor in (*call.inputs.values(), *call.outputs.values()):
            largest = max(largest, choose_tolerance(tensor.dtype, tolerance) or 0.0)
        if tolerance is None:
            # Sums of 16 bits are computed in float32.
            largest = max(
                largest, min(largest, TOLERANCES["float32"]) * _estimate_sum_factor(call, backends)
            )
        for maker in (
            *flow.iterate_makers(call.inputs.values(), 0, call.begin),
            *range(call.begin, index),
        ):
            largest = max(largest, tolerances[maker])
        if flow.has_unknown_inputs(call):
            largest = max(largest, largest_so_far[call.begin])
        tolerances.append(largest)
        largest_so_far.append(max(largest, largest_so_far[-1]))
    return tolerances


def find_output_tolerances(
    calls: Sequence[RecordedCall], tolerance: float | None, backends: Collection[str] = ()
) -> dict[str, float]:
    """Find the tolerance of each output of a model, by its label.

    An output has the largest tolerance of all calls that it depends on.

    Args:
        calls: The calls of the model. The last call is its own.
        tolerance: See `propagate_tolerances`.
        backends: See `propagate_tolerances`.
    """
    flow = Flow(calls)
    call_tolerances = propagate_tolerances(flow, tolerance, backends)
    tolerances = {}
    for label, tensor in calls[-1].outputs.items():
        makers = list(flow.iterate_makers([tensor], 0, len(calls)))
        # An output that is cast at the end comes from no call inside, and depends on all of them.
        tolerances[label] = max(call_tolerances[maker] for maker in makers)
    return tolerances


def _estimate_sum_factor(call: RecordedCall, backends: Collection[str]) -> float:
    """Estimate the tolerance of the sums of a call, in tolerances of one value.

    The settings and shapes of the call tell how many values it sums: the window of a kernel or a
    pooling, a group, the axes of a normalization, or all axes that the output lacks. JAX adds one
    value after the other in windows, and TensorFlow along all axes but the last.
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
    # A setting for several axes, or for one.
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
