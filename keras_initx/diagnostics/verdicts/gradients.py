"""Gradients: their norms by layer, too small or too large."""

import math
from collections.abc import Iterable, Iterator, Sequence

from keras_initx.diagnostics._measurements import (
    GradientReport,
    LayerReport,
    Measurements,
    WeightReport,
)
from keras_initx.diagnostics._remedy import (
    Remedy,
    common_activation,
    drawn_or_scaled,
    is_steep,
    kernels_of,
    remedy_in_depth,
    suitable_in_depth,
)
from keras_initx.diagnostics._verdict import Finding, Level, exceeds, layer_count, rule
from keras_initx.diagnostics.verdicts.first_loss import (
    FIRST_LOSS,
    misses_targets,
    standardized_targets,
)
from keras_initx.diagnostics.verdicts.gates import has_growing_state, orthogonal_recurrence
from keras_initx.diagnostics.verdicts.inputs import are_constant, are_unscaled, scaled_first
from keras_initx.diagnostics.verdicts.no_gradient import is_held_back
from keras_initx.diagnostics.verdicts.not_finite import spoils_loss
from keras_initx.diagnostics.verdicts.outputs import gives_one_class
from keras_initx.diagnostics.verdicts.signals import batch_of_one, growing_sums, is_gate
from keras_initx.diagnostics.verdicts.undefined import fault_of

# Ratio of the gradient norm of the first layers to the largest gradient norm of a layer, below
# which the gradient has vanished.
VANISHING_GRADIENT = 1e-4
# Gradient norm of a layer above which the gradient has exploded.
EXPLODING_GRADIENT = 1e5


def gradient_report(weights: Sequence[WeightReport]) -> GradientReport | None:
    """Return the norm of the gradient of a layer, and its ratio to that of the weights.

    It is `None` without gradients.
    """
    gradients = []
    norms = []
    for weight in weights:
        if weight.gradient is not None:
            gradients.append(weight.gradient)
            norms.append(weight.norm)
    if not gradients:
        return None
    norm = _norm_of(gradients)
    weight_norm = _norm_of(norms)
    return GradientReport(norm, norm / weight_norm if weight_norm else None)


def _norm_of(norms: Iterable[float]) -> float:
    """Return the norm of a vector from the norms of its parts."""
    return float(sum(norm**2 for norm in norms) ** 0.5)


@rule(
    "vanishing gradient",
    levels={"warning": "", "error": "if all gradients are 0"},
    finds=f"first layers whose gradients are below {VANISHING_GRADIENT:g} times the largest "
    "gradient of a layer, unless a branch starts at 0, as with ReZero",
    reason="no single learning rate suits both; Adam, which normalizes gradients, can compensate "
    "for it",
    remedy="`Orthogonal` or `HeNormal` with the gain of the activation; tanh instead of sigmoid",
)
def vanishing_gradient(measured: Measurements) -> Iterator[Finding]:
    norms = measured.gradient_norms
    if any(gives_one_class(layer, measured) for layer in measured.layers):
        return
    if not norms or any(is_gate(layer) for layer in measured.layers):
        return
    if is_held_back(measured) or are_constant(measured):
        return
    strongest, largest = max(norms, key=lambda pair: pair[1])
    if not math.isfinite(largest):
        return
    limit = VANISHING_GRADIENT * largest
    # No gradient passes through zeros, which have their own verdict.
    has_zero_weights = any(layer.has_zeros for layer in measured.layers)
    hit = []
    are_reached = any(norm > limit and _is_first(layer) for layer, norm in norms)
    # Only the first layers count, because all gradients to them pass through the others. A small
    # gradient elsewhere may be harmless, e.g. that of queries and keys while attention is still
    # uniform.
    for layer, norm in norms:
        # Another way from the inputs learns. From this one all gradients are held back, as from
        # the target network of a self-supervised model, or it is beside inputs that are too large.
        if are_reached and (norm == 0 or are_unscaled(measured)):
            continue
        if not norm <= limit:
            break
        if norm or not has_zero_weights:
            hit.append((layer, norm))
    if not hit:
        return
    layers = [layer for layer, _ in hit]
    first, norm = hit[0]
    level: Level = "error"
    evidence = "all gradients are 0"
    if largest:
        level = "warning"
        of_first = f"the gradient norm of {first.name} is {norm:.3g}"
        evidence = f"{of_first}, that of {strongest.name} {largest:.3g}"
    until = measured.layers[: measured.layers.index(strongest) + 1]
    remedy = batch_of_one(measured) or remedy_in_depth(until, measured.layers)
    yield Finding(layers, evidence + layer_count(layers), remedy, level)


def _is_first(layer: LayerReport) -> bool:
    """Return whether `layer` gets inputs of the model."""
    return layer.first_inputs is not None or layer.kind == "Embedding"


@rule(
    "exploding gradient",
    levels={"warning": "", "error": "if it is not finite"},
    finds=f"a gradient whose norm is above {EXPLODING_GRADIENT:g}, or not finite",
    reason="no usual learning rate is small enough, but gradient clipping or Adam can compensate "
    "for it. A ResNet-50 starts at a thousand and trains",
    remedy="scaled inputs, smaller weights, another loss",
)
def exploding_gradient(measured: Measurements) -> Iterator[Finding]:
    if fault_of(measured) is not None or spoils_loss(measured):
        return
    limit = EXPLODING_GRADIENT
    hit = []
    level: Level = "warning"
    for layer, norm in measured.gradient_norms:
        if not norm <= limit:  # also where it is NaN
            hit.append((layer, norm))
            if not math.isfinite(norm):
                level = "error"
    if not hit:
        return
    layers = [layer for layer, _ in hit]
    first, norm = hit[0]
    evidence = f"the gradient norm of {first.name} is {norm:.3g}{layer_count(layers)}"
    yield Finding(layers, evidence, _smaller_gradients(measured), level)


def _smaller_gradients(measured: Measurements) -> Remedy:
    """Return the remedy where gradients explode."""
    layers = measured.layers
    for layer in layers:
        if layer.output is None or not misses_targets(layer):
            continue
        if exceeds(layer.output.loss, FIRST_LOSS):
            return standardized_targets()
    growing = [layer for layer in layers if has_growing_state(layer)]
    if growing:
        return scaled_first(measured, orthogonal_recurrence(growing))
    sums = growing_sums(measured)
    if sums is not None and not are_unscaled(measured):
        return sums
    choices = suitable_in_depth(layers, common_activation(layers))
    remedy = drawn_or_scaled(choices, kernels_of(layers), "smaller weights: ")
    is_certain = any(map(is_steep, layers))
    if not is_certain and not any(layer.signal.nonfinite for layer in layers):
        other_loss = Remedy(
            "a loss that matches the outputs (`from_logits=True` if there is no softmax)"
        )
        remedy = other_loss.otherwise(remedy)
    return scaled_first(measured, remedy)
