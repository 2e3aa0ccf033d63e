"""Where NaN arises in a model: the first call that makes it of finite numbers, or of a gradient.

Of numbers that grow until they overflow there is no such call: smaller ones are finite there.
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
from keras_initx.tools.diagnose._rules import EXPLODING
from keras_initx.tools.diagnose._signal_probe import list_floats
from keras_initx.tools.diagnose.losses.probes import LossProbe

# What the loss is multiplied with where it is tried whether gradients overflow. It is 0 in float16,
# where all that overflows is finite then too.
_SMALL = 2.0**-60
# The largest input with which it is tried whether outputs overflow.
_SMALL_INPUT = 2.0**-10


@dataclass(frozen=True)
class Origin:
    """A call in which NaN arises.

    Attributes:
        call: The call; that of the model where it is the loss that has no gradient.
        after: Where code of one's own calls other layers, the last one before the NaN.
        is_loss: Whether the gradient with respect to the outputs of the model is none already.
        values: Where its outputs are not finite, `"NaN"` or `"infinite"`, otherwise `None`.
    """

    call: PassedCall
    after: keras.Operation | None = None
    is_loss: bool = False
    values: str | None = None


# ---------------------------------------------------------------- outputs


@fact
def undefined_output(diagnosis: Diagnosis) -> Origin | None:
    """Where the outputs of a call are not finite though its inputs are; `None` without such.

    Nor is there one where smaller inputs make them finite, if these are large or the outputs
    infinite: then numbers overflow.
    """
    recorder = _losses(diagnosis)
    found = keep_innermost(recorder.calls, set(recorder.made))
    for kind in ("NaN", "infinite"):
        for call in found:
            if recorder.made[call] == kind:
                return Origin(call, _last_finite(call, recorder), values=kind)
    return None


@fact
def first_lost_output(diagnosis: Diagnosis) -> Origin | None:
    """Where finite inputs first become outputs that are not finite, also those that overflow."""
    recorder = _losses(diagnosis)
    for call in keep_innermost(recorder.calls, set(recorder.made)):
        return Origin(call, _last_finite(call, recorder))
    return None


@fact
def _losses(diagnosis: Diagnosis) -> "_LossRecorder":
    """Of another pass, the calls that make what is not finite of finite numbers."""
    watch = Watch(diagnosis.inventory)
    recorder = _LossRecorder(watch)
    watch.observe(diagnosis.x, recorder, training=True)
    return recorder


class _LossRecorder(CallRecorder):
    """Records in which calls finite inputs become outputs that are not finite.

    Args:
        watch: The watch of the pass.

    Attributes:
        finite: The calls whose outputs are finite.
        made: What those make of finite inputs whose outputs are not: `"NaN"`, `"infinite"`, or
            `"too large"` where smaller inputs make them finite.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.finite: set[PassedCall] = set()
        self.made: dict[PassedCall, str] = {}
        self._watch = watch
        # The layers one of whose weights is large before the call, which may assign it.
        self._with_large: set[keras.Operation] = set()

    def before(self, call: Call) -> None:
        super().before(call)
        operation = call.operation
        if isinstance(operation, keras.Layer) and any(map(_is_large, operation.weights)):
            self._with_large.add(operation)

    def after(self, call: Call) -> None:
        made = self._open[-1]
        super().after(call)
        outputs = [to_array(tensor) for tensor in list_floats(call.outputs)]
        if all(map(_is_finite, outputs)):
            self.finite.add(made)
            return
        inputs = [to_array(tensor) for tensor in list_floats((call.args, call.kwargs))]
        if not all(map(_is_finite, inputs)):
            return
        has_nan = any(np.isnan(values).any() for values in outputs)
        are_large = call.operation in self._with_large or any(map(_is_large, inputs))
        if (are_large or not has_nan) and self._overflows(call):
            self.made[made] = "too large"
        else:
            self.made[made] = "NaN" if has_nan else "infinite"

    def _overflows(self, call: Call) -> bool:
        """Return whether outputs are finite for small inputs."""
        kept: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if isinstance(call.operation, keras.Layer):
            kept = backend.preserve_state(list_layers(call.operation))

        def smaller(leaf: Any) -> Any:
            if not list_floats(leaf):
                return leaf
            return leaf / max(float(abs(to_array(leaf)).max(initial=1)), 1.0) * _SMALL_INPUT

        args, kwargs = keras.tree.map_structure(smaller, (call.args, call.kwargs))
        with self._watch.paused(), kept:
            outputs = call.function(*args, **kwargs)
        return all(_is_finite(to_array(tensor)) for tensor in list_floats(outputs))


def _is_large(values: Array | keras.Variable) -> bool:
    if isinstance(values, keras.Variable):
        values = to_array(values)
    return bool(np.std(values, dtype="float64") > EXPLODING)


def _is_finite(values: Array) -> bool:
    return bool(np.isfinite(values).all())


def _last_finite(call: PassedCall, recorder: _LossRecorder) -> keras.Operation | None:
    """Return what a call has called last before a part of it was not finite, or `None`."""
    last = None
    for part in call.inside:
        if part not in recorder.finite:
            break
        last = part.operation
    return last


# ---------------------------------------------------------------- gradients


@fact
def undefined_gradient(diagnosis: Diagnosis) -> Origin | None:
    """Where a gradient behind a call is finite, and the one before it, or of its weights, is not.

    It is `None` where all gradients are finite, where they overflow, and where the place is not
    known.
    """
    if not has_lost_gradients(diagnosis):
        return None
    flow = GradientFlow(diagnosis)
    root = flow.calls[0]
    if _is_lost(root.behind):
        return None if _is_overflow(flow, root) else Origin(root, is_loss=True)
    found = keep_innermost(flow.calls, _losing(flow))
    if not found:
        return None
    # That which is passed first on the way back.
    place = found[-1]
    after = None
    for part in place.inside:
        if _is_lost(part.behind):
            after = part.operation
    return None if _is_overflow(flow, place) else Origin(place, after)


@fact
def gradients_overflow(diagnosis: Diagnosis) -> bool:
    """Whether gradients are not finite because they are too large: those of a small loss are."""
    if not has_lost_gradients(diagnosis):
        return False
    flow = GradientFlow(diagnosis)
    flow.measure(_SMALL)
    return not flow.lost


def has_lost_gradients(diagnosis: Diagnosis) -> bool:
    """Return whether the gradient of a weight is not finite, though the loss may be."""
    value = diagnosis.probe(LossProbe).value
    if value is None or math.isnan(value):
        return False
    return not all(math.isfinite(norm) for _, norm in trained_layers(diagnosis))


def _is_lost(norm: float | None) -> bool:
    return norm is not None and not math.isfinite(norm)


def _losing(flow: GradientFlow) -> set[PassedCall]:
    """Return the calls behind which the gradient is finite, and before or in which it is not."""
    reached: dict[keras.Operation, list[PassedCall]] = {}
    for call in flow.calls:
        reached.setdefault(call.operation, []).append(call)
    found = set()
    for operation, calls in reached.items():
        weights: Iterable[keras.Variable] = ()
        if isinstance(operation, keras.Layer):
            weights = list_own_weights(operation)
        # The gradient of a weight is that of all calls.
        are_weights_lost = any(id(weight) in flow.lost for weight in weights)
        are_weights_lost &= not any(_is_lost(call.behind) for call in calls)
        for call in calls:
            is_lost_inside = any(_is_lost(part.behind) for part in call.inside)
            is_lost = _is_lost(call.before) or is_lost_inside or are_weights_lost
            if is_lost and call.behind is not None and math.isfinite(call.behind):
                found.add(call)
    return found


def _is_overflow(flow: GradientFlow, call: PassedCall) -> bool:
    """Return whether gradients are finite here if the one behind has the norm 1, or a small one."""
    scale = _SMALL
    if call.behind and math.isfinite(call.behind):
        scale = 1 / call.behind
    was_behind = _is_lost(call.behind)
    flow.measure(scale)
    if was_behind:
        return not _is_lost(call.behind)
    return call not in keep_innermost(flow.calls, _losing(flow))


# ---------------------------------------------------------------- words


def describe_origin(place: Origin, diagnosis: Diagnosis) -> str:
    """Return the words for a place: a layer by its path, an operation by its class."""
    operation = place.call.operation
    if operation in diagnosis.watch.paths:
        title = diagnosis.watch.paths[operation]
        if operation is diagnosis.model:
            title = f"the `call` of {title}"
    else:
        title = f"the operation {type(operation).__name__}"
    after = place.after
    if after is None and operation not in diagnosis.watch.paths:
        after = _made_before(place.call)
    if after in diagnosis.watch.paths:
        title += f", after {diagnosis.watch.paths[after]}"
    return title


def _made_before(call: PassedCall) -> keras.Operation | None:
    """Return the last layer that was called before an operation by what calls both."""
    before = None
    for other in call.around.inside if call.around else ():
        if other is call:
            break
        if isinstance(other.operation, keras.Layer):
            before = other.operation
    return before


def list_origin_layers(place: Origin, diagnosis: Diagnosis) -> list[MeasuredLayer]:
    """Return the layer of a place, also one without weights."""
    operation = place.call.operation
    if operation not in diagnosis.watch.layers:
        return []
    known = [layer for layer in measured_layers(diagnosis) if layer.layer is operation]
    return known or [MeasuredLayer(operation, diagnosis)]
