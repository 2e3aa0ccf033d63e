"""A loss without a value or a gradient at finite numbers, and layers that turn these into NaN."""

import math
from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    pair_with_heads,
    trained_layers,
)
from keras_initx.tools.diagnose._nan_origins import (
    Origin,
    describe_origin,
    gradients_overflow,
    has_lost_gradients,
    list_origin_layers,
    undefined_gradient,
    undefined_output,
)
from keras_initx.tools.diagnose._remedies import propose_activation, propose_loss
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import EXPLODING, Finding, rule
from keras_initx.tools.diagnose._signal_probe import input_signal, target_signal
from keras_initx.tools.diagnose.losses.heads import OutputHead
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe

# The remedy if the operation is unknown.
_GUARD = (
    "keep numbers in roots, in logarithms and below fraction lines away from 0: "
    "keras.ops.sqrt(keras.ops.maximum(x, 1e-7)), keras.ops.log(keras.ops.maximum(x, 1e-7)), "
    "x / keras.ops.maximum(y, 1e-7), also in the branch that keras.ops.where does not take; and "
    "keep numbers in keras.ops.exp below 80"
)
# The expressions to use instead of operations of a functional model, by their classes.
_BY_OPERATION = {
    "Divide": "x / keras.ops.maximum(y, 1e-7)",
    "Log": "keras.ops.log(keras.ops.maximum(x, 1e-7))",
    "Norm": "keras.ops.sqrt(keras.ops.maximum(keras.ops.sum(x**2, axis=-1), 1e-7))",
    "Rsqrt": "keras.ops.rsqrt(keras.ops.maximum(x, 1e-7))",
    "Sqrt": "keras.ops.sqrt(keras.ops.maximum(x, 1e-7))",
    "Std": "keras.ops.sqrt(keras.ops.maximum(keras.ops.var(x, axis=-1), 1e-7))",
    "TrueDivide": "x / keras.ops.maximum(y, 1e-7)",
}


@rule("undefined loss", reads_loss=True)
def undefined_loss(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report a loss or a layer that turns finite numbers into NaN or infinities.

    Reported if:
        - The loss or its gradient is not finite, although inputs, targets and the outputs of all
          layers are finite and no signal explodes.
        - A layer or an operation makes outputs that are not finite from finite inputs.
        - A layer or an operation makes NaN from a finite gradient.

        If smaller numbers would be finite, the problem is *exploding*.

    Level:
        error

    Why:
        A logarithm of 0 and a division by 0 have no value. The root of 0 and the norm of zeros have
        no gradient. One such number makes all weights NaN in the first step, and clipping does not
        help.

    Typical causes:
        - a root, a logarithm or a division in your own code
        - `Poisson` after outputs below 0
        - your own crossentropy that takes probabilities, after a layer without activation

    Fix:
        - Write `maximum(x, 1e-7)` in the root, in the logarithm and below the fraction line.
        - Use softplus before `Poisson`, and a sigmoid or a softmax before such a crossentropy.
    """
    for signal in (input_signal(diagnosis), target_signal(diagnosis)):
        if signal is not None and signal.nonfinite:
            return
    losses, outputs = diagnosis.probe(LossProbe), diagnosis.probe(OutputProbe).signal
    # A mask makes outputs infinite on purpose.
    if diagnosis.probe(OutputProbe).has_nan or any(layer.signal.nonfinite for layer in layers):
        origin = undefined_output(diagnosis)
        if origin is not None:
            yield _report_outputs(origin, diagnosis)
        return
    if losses.value is None or outputs is None or not layers or not all(map(_is_finite, layers)):
        return
    contrast = f"the outputs, from {outputs.min:.3g} to {outputs.max:.3g}, are finite"
    if not math.isfinite(losses.value):
        if not math.isfinite(losses.terms):
            evidence = f"`add_loss` adds {losses.terms:.3g} to the loss, but {contrast}"
            yield Finding([layers[-1]], evidence, Remedy(_GUARD), "error")
            return
        yield _report_loss(f"the loss is {losses.value:.3g}, but {contrast}", diagnosis, layers)
        return
    origin = undefined_gradient(diagnosis)
    effect = f"the gradient of the loss of {losses.value:.3g} is not finite, but {contrast}"
    if origin is not None and origin.is_loss:
        yield _report_loss(effect, diagnosis, layers)
    elif origin is not None:
        yield _report_gradients(origin, diagnosis)
    elif has_lost_gradients(diagnosis) and not gradients_overflow(diagnosis):
        hit = [layer for layer, norm in trained_layers(diagnosis) if not math.isfinite(norm)]
        evidence = f"{effect}, and no number is too large. The place that makes NaN is unknown"
        yield Finding(hit, evidence, Remedy(_GUARD), "error")


def _report_outputs(origin: Origin, diagnosis: Diagnosis) -> Finding:
    title, layers = describe_origin(origin, diagnosis), list_origin_layers(origin, diagnosis)
    evidence = (
        f"the outputs of {title} are {origin.values} for finite inputs. A computation there has no "
        "value at some of these inputs"
    )
    return Finding(layers, evidence, _propose_guard(origin, diagnosis), "error")


def _report_gradients(origin: Origin, diagnosis: Diagnosis) -> Finding:
    title, layers = describe_origin(origin, diagnosis), list_origin_layers(origin, diagnosis)
    evidence = (
        f"the gradient is finite after {title} and not finite before it, although all outputs are "
        "finite. A computation there has no derivative at some of its inputs"
    )
    return Finding(layers, evidence, _propose_guard(origin, diagnosis), "error")


def _propose_guard(origin: Origin, diagnosis: Diagnosis) -> Remedy:
    title, operation = describe_origin(origin, diagnosis), origin.call.operation
    expression = _BY_OPERATION.get(type(operation).__name__)
    if operation in diagnosis.watch.layers or expression is None:
        return Remedy(f"in {title}, {_GUARD}")
    return Remedy(f"use {expression} instead of {title}")


def _is_finite(layer: MeasuredLayer) -> bool:
    """Return whether the signals of `layer` are finite and have not exploded."""
    for signal in (layer.before, layer.after):
        if signal is not None and signal.nonfinite:
            return False
    return bool(layer.signal.std <= EXPLODING or layer.is_rescaled)


def _report_loss(effect: str, diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Finding:
    """Report a loss, with the reason if there is one."""
    for layer, head in pair_with_heads(layers, diagnosis.probe(LossProbe).other_heads):
        if head.loss.name == "poisson" and head.output_signal.min < 0:
            evidence = f"{effect}: poisson takes the logarithm of the outputs of {layer.title}"
            return Finding([layer], evidence, propose_activation("softplus", layer), "error")
        if head.loss.is_own and _takes_no_probabilities(head):
            activation = "sigmoid" if head.loss.kind == "binary" else "softmax"
            evidence = f"{effect}: {head.loss.title} takes outputs of a {activation}"
            remedy = propose_activation(activation, layer)
            if head.activation == "linear":
                remedy = propose_loss(head.loss.class_name, from_logits=True).otherwise(remedy)
            return Finding([layer], evidence, remedy, "error")
    evidence = f"{effect}. The loss has no value or no gradient at some of them"
    return Finding([layers[-1]], evidence, Remedy(_GUARD), "error")


def _takes_no_probabilities(head: OutputHead) -> bool:
    # Some numbers of this batch may lie in [0, 1] nevertheless.
    if not head.loss.is_crossentropy or head.loss.from_logits:
        return False
    return (
        head.activation in ("linear", "relu")
        or head.output_signal.min < 0
        or head.output_signal.max > 1
    )
