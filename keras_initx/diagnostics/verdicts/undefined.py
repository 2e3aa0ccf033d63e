"""Operations without a value or a gradient at finite numbers: in the loss, or between layers."""

import math
from collections.abc import Iterator

from keras_initx.diagnostics._measurements import LayerReport, Measurements, Objective
from keras_initx.diagnostics._outputs import LossInputs
from keras_initx.diagnostics._remedy import (
    Remedy,
    choice,
    drawn,
    kernels_of,
    of_mixed_targets,
)
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdict import Finding, rule
from keras_initx.diagnostics.verdicts.outputs import is_misread, other_activation
from keras_initx.initializers import GlorotUniform

# What cures it where the operation is not known.
_GUARDED = Remedy(
    "what is in a root, in a logarithm or below a fraction line is kept away from 0 before: "
    "keras.ops.sqrt(keras.ops.maximum(x, 1e-7)), keras.ops.log(keras.ops.maximum(x, 1e-7)), "
    "x / keras.ops.maximum(y, 1e-7); and what is in keras.ops.exp below 80"
)


@rule(
    "undefined loss",
    levels={"error": ""},
    finds="a loss, a gradient, outputs of the model or inputs of a layer that are not finite, "
    "although inputs, targets and the outputs of all layers before are, and nothing grows; a mean "
    "absolute percentage error of targets that are 0",
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
    """Return the finding on an operation without a value or a gradient, `None` without one."""
    targets = measured.targets
    if (measured.inputs or Signal()).nonfinite or (targets is not None and targets.nonfinite):
        return None
    last = None
    for layer in measured.layers:
        if _is_finite(layer, measured):
            last = layer
            continue
        # Only what is not finite before it did not begin in this layer.
        if last is None or not _gets_nonfinite(layer):
            return None
        what = f"the inputs of {layer.name} are not finite, but the outputs of {last.name} are"
        return _of_operation(last, what)
    objective = measured.objective
    if objective is None or last is None:
        return None
    value = objective.value
    for layer, of_loss in measured.loss_inputs:
        if of_loss.name == "mean_absolute_percentage_error" and of_loss.zeros:
            return _of_percentages(layer, of_loss)
        if of_loss.name == "cosine_similarity" and of_loss.empty and _are_large(measured):
            return _of_zeros(layer, of_loss)
    has_gradients = all(math.isfinite(norm) for _, norm in measured.gradient_norms)
    # Outputs may be infinite on purpose, as logits are by a mask.
    if has_gradients and (value is None or math.isfinite(value)):
        return None
    if objective.outputs.nonfinite:
        share = f"{objective.outputs.nonfinite:.0%}"
        what = f"{share} of the outputs of the model are not finite, but all of {last.name} are"
        return _of_operation(last, what)
    if value is None:
        return None
    if not math.isfinite(value) or not math.isfinite(objective.slope or 0.0):
        return _of_loss(last, objective, measured)
    return _of_gradients(measured)


def _is_finite(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether the signals of `layer` are finite and have not exploded."""
    for signal in (layer.before, layer.after):
        if signal is not None and signal.nonfinite:
            return False
    return bool(layer.signal.std <= measured.thresholds["exploding"])


def _gets_nonfinite(layer: LayerReport) -> bool:
    """Return whether the kernel of a layer inside the model gets what is not finite."""
    if layer.inputs is None or layer.inputs.difference is None:
        return False
    return math.isnan(layer.inputs.difference)


def _of_operation(last: LayerReport, what: str) -> Finding:
    """Return the finding on an operation after the layer `last`."""
    evidence = f"{what}: an operation after {last.name} has no value or no gradient at some numbers"
    return Finding([last], evidence, _GUARDED, "error")


def _of_gradients(measured: Measurements) -> Finding | None:
    """Return the finding on gradients that end after the last layer where they are not finite."""
    norms = measured.gradient_norms
    lost = [layer for layer, norm in norms if not math.isfinite(norm)]
    if not lost:
        return None
    last = lost[-1]
    position = measured.layers.index(last)
    for layer, norm in norms:
        # Gradients that grow towards it overflow there.
        is_after = measured.layers.index(layer) > position
        if is_after and norm > measured.thresholds["exploding_gradient"]:
            return None
    # Through many steps they may overflow inside a layer.
    if last.recurrence is not None:
        return None
    what = f"the gradients of {last.name} are not finite"
    if len(lost) > 1:
        what = f"the gradients of {len(lost)} layers, up to {last.name}, are not finite"
    after = [(layer, norm) for layer, norm in norms if measured.layers.index(layer) > position]
    if after:
        first, norm = after[0]
        what += f", but that of {first.name} is {norm:.3g}"
    elif measured.objective is not None and measured.objective.slope is not None:
        what += f", but that of the outputs of the model is {measured.objective.slope:.3g}"
    return _of_operation(last, what)


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
            text = f'activation="softplus" in {layer.name}'
            remedy = Remedy(text, layers={layer.name: {"activation": "softplus"}})
            return Finding([layer], evidence, remedy, "error")
    for layer, own in measured.own_losses:
        if own.defined_by is not None:
            evidence = f"{what}: it has a value for those of a {own.defined_by}"
            return Finding([layer], evidence, other_activation(own.defined_by, layer), "error")
        if own.undefined_rows:
            evidence = (
                f"{what}: it has no value for the {own.undefined_rows:.0%} of the examples whose "
                "targets are all the same, whatever the outputs are"
            )
            remedy = Remedy("leave out the examples with such targets", examples=of_mixed_targets)
            return Finding([layer], evidence, remedy, "error")
    evidence = f"{what}: it has no value or no gradient at some of them"
    return Finding([last], evidence, _GUARDED, "error")


def _of_percentages(layer: LayerReport, of_loss: LossInputs) -> Finding:
    """Return the finding on targets of 0, of which nothing is a percentage."""
    evidence = (
        f"{of_loss.name} divides by the targets of {layer.name}, and {of_loss.zeros:.2%} of them "
        "are 0: Keras divides by 1e-7 there, so that the others hardly count"
    )
    remedy = Remedy('loss="mean_absolute_error"', loss="mean_absolute_error")
    return Finding([layer], evidence, remedy, "error")


def _are_large(measured: Measurements) -> bool:
    """Return whether a gradient has exploded or is not finite."""
    limit = measured.thresholds["exploding_gradient"]
    return any(not norm <= limit for _, norm in measured.gradient_norms)


def _of_zeros(layer: LayerReport, of_loss: LossInputs) -> Finding:
    """Return the finding on rows of zeros, which have no direction."""
    evidence = (
        f"{of_loss.empty:.0%} of the rows of {layer.name} are all 0, and have no direction for "
        "cosine_similarity: its gradient is not finite, or on TensorFlow large"
    )
    remedy = Remedy(f"a bias of {layer.name} other than 0")
    if layer.has_zeros:
        kernels = kernels_of([layer])
        remedy = drawn([choice(GlorotUniform())], kernels, "random weights: ")
    return Finding([layer], evidence, remedy, "error")
