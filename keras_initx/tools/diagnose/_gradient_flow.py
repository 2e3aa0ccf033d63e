"""Gradients of the inputs and outputs of each call, to find the call that makes NaN or ends them.

A variable of zeros, a *shift*, is added to each input and output of floats. The gradient of a shift
is the gradient that passes there. Calls form a tree: the call of a model has *inner* calls.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._keras import copy_mask, list_layers
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import first_float
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.tools.diagnose._diagnosis import Arrays, Diagnosis

# A tensor in a nested structure: its index in the flat list, its shape and its dtype, as
# (0, (32, 8), "float32").
_Form: TypeAlias = tuple[int, Shape, str]


@dataclass(eq=False)
class PassedCall:
    """A call of a layer or an operation, and the gradients that pass it.

    Attributes:
        operation: The layer or operation.
        caller: The call that made it, `None` for the call of the model.
        inner: The calls that were made in it.
        input_forms: The forms of its inputs of floats.
        output_forms: The forms of its outputs of floats.
        has_nonzero_input: Whether its first input of floats is not all 0, or it has none.
        output_norm: The norm of the gradient with respect to its outputs of floats, `None` if it
            has none.
        input_norm: The norm of the gradient with respect to its inputs of floats, `None` if it has
            none.
    """

    operation: keras.Operation
    caller: "PassedCall | None" = None
    inner: list["PassedCall"] = field(default_factory=list)
    input_forms: list[_Form] = field(default_factory=list)
    output_forms: list[_Form] = field(default_factory=list)
    has_nonzero_input: bool = True
    output_norm: float | None = None
    input_norm: float | None = None


class CallRecorder(Watcher):
    """Records the calls of a pass, each with its inner calls.

    Attributes:
        calls: The calls, ordered by their beginnings.
    """

    def __init__(self) -> None:
        self.calls: list[PassedCall] = []
        self._open: list[PassedCall] = []

    def before(self, call: Call) -> None:
        caller = self._open[-1] if self._open else None
        arguments = (call.args, call.kwargs)
        record = PassedCall(call.operation, caller, input_forms=_list_forms(arguments))
        first = first_float(arguments)
        record.has_nonzero_input = first is None or backend.has_nonzero(first)
        if caller is not None:
            caller.inner.append(record)
        self.calls.append(record)
        self._open.append(record)

    def after(self, call: Call) -> None:
        self._open.pop().output_forms = _list_forms(call.outputs)


def _list_forms(nested: Any) -> list[_Form]:
    """Return the forms of the tensors of floats in `nested`, without traced tensors."""
    forms = []
    for index, leaf in enumerate(keras.tree.flatten(nested)):
        if not isinstance(leaf, keras.Variable) and first_float(leaf) is not None:
            dtype = keras.backend.standardize_dtype(leaf.dtype)
            forms.append((index, tuple(leaf.shape), dtype))
    return forms


class _Shifts(Watcher):
    """Adds variables of zeros to the inputs and outputs of calls.

    Args:
        calls: The calls of an equal pass.

    Attributes:
        of_inputs: Dict from a call to the shifts of its inputs, by their indices.
        of_outputs: Dict from a call to the shifts of its outputs, by their indices.
    """

    def __init__(self, calls: Iterable[PassedCall]) -> None:
        self.of_inputs: dict[PassedCall, dict[int, keras.Variable]] = {}
        self.of_outputs: dict[PassedCall, dict[int, keras.Variable]] = {}
        self._calls: dict[keras.Operation, list[PassedCall]] = {}
        for call in calls:
            self.of_inputs[call] = _make_shifts(call.input_forms)
            self.of_outputs[call] = _make_shifts(call.output_forms)
            self._calls.setdefault(call.operation, []).append(call)
        self._counts: Counter[keras.Operation] = Counter()

    def restart(self) -> None:
        # Another pass begins: count its calls from 0.
        self._counts.clear()

    def before(self, call: Call) -> None:
        calls = self._calls.get(call.operation)
        if calls is None:
            return
        # A backward pass may call a layer again.
        record = calls[self._counts[call.operation] % len(calls)]
        self._counts[call.operation] += 1
        call.args, call.kwargs = _add_shifts((call.args, call.kwargs), self.of_inputs[record])
        function = call.function

        def call_and_shift(*args: Any, **kwargs: Any) -> Any:
            return _add_shifts(function(*args, **kwargs), self.of_outputs[record])

        call.function = call_and_shift


def _make_shifts(forms: Iterable[_Form]) -> dict[int, keras.Variable]:
    shifts = {}
    for index, shape, dtype in forms:
        zeros = np.zeros(shape, "float32")
        # With `autocast`, a layer would read it in the dtype in which it computes.
        shifts[index] = keras.Variable(zeros, dtype=dtype, autocast=False, name="shift")
    return shifts


def _add_shifts(nested: Any, shifts: dict[int, keras.Variable]) -> Any:
    if not shifts:
        return nested
    leaves = keras.tree.flatten(nested)
    for index, shift in shifts.items():
        tensor = leaves[index]
        if tuple(tensor.shape) == tuple(shift.shape):
            leaves[index] = copy_mask(tensor, tensor + keras.ops.convert_to_tensor(shift))
    return keras.tree.pack_sequence_as(nested, leaves)


class GradientFlow:
    """The gradients that pass the calls of a model.

    Args:
        diagnosis: The diagnosis.

    Attributes:
        calls: The calls, ordered by their beginnings.
        lost: The ids of the trained weights whose gradient is not finite.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        recorder = CallRecorder()
        Watch(diagnosis.inventory).observe(diagnosis.x, recorder, training=True)
        self.calls: list[PassedCall] = recorder.calls
        self.lost: set[int] = set()
        self._diagnosis = diagnosis
        self._shifts = _Shifts(self.calls)
        self._variables: list[keras.Variable] = list(diagnosis.trained)
        for call in self.calls:
            self._variables += self._shifts.of_inputs[call].values()
            self._variables += self._shifts.of_outputs[call].values()
        self._compute_norms: Callable[..., list[float]] = backend.gradient_norms(
            self._objective, self._variables, list_layers(diagnosis.model)
        )
        self.measure()

    def _objective(self, x: Arrays, y: Arrays, scale: Array) -> Tensor:
        self._shifts.restart()
        with Watch(self._diagnosis.inventory).watching(self._shifts):
            value = self._diagnosis.objective_of(x, y)
        return value * keras.ops.cast(scale, value.dtype)

    def measure(self, scale: float = 1.0) -> None:
        """Measure the gradients of the loss times a factor."""
        with self._diagnosis.without_penalties():
            norms = self._compute_norms(self._diagnosis.x, self._diagnosis.y, np.float32(scale))
        by_id = dict(zip(map(id, self._variables), norms, strict=True))
        trained = map(id, self._diagnosis.trained)
        self.lost = {identity for identity in trained if not math.isfinite(by_id[identity])}
        for call in self.calls:
            call.input_norm = _combine_norms(self._shifts.of_inputs[call].values(), by_id)
            call.output_norm = _combine_norms(self._shifts.of_outputs[call].values(), by_id)


def _combine_norms(
    variables: Iterable[keras.Variable], norm_by_id: dict[int, float]
) -> float | None:
    norms = [norm_by_id[id(variable)] for variable in variables]
    return math.hypot(*norms) if norms else None


def keep_innermost(calls: Sequence[PassedCall], selected: set[PassedCall]) -> list[PassedCall]:
    """Return the selected calls that are the caller of no other selected call, in order."""
    callers = set()
    for call in selected:
        caller = call.caller
        while caller is not None:
            callers.add(caller)
            caller = caller.caller
    return [call for call in calls if call in selected and call not in callers]
