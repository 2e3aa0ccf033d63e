"""Find the call that turns finite numbers, or a finite gradient, into NaN.

If numbers grow until they overflow, there is no such call: smaller numbers stay finite in each.
"""

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._keras import list_layers
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import to_array
from keras_initx.inspection._names import list_own_weights
from keras_initx.inspection._watch import Call, Watch
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._gradient_flow import (
    CallRecorder,
    GradientFlow,
    PassedCall,
    keep_innermost,
)
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    measured_layers,
    trained_layers,
)
from keras_initx.tools.diagnose._rules import EXPLODING, HUGE
from keras_initx.tools.diagnose._signal_probe import list_floats
from keras_initx.tools.diagnose.losses.probes import LossProbe

# Factor for the loss, to find out whether gradients overflow. In float16 it is 0, which makes all
# gradients that overflow finite, too.
_SMALL = 2.0**-60
# Largest input, to find out whether outputs overflow.
_SMALL_INPUT = 2.0**-10


@dataclass(frozen=True)
class Origin:
    """A call where NaN arises.

    Attributes:
        call: The call. It is the call of the model if the loss has no gradient.
        after: If the call has inner calls, the operation of the last one before the NaN.
        is_loss: Whether the gradient with respect to the outputs of the model is not finite.
        values: If its outputs are not finite, `"NaN"` or `"infinite"`, otherwise `None`.
    """

    call: PassedCall
    after: keras.Operation | None = None
    is_loss: bool = False
    values: str | None = None


# ---------------------------------------------------------------- outputs


@fact
def undefined_output(diagnosis: Diagnosis) -> Origin | None:
    """The first call whose outputs are not finite though its inputs are; `None` without such.

    Numbers that overflow do not count: large inputs, or outputs that are infinite, if outputs are
    finite for smaller inputs.
    """
    recorder = _record_nonfinite(diagnosis)
    innermost = keep_innermost(recorder.calls, set(recorder.kinds))
    for kind in ("NaN", "infinite"):
        for call in innermost:
            if recorder.kinds[call] == kind:
                return Origin(call, _last_finite(call, recorder), values=kind)
    return None


@fact
def first_lost_output(diagnosis: Diagnosis) -> Origin | None:
    """The first call with outputs that are not finite for finite inputs, also by overflow."""
    recorder = _record_nonfinite(diagnosis)
    for call in keep_innermost(recorder.calls, set(recorder.kinds)):
        return Origin(call, _last_finite(call, recorder))
    return None


@fact
def _record_nonfinite(diagnosis: Diagnosis) -> "_NonfiniteRecorder":
    # In another pass.
    watch = Watch(diagnosis.inventory)
    recorder = _NonfiniteRecorder(watch)
    watch.observe(diagnosis.x, recorder, training=True)
    return recorder


class _NonfiniteRecorder(CallRecorder):
    """Records the calls with finite inputs, and outputs that are not finite.

    Args:
        watch: The watch of the pass.

    Attributes:
        finite: The calls whose outputs are finite.
        kinds: Dict from a call with finite inputs and other outputs to the kind of these outputs:
            `"NaN"`, `"infinite"`, or `"too large"` if they are finite for smaller inputs.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.finite: set[PassedCall] = set()
        self.kinds: dict[PassedCall, str] = {}
        self._watch = watch
        # Before the call, because it may assign its weights.
        self._with_large_weights: set[keras.Operation] = set()
        self._with_huge_weights: set[keras.Operation] = set()

    def before(self, call: Call) -> None:
        super().before(call)
        operation = call.operation
        if isinstance(operation, keras.Layer):
            deviations = list(map(_measure_deviation, operation.weights))
            if any(deviation > EXPLODING for deviation in deviations):
                self._with_large_weights.add(operation)
            if any(deviation > HUGE for deviation in deviations):
                self._with_huge_weights.add(operation)

    def after(self, call: Call) -> None:
        record = self._open[-1]
        super().after(call)
        outputs = [to_array(tensor) for tensor in list_floats(call.outputs)]
        if all(map(_is_finite, outputs)):
            self.finite.add(record)
            return
        inputs = [to_array(tensor) for tensor in list_floats((call.args, call.kwargs))]
        if not all(map(_is_finite, inputs)):
            return
        has_nan = any(np.isnan(values).any() for values in outputs)
        are_large = call.operation in self._with_large_weights or any(
            _measure_deviation(values) > EXPLODING for values in inputs
        )
        # The product of two huge weights overflows for small inputs too.
        are_huge = call.operation in self._with_huge_weights
        if are_huge or ((are_large or not has_nan) and self._overflows(call)):
            self.kinds[record] = "too large"
        else:
            self.kinds[record] = "NaN" if has_nan else "infinite"

    def _overflows(self, call: Call) -> bool:
        # Whether the outputs are finite for small inputs.
        state: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if isinstance(call.operation, keras.Layer):
            state = backend.preserve_state(list_layers(call.operation))

        def shrink(leaf: Any) -> Any:
            if not list_floats(leaf):
                return leaf
            return leaf / max(float(abs(to_array(leaf)).max(initial=1)), 1.0) * _SMALL_INPUT

        args, kwargs = keras.tree.map_structure(shrink, (call.args, call.kwargs))
        with self._watch.paused(), state:
            outputs = call.function(*args, **kwargs)
        return all(_is_finite(to_array(tensor)) for tensor in list_floats(outputs))


def _measure_deviation(values: Array | keras.Variable) -> float:
    if isinstance(values, keras.Variable):
        values = to_array(values)
    return float(np.std(values, dtype="float64"))


def _is_finite(values: Array) -> bool:
    return bool(np.isfinite(values).all())


def _last_finite(call: PassedCall, recorder: _NonfiniteRecorder) -> keras.Operation | None:
    """Return the operation of the last inner call before one that is not finite, or `None`."""
    last = None
    for inner in call.inner:
        if inner not in recorder.finite:
            break
        last = inner.operation
    return last


# ---------------------------------------------------------------- gradients


@fact
def undefined_gradient(diagnosis: Diagnosis) -> Origin | None:
    """The call with a finite gradient of its outputs, and another one of its inputs or weights.

    It is `None` if all gradients are finite, if they overflow, or if no single call is the cause.
    """
    if not has_lost_gradients(diagnosis):
        return None
    flow = GradientFlow(diagnosis)
    root = flow.calls[0]
    if _is_lost(root.output_norm):
        return None if _is_overflow(flow, root) else Origin(root, is_loss=True)
    losing = keep_innermost(flow.calls, _find_losing(flow))
    if not losing:
        return None
    first = losing[-1]  # in the backward pass
    after = None
    for inner in first.inner:
        if _is_lost(inner.output_norm):
            after = inner.operation
    return None if _is_overflow(flow, first) else Origin(first, after)


@fact
def gradients_overflow(diagnosis: Diagnosis) -> bool:
    """Whether gradients are not finite because they are too large: a small loss has finite ones."""
    if not has_lost_gradients(diagnosis):
        return False
    flow = GradientFlow(diagnosis)
    flow.measure(_SMALL)
    return not flow.lost


def has_lost_gradients(diagnosis: Diagnosis) -> bool:
    """Return whether the gradient of a weight is not finite, though the loss is not NaN."""
    value = diagnosis.probe(LossProbe).value
    if value is None or math.isnan(value):
        return False
    return not all(math.isfinite(norm) for _, norm in trained_layers(diagnosis))


def _is_lost(norm: float | None) -> bool:
    return norm is not None and not math.isfinite(norm)


def _find_losing(flow: GradientFlow) -> set[PassedCall]:
    # A losing call has a finite gradient of its outputs, but not of its inputs, weights or inner
    # calls.
    by_operation: dict[keras.Operation, list[PassedCall]] = {}
    for call in flow.calls:
        by_operation.setdefault(call.operation, []).append(call)
    losing = set()
    for operation, calls in by_operation.items():
        weights: Iterable[keras.Variable] = ()
        if isinstance(operation, keras.Layer):
            weights = list_own_weights(operation)
        # The gradient of a weight is the sum over all calls.
        are_weights_lost = any(id(weight) in flow.lost for weight in weights)
        are_weights_lost &= not any(_is_lost(call.output_norm) for call in calls)
        for call in calls:
            is_lost_inside = any(_is_lost(inner.output_norm) for inner in call.inner)
            is_lost = _is_lost(call.input_norm) or is_lost_inside or are_weights_lost
            if is_lost and call.output_norm is not None and math.isfinite(call.output_norm):
                losing.add(call)
    return losing


def _is_overflow(flow: GradientFlow, call: PassedCall) -> bool:
    """Measure the flow once more with a smaller loss, and return whether gradients are finite here.

    The loss is scaled so that the gradient of the outputs of `call` has norm 1, or is small.
    """
    scale = _SMALL
    if call.output_norm and math.isfinite(call.output_norm):
        scale = 1 / call.output_norm
    were_outputs_lost = _is_lost(call.output_norm)
    flow.measure(scale)
    if were_outputs_lost:
        return not _is_lost(call.output_norm)
    return call not in keep_innermost(flow.calls, _find_losing(flow))


# ---------------------------------------------------------------- words


def describe_origin(origin: Origin, diagnosis: Diagnosis) -> str:
    """Describe a layer by its path, and an operation by its class and the layer before it."""
    operation = origin.call.operation
    if operation in diagnosis.watch.paths:
        title = diagnosis.watch.paths[operation]
        if operation is diagnosis.model:
            title = f"the `call` of {title}"
    else:
        title = f"the operation {type(operation).__name__}"
    after = origin.after
    if after is None and operation not in diagnosis.watch.paths:
        after = _find_layer_before(origin.call)
    if after in diagnosis.watch.paths:
        title += f", after {diagnosis.watch.paths[after]}"
    return title


def _find_layer_before(call: PassedCall) -> keras.Operation | None:
    """Return the last layer that the caller of an operation has called before, or `None`."""
    before = None
    for sibling in call.caller.inner if call.caller else ():
        if sibling is call:
            break
        if isinstance(sibling.operation, keras.Layer):
            before = sibling.operation
    return before


def list_origin_layers(origin: Origin, diagnosis: Diagnosis) -> list[MeasuredLayer]:
    """Return the layer in a list, also one without weights; an empty list for an operation."""
    operation = origin.call.operation
    if operation not in diagnosis.watch.layers:
        return []
    measured = [layer for layer in measured_layers(diagnosis) if layer.layer is operation]
    return measured or [MeasuredLayer(operation, diagnosis)]
