"""Dead ends: activations through which no gradient passes for any example of the batch."""

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
def zero_gradient_flow(of: Diagnosis) -> GradientFlow | None:
    """The gradients that pass the calls, where that of a weight is exactly 0, otherwise `None`."""
    value, norms = of.probe(LossProbe).value, gradient_norms(of).values()
    if value is None or not math.isfinite(value) or all(norms):
        return None
    return GradientFlow(of) if all(map(math.isfinite, norms)) else None


@fact
def ending_calls(of: Diagnosis) -> list[PassedCall]:
    """The calls that get a gradient and pass none on, to nothing before them and to no weight."""
    flow = zero_gradient_flow(of)
    if flow is None:
        return []
    by_operation: dict[keras.Operation, list[PassedCall]] = {}
    for call in flow.calls:
        by_operation.setdefault(call.operation, []).append(call)
    found: set[PassedCall] = set()
    for operation, calls in by_operation.items():
        if not any(map(_ends_gradient, calls)) or any(call.before for call in calls):
            continue
        weights = list_own_weights(operation) if isinstance(operation, keras.Layer) else []
        if not any(gradient_norms(of).get(id(weight)) for weight in weights):
            found.update(filter(_ends_gradient, calls))
    return keep_innermost(flow.calls, found)


def _ends_gradient(call: PassedCall) -> bool:
    """Return whether a gradient ends in a call. Of integers none is known."""
    return call.before == 0 and (call.behind is None or call.behind > 0)


@fact
def dead_ends(of: Diagnosis) -> list[keras.Operation]:
    """The layers and operations whose activation is a dead end.

    It is 0 for all examples, or at a limit. Where the loss cuts off what is at a limit, the
    gradient ends in the loss.
    """
    flow = zero_gradient_flow(of)
    if flow is None:
        return []
    found = [call.operation for call in ending_calls(of) if _has_activation(call, of)]
    if not found and flow.calls[0].behind == 0:
        found = _saturated_outputs(of)
    return list(dict.fromkeys(found))


@fact
def closed_activations(of: Diagnosis) -> list[keras.Operation]:
    """The dead ends, and the layers whose activation is at its limits, in a row perhaps one too."""
    found = list(dead_ends(of))
    for layer, seen in of.probe(SignalProbe).seen.items():
        saturated = None if seen.after is None else seen.after.saturated
        if saturated is not None and saturated > _SATURATED:
            found.append(layer)
    return list(dict.fromkeys(found))


@fact
def freed_gradients(of: Diagnosis) -> dict[int, float]:
    """The norms of gradients that pass closed activations before the outputs, by weights' ids.

    There are none without such.
    """
    outputs, norms = of.probe(OutputProbe).records, gradient_norms(of).values()
    closed = [operation for operation in closed_activations(of) if operation not in outputs]
    if not closed or not norms or not all(map(math.isfinite, norms)):
        return {}
    with of.changed(), open_activations(closed, of):
        freed = of.norms()
    return {id(weight): norm for weight, norm in zip(of.trained, freed, strict=True)}


def _has_activation(call: PassedCall, of: Diagnosis) -> bool:
    """Return whether an activation ends gradients: not one of zeros, nor one of tiny gradients."""
    operation = call.operation
    if operation not in of.watch.activations:
        return call.is_fed and type(operation).__name__.lower() in _ACTIVATIONS
    seen = of.probe(SignalProbe).seen.get(operation)
    if seen is None or seen.before is None or seen.after is None:
        return False
    if seen.after.saturated is not None:
        return seen.after.saturated > _SATURATED
    is_softmax = is_bounded(of.watch.activations[operation])
    return is_softmax or (seen.after.zeros == 1 and seen.before.zeros < 1)


def _saturated_outputs(of: Diagnosis) -> list[keras.Operation]:
    """Return the layers whose softmax or sigmoid is saturated for all examples.

    With smaller numbers before it the loss has a gradient.
    """
    found: list[keras.Operation] = []
    for layer, record in of.probe(OutputProbe).records.items():
        if record.certain == 1 and of.watch.activations[layer] is not None:
            found.append(layer)
    if not found:
        return []
    with of.changed(), open_activations(found, of):
        return found if any(of.norms()) else []


@contextlib.contextmanager
def open_activations(operations: list[keras.Operation], of: Diagnosis) -> Iterator[None]:
    """Let gradients pass some activations for the duration of the block.

    One with limits gets smaller numbers, another one gives what it gets.
    """
    with contextlib.ExitStack() as stack:
        for operation in operations:
            name, function = "call", operation.call
            if isinstance(operation, keras.Layer):
                activation = read_activation(operation)
                if activation is not None:
                    name, function = "activation", activation
            known = of.watch.activations.get(operation, type(operation).__name__.lower())
            stack.enter_context(
                replace_attribute(operation, name, _open_activation(function, is_bounded(known)))
            )
        yield


def _open_activation(activation: Callable[..., Tensor], is_bounded: bool) -> Callable[..., Tensor]:
    def passing(values: Tensor, *args: object, **kwargs: object) -> Tensor:
        if not is_bounded:
            return values
        size = keras.ops.sqrt(keras.ops.mean(keras.ops.square(values)))
        return activation(values / keras.ops.maximum(size, 1), *args, **kwargs)

    return passing
