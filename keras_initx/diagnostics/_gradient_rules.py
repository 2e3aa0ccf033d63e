"""The rules about gradients."""

import itertools
import math
from collections.abc import Iterator

from keras_initx.diagnostics._measure import Measurements
from keras_initx.diagnostics._rule import (
    STANDARDIZED_TARGETS,
    Finding,
    gradient_norms,
    has_zeros,
    inputs_first,
    is_gate,
    layer_count,
    misses_targets,
    rule,
    signal_of,
    suggestion,
)


@rule(
    "vanishing gradient",
    levels={"warning": "", "error": "if all gradients are 0"},
    finds="first layers whose gradients are below {vanishing_gradient} times the largest gradient of a layer, unless a "
    "branch starts at 0, as with ReZero",
    reason="no single learning rate suits both; Adam, which normalizes gradients, can compensate for it",
    remedy="`Orthogonal`, another activation",
)
def vanishing_gradient(measured: Measurements) -> Iterator[Finding]:
    trained = gradient_norms(measured)
    strongest, largest = max(trained, key=lambda pair: pair[1], default=(None, 0.0))
    limit = measured.thresholds.vanishing_gradient * largest
    # Only the first layers count, because all gradients to them pass through the others. A small
    # gradient elsewhere may be harmless, e.g. that of queries and keys while attention is still
    # uniform.
    hit = list(itertools.takewhile(lambda pair: pair[1] <= limit, trained))
    if any(map(has_zeros, measured.layers)):
        # No gradient passes through zeros, which have their own verdict.
        hit = [(layer, norm) for layer, norm in hit if norm]
    if (
        not hit
        or not strongest
        or not math.isfinite(largest)
        or any(is_gate(one, measured) for one in measured.layers)
    ):
        return
    layers = [layer for layer, _ in hit]
    first, norm = hit[0]
    evidence = (
        f"the gradient norm of {first.name} is {norm:.3g}, that of {strongest.name} {largest:.3g}"
    )
    yield Finding(
        layers,
        (evidence if largest else "all gradients are 0") + layer_count(layers),
        f"{suggestion(first)} in all layers, or Orthogonal, which also preserves gradient norms; an activation that "
        "does not saturate",
        "warning" if largest else "error",
    )


@rule(
    "exploding gradient",
    levels={"warning": "", "error": "if it is not finite"},
    finds="a gradient whose norm is above {exploding_gradient}, or not finite",
    reason="no usual learning rate is small enough, but gradient clipping or Adam can compensate for it. A ResNet-50 "
    "starts at a thousand and trains",
    remedy="scaled inputs, smaller weights, another loss",
)
def exploding_gradient(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.exploding_gradient
    hit = [
        (layer, norm) for layer, norm in gradient_norms(measured) if not norm <= limit
    ]  # also where it is NaN
    if not hit:
        return
    layers = [layer for layer, _ in hit]
    remedy = f"smaller weights: {suggestion(layers[0])}, or Orthogonal, which also preserves gradient norms"
    if any(
        (one.loss or 0) > measured.thresholds.first_loss and misses_targets(one)
        for one in measured.layers
    ):
        remedy = STANDARDIZED_TARGETS
    else:
        if not any(signal_of(layer).nonfinite for layer in measured.layers):
            logits = "`from_logits=True` if there is no softmax"
            remedy = f"a loss that matches the outputs ({logits}), or {remedy}"
        remedy = inputs_first(measured) + remedy
    yield Finding(
        layers,
        f"the gradient norm of {layers[0].name} is {hit[0][1]:.3g}{layer_count(layers)}",
        remedy,
        "warning" if all(math.isfinite(norm) for _, norm in hit) else "error",
    )
