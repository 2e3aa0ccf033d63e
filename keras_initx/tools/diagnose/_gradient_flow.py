"""The gradients before and behind each call: where they become NaN, and where they end.

Zeros that are variables are added to what each layer and operation gets and gives. Their gradients
are those that pass there.
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

# What a tensor is beside others: its place in a list, and its shape and dtype.
_Form: TypeAlias = tuple[int, Shape, str]


@dataclass(eq=False)
class PassedCall:
    """A call of a layer or an operation, and the gradients that pass it.

    Attributes:
        operation: The layer or operation.
        around: The call in which it was made, `None` for that of the model.
        inside: The calls that were made in it.
        takes: The forms of its inputs of floats.
        gives: Those of its outputs.
        is_fed: Whether it gets other floats than zeros.
        behind: The norm of the gradient with respect to its outputs, `None` without any of floats.
        before: The same of its inputs.
    """

    operation: keras.Operation
    around: "PassedCall | None" = None
    inside: list["PassedCall"] = field(default_factory=list)
    takes: list[_Form] = field(default_factory=list)
    gives: list[_Form] = field(default_factory=list)
    is_fed: bool = True
    behind: float | None = None
    before: float | None = None


class CallRecorder(Watcher):
    """Records the calls of a pass, each with those inside it.

    Attributes:
        calls: The calls, in the order in which they begin.
    """

    def __init__(self) -> None:
        self.calls: list[PassedCall] = []
        self._open: list[PassedCall] = []

    def before(self, call: Call) -> None:
        around = self._open[-1] if self._open else None
        given = (call.args, call.kwargs)
        made = PassedCall(call.operation, around, takes=_forms_of(given))
        first = first_float(given)
        made.is_fed = first is None or backend.has_nonzero(first)
        if around is not None:
            around.inside.append(made)
        self.calls.append(made)
        self._open.append(made)

    def after(self, call: Call) -> None:
        self._open.pop().gives = _forms_of(call.outputs)


def _forms_of(nested: Any) -> list[_Form]:
    """Return the forms of the tensors of floats in `nested`, without those of a trace."""
    found = []
    for place, leaf in enumerate(keras.tree.flatten(nested)):
        if not isinstance(leaf, keras.Variable) and first_float(leaf) is not None:
            dtype = keras.backend.standardize_dtype(leaf.dtype)
            found.append((place, tuple(leaf.shape), dtype))
    return found


class _Shifts(Watcher):
    """Adds variables of zeros to the inputs and outputs of calls.

    Args:
        calls: The calls of an equal pass.
    """

    def __init__(self, calls: Iterable[PassedCall]) -> None:
        self.taken: dict[PassedCall, dict[int, keras.Variable]] = {}
        self.given: dict[PassedCall, dict[int, keras.Variable]] = {}
        self._calls: dict[keras.Operation, list[PassedCall]] = {}
        for call in calls:
            self.taken[call] = _zeros(call.takes)
            self.given[call] = _zeros(call.gives)
            self._calls.setdefault(call.operation, []).append(call)
        self._counts: Counter[keras.Operation] = Counter()

    def begin(self) -> None:
        """Count the calls anew: another pass begins."""
        self._counts.clear()

    def before(self, call: Call) -> None:
        calls = self._calls.get(call.operation)
        if calls is None:
            return
        # A backward pass may call a layer again.
        passed = calls[self._counts[call.operation] % len(calls)]
        self._counts[call.operation] += 1
        call.args, call.kwargs = _shifted((call.args, call.kwargs), self.taken[passed])
        function = call.function

        def shifted(*args: Any, **kwargs: Any) -> Any:
            return _shifted(function(*args, **kwargs), self.given[passed])

        call.function = shifted


def _zeros(forms: Iterable[_Form]) -> dict[int, keras.Variable]:
    """Return a variable of zeros for each form, by the place of this."""
    found = {}
    for place, shape, dtype in forms:
        zeros = np.zeros(shape, "float32")
        # A layer would read it in the dtype in which it computes.
        found[place] = keras.Variable(zeros, dtype=dtype, autocast=False, name="shift")
    return found


def _shifted(nested: Any, shifts: dict[int, keras.Variable]) -> Any:
    """Return `nested` with variables added to the tensors at their places."""
    if not shifts:
        return nested
    leaves = keras.tree.flatten(nested)
    for place, shift in shifts.items():
        tensor = leaves[place]
        if tuple(tensor.shape) == tuple(shift.shape):
            leaves[place] = copy_mask(tensor, tensor + keras.ops.convert_to_tensor(shift))
    return keras.tree.pack_sequence_as(nested, leaves)


class GradientFlow:
    """The gradients that pass the calls of a model.

    Args:
        diagnosis: The diagnosis.

    Attributes:
        calls: The calls, in the order in which they begin.
        lost: The ids of the trained weights whose gradient is not finite.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        recorder = CallRecorder()
        Watch(diagnosis.inventory).observe(diagnosis.x, recorder, training=True)
        self.calls: list[PassedCall] = recorder.calls
        self.lost: set[int] = set()
        self._of = diagnosis
        self._shifts = _Shifts(self.calls)
        self._variables: list[keras.Variable] = list(diagnosis.trained)
        for call in self.calls:
            self._variables += self._shifts.taken[call].values()
            self._variables += self._shifts.given[call].values()
        self._norms_of: Callable[..., list[float]] = backend.gradient_norms(
            self._objective, self._variables, list_layers(diagnosis.model)
        )
        self.measure()

    def _objective(self, x: Arrays, y: Arrays, scale: Array) -> Tensor:
        self._shifts.begin()
        with Watch(self._of.inventory).watching(self._shifts):
            value = self._of.objective_of(x, y)
        return value * keras.ops.cast(scale, value.dtype)

    def measure(self, scale: float = 1.0) -> None:
        """Measure the gradients of the loss times a factor."""
        with self._of.without_penalties():
            norms = self._norms_of(self._of.x, self._of.y, np.float32(scale))
        by_id = dict(zip(map(id, self._variables), norms, strict=True))
        self.lost = {id(one) for one in self._of.trained if not math.isfinite(by_id[id(one)])}
        for call in self.calls:
            call.before = _norm_of(self._shifts.taken[call].values(), by_id)
            call.behind = _norm_of(self._shifts.given[call].values(), by_id)


def _norm_of(variables: Iterable[keras.Variable], norms: dict[int, float]) -> float | None:
    """Return the norm of the gradient of several variables, `None` without any."""
    found = [norms[id(one)] for one in variables]
    return math.hypot(*found) if found else None


def keep_innermost(calls: Sequence[PassedCall], found: set[PassedCall]) -> list[PassedCall]:
    """Return those of the calls that were `found`, and none of which is around another such."""
    around = set()
    for call in found:
        outer = call.around
        while outer is not None:
            around.add(outer)
            outer = outer.around
    return [call for call in calls if call in found and call not in around]
