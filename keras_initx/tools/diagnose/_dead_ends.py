"""Dead ends: activations that pass no gradient for any example of the batch."""

import contextlib
import math
from collections.abc import Callable, Iterator

import keras

from keras_initx._typing import Tensor
from keras_initx.inspection._hooks import is_bounded, read_activation, replace_attribute
from keras_initx.inspection._names import list_own_weights
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._gradient_flow import GradientFlow, PassedCall, keep_innermost
from keras_initx.tools.diagnose._signal_probe import SignalProbe
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe, gradient_norms

# The classes of operations that apply an activation, in lower case.
_ACTIVATIONS = {name.replace("_", "") for name in dir(keras.activations)}

# Fraction of the outputs near a limit above which the numbers behind them are not merely tiny.
_SATURATED = 0.25


@fact
def zero_gradient_flow(diagnosis: Diagnosis) -> GradientFlow | None:
    """The gradients that pass the calls if a weight has a gradient of exactly 0, else `None`."""
    value, norms = diagnosis.probe(LossProbe).value, gradient_norms(diagnosis).values()
    if value is None or not math.isfinite(value) or all(norms):
        return None
    return GradientFlow(diagnosis) if all(map(math.isfinite, norms)) else None


@fact
def ending_calls(diagnosis: Diagnosis) -> list[PassedCall]:
    """The calls that get a gradient and pass none on, neither to inputs nor to a weight."""
    flow = zero_gradient_flow(diagnosis)
    if flow is None:
        return []
    by_operation: dict[keras.Operation, list[PassedCall]] = {}
    for call in flow.calls:
        by_operation.setdefault(call.operation, []).append(call)
    ending: set[PassedCall] = set()
    for operation, calls in by_operation.items():
        if not any(map(_ends_gradient, calls)) or any(call.input_norm for call in calls):
            continue
        weights = list_own_weights(operation) if isinstance(operation, keras.Layer) else []
        if not any(gradient_norms(diagnosis).get(id(weight)) for weight in weights):
            ending.update(filter(_ends_gradient, calls))
    return keep_innermost(flow.calls, ending)


def _ends_gradient(call: PassedCall) -> bool:
    # The gradient of integers is not known: `output_norm` is `None`.
    return call.input_norm == 0 and (call.output_norm is None or call.output_norm > 0)


@fact
def dead_ends(diagnosis: Diagnosis) -> list[keras.Operation]:
    """The layers and operations whose activation is a dead end.

    The activation is 0 for all examples, or at a limit. If the loss clips such outputs, the
    gradient ends in the loss.
    """
    flow = zero_gradient_flow(diagnosis)
    if flow is None:
        return []
    ends = [call.operation for call in ending_calls(diagnosis) if _has_activation(call, diagnosis)]
    if not ends and flow.calls[0].output_norm == 0:
        ends = _find_saturated_outputs(diagnosis)
    return list(dict.fromkeys(ends))


@fact
def closed_activations(diagnosis: Diagnosis) -> list[keras.Operation]:
    """The dead ends, and the layers whose activation is at its limits.

    Several in a row may be dead ends, because only the last one gets a gradient to stop.
    """
    closed = list(dead_ends(diagnosis))
    for layer, signals in diagnosis.probe(SignalProbe).signals.items():
        saturated = None if signals.after is None else signals.after.saturated
        if saturated is not None and saturated > _SATURATED:
            closed.append(layer)
    return list(dict.fromkeys(closed))


@fact
def freed_gradients(diagnosis: Diagnosis) -> dict[int, float]:
    """Dict from the id of a weight to the norm of its gradient with closed activations opened.

    Activations of outputs stay closed. If there are no other ones, the dict is empty.
    """
    outputs, norms = diagnosis.probe(OutputProbe).records, gradient_norms(diagnosis).values()
    closed = [operation for operation in closed_activations(diagnosis) if operation not in outputs]
    if not closed or not norms or not all(map(math.isfinite, norms)):
        return {}
    with diagnosis.changed(), open_activations(closed, diagnosis):
        freed = diagnosis.norms()
    return dict(zip(map(id, diagnosis.trained), freed, strict=True))


def _has_activation(call: PassedCall, diagnosis: Diagnosis) -> bool:
    """Return whether a call ends gradients by its activation, not by inputs that are all 0."""
    operation = call.operation
    if operation not in diagnosis.watch.activations:
        return call.has_nonzero_input and type(operation).__name__.lower() in _ACTIVATIONS
    signals = diagnosis.probe(SignalProbe).signals.get(operation)
    if signals is None or signals.before is None or signals.after is None:
        return False
    if signals.after.saturated is not None:
        return signals.after.saturated > _SATURATED
    is_softmax = is_bounded(diagnosis.watch.activations[operation])
    return is_softmax or (signals.after.zeros == 1 and signals.before.zeros < 1)


def _find_saturated_outputs(diagnosis: Diagnosis) -> list[keras.Operation]:
    """Return the layers whose softmax or sigmoid is saturated for all examples.

    The list is empty if the loss has no gradient with smaller numbers before the activation either.
    """
    saturated: list[keras.Operation] = []
    for layer, record in diagnosis.probe(OutputProbe).records.items():
        if record.certain == 1 and diagnosis.watch.activations[layer] is not None:
            saturated.append(layer)
    if not saturated:
        return []
    with diagnosis.changed(), open_activations(saturated, diagnosis):
        return saturated if any(diagnosis.norms()) else []


@contextlib.contextmanager
def open_activations(operations: list[keras.Operation], diagnosis: Diagnosis) -> Iterator[None]:
    """Let gradients pass some activations for the duration of the block.

    An activation with limits gets smaller numbers. Others become the identity.
    """
    with contextlib.ExitStack() as stack:
        for operation in operations:
            name, function = "call", operation.call
            if isinstance(operation, keras.Layer):
                activation = read_activation(operation)
                if activation is not None:
                    name, function = "activation", activation
            kind = diagnosis.watch.activations.get(operation, type(operation).__name__.lower())
            stack.enter_context(
                replace_attribute(operation, name, _open_activation(function, is_bounded(kind)))
            )
        yield


def _open_activation(activation: Callable[..., Tensor], is_bounded: bool) -> Callable[..., Tensor]:
    def pass_gradients(values: Tensor, *args: object, **kwargs: object) -> Tensor:
        if not is_bounded:
            return values
        size = keras.ops.sqrt(keras.ops.mean(keras.ops.square(values)))
        return activation(values / keras.ops.maximum(size, 1), *args, **kwargs)

    return pass_gradients
