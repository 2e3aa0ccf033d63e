"""The rules about gradients."""

import math
from collections.abc import Iterator

from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._rule import (
    RECURRENT,
    STANDARDIZED_TARGETS,
    Finding,
    batch_of_one,
    common_activation,
    exceeds,
    gives_one_class,
    gradient_norms,
    growing_sums,
    has_growing_state,
    has_zeros,
    inputs_first,
    is_gate,
    is_steep,
    layer_count,
    misses_targets,
    remedy_in_depth,
    rule,
    signal_of,
    suggestion_in_depth,
)
from keras_initx.diagnostics._verdicts import Level


@rule(
    "vanishing gradient",
    levels={"warning": "", "error": "if all gradients are 0"},
    finds="first layers whose gradients are below {vanishing_gradient} times the largest gradient "
    "of a layer, unless a branch starts at 0, as with ReZero",
    reason="no single learning rate suits both; Adam, which normalizes gradients, can compensate "
    "for it",
    remedy="`Orthogonal` or `HeNormal` with the gain of the activation; tanh instead of sigmoid",
)
def vanishing_gradient(measured: Measurements) -> Iterator[Finding]:
    norms = gradient_norms(measured)
    if any(gives_one_class(layer, measured) for layer in measured.layers):
        return
    if not norms or any(is_gate(layer, measured) for layer in measured.layers):
        return
    strongest, largest = max(norms, key=lambda pair: pair[1])
    if not math.isfinite(largest):
        return
    limit = measured.thresholds.vanishing_gradient * largest
    # No gradient passes through zeros, which have their own verdict.
    has_zero_weights = any(map(has_zeros, measured.layers))
    hit = []
    are_reached = any(norm > limit and _is_first(layer) for layer, norm in norms)
    # Only the first layers count, because all gradients to them pass through the others. A small
    # gradient elsewhere may be harmless, e.g. that of queries and keys while attention is still
    # uniform.
    for layer, norm in norms:
        # Another way from the inputs learns, and from this one all gradients are held back, as from
        # the target network of a self-supervised model.
        if norm == 0 and are_reached:
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
    remedy = batch_of_one(measured) or remedy_in_depth(until)
    yield Finding(layers, evidence + layer_count(layers), remedy, level)


def _is_first(layer: LayerReport) -> bool:
    """Return whether `layer` gets inputs of the model."""
    return layer.first_inputs is not None or layer.kind == "Embedding"


@rule(
    "exploding gradient",
    levels={"warning": "", "error": "if it is not finite"},
    finds="a gradient whose norm is above {exploding_gradient}, or not finite",
    reason="no usual learning rate is small enough, but gradient clipping or Adam can compensate "
    "for it. A ResNet-50 starts at a thousand and trains",
    remedy="scaled inputs, smaller weights, another loss",
)
def exploding_gradient(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.exploding_gradient
    hit = []
    level: Level = "warning"
    for layer, norm in gradient_norms(measured):
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


def _smaller_gradients(measured: Measurements) -> str:
    """Return the remedy where gradients explode."""
    targets = measured.targets
    if targets is not None and targets.nonfinite:
        return f"finite targets ({targets.nonfinite:.1%} of them are not)"
    for output in measured.layers:
        if exceeds(output.loss, measured.thresholds.first_loss) and misses_targets(output):
            return STANDARDIZED_TARGETS
    if any(has_growing_state(layer, measured) for layer in measured.layers):
        return inputs_first(measured) + RECURRENT
    sums = growing_sums(measured)
    if sums is not None and not inputs_first(measured):
        return sums
    activation = common_activation(measured.layers)
    remedy = f"smaller weights: {suggestion_in_depth(measured.layers, activation)}"
    is_certain = any(map(is_steep, measured.layers))
    if not is_certain and not any(signal_of(one).nonfinite for one in measured.layers):
        logits = "`from_logits=True` if there is no softmax"
        remedy = f"a loss that matches the outputs ({logits}), or {remedy}"
    return inputs_first(measured) + remedy
