"""A loss without a value or a gradient at finite numbers."""

import math
from collections.abc import Iterator

from keras_initx.diagnostics._measurements import LayerReport, Measurements, Objective
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdict import EXPLODING, Finding, rule
from keras_initx.diagnostics.verdicts.outputs import is_misread, other_activation

# What cures it where the operation is not known.
_GUARDED = Remedy(
    "what is in a root, in a logarithm or below a fraction line is kept away from 0 before: "
    "keras.ops.sqrt(keras.ops.maximum(x, 1e-7)), keras.ops.log(keras.ops.maximum(x, 1e-7)), "
    "x / keras.ops.maximum(y, 1e-7); and what is in keras.ops.exp below 80"
)


@rule(
    "undefined loss",
    levels={"error": ""},
    finds="a loss, or its gradient, that is not finite, although inputs, targets and the outputs "
    "of all layers are, and nothing grows",
    reason="the logarithm of 0 and a division by 0 have no value, the root of 0 and the norm of "
    "zeros no gradient: one such number makes all weights NaN in the first step",
    remedy="`maximum(x, 1e-7)` in the root, in the logarithm or below the fraction line; softplus "
    "before `Poisson`, a sigmoid or softmax before a crossentropy of one's own",
)
def undefined_loss(measured: Measurements) -> Iterator[Finding]:
    found = fault_of(measured)
    if found is not None:
        yield found


def fault_of(measured: Measurements) -> Finding | None:
    """Return the finding on a loss without a value or a gradient, `None` without one."""
    targets = measured.targets
    if (measured.inputs or Signal()).nonfinite or (targets is not None and targets.nonfinite):
        return None
    objective = measured.objective
    if objective is None or objective.value is None or objective.outputs.nonfinite:
        return None
    if not measured.layers or not all(_is_finite(layer) for layer in measured.layers):
        return None
    if math.isfinite(objective.value) and math.isfinite(objective.slope or 0.0):
        return None
    return _of_loss(measured.layers[-1], objective, measured)


def _is_finite(layer: LayerReport) -> bool:
    """Return whether the signals of `layer` are finite and have not exploded."""
    for signal in (layer.before, layer.after):
        if signal is not None and signal.nonfinite:
            return False
    return bool(layer.signal.std <= EXPLODING)


def _of_loss(last: LayerReport, objective: Objective, measured: Measurements) -> Finding | None:
    """Return the finding on a loss that has no value or no gradient at these outputs."""
    # What it takes these outputs for is named already.
    if any(is_misread(layer, measured) for layer, _ in measured.outputs):
        return None
    outputs = objective.outputs
    given = f"the outputs, from {outputs.min:.3g} to {outputs.max:.3g}, are finite"
    if not math.isfinite(objective.terms):
        evidence = f"what is added to the loss by `add_loss` is {objective.terms:.3g}, but {given}"
        return Finding([last], evidence, _GUARDED, "error")
    what = f"the loss is {objective.value:.3g}, but {given}"
    if math.isfinite(objective.value or 0.0):
        what = f"the gradient of the loss of {objective.value:.3g} is not finite, but {given}"
    for layer, of_loss in measured.loss_inputs:
        if of_loss.name == "poisson" and of_loss.outputs.min < 0:
            evidence = f"{what}: poisson takes the logarithm of the outputs of {layer.name}"
            return Finding([layer], evidence, other_activation("softplus", layer), "error")
    for layer, own in measured.own_losses:
        if own.defined_by is not None:
            evidence = f"{what}: it has a value for those of a {own.defined_by}"
            return Finding([layer], evidence, other_activation(own.defined_by, layer), "error")
        if own.undefined_rows:
            evidence = (
                f"{what}: it has no value for the {own.undefined_rows:.0%} of the examples whose "
                "targets are all the same, whatever the outputs are"
            )
            remedy = Remedy("leave out the examples with such targets")
            return Finding([layer], evidence, remedy, "error")
    evidence = f"{what}: it has no value or no gradient at some of them"
    return Finding([last], evidence, _GUARDED, "error")
