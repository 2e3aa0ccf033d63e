"""The rules about gradients."""

import math
from collections.abc import Iterator

from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics.rules._rule import Finding, rule
from keras_initx.diagnostics.rules._wording import has_zeros, names_of, number, others, suggestion


@rule(
    "vanishing gradient",
    levels={"warning": "", "error": "if all gradients are 0"},
    finds="first layers whose gradients are below {vanishing_gradient} times the largest gradient of a layer",
    reason="no single learning rate suits both",
    remedy="`Orthogonal`, another activation",
    level_reason="optimizers that normalize gradients, such as Adam, can compensate for it",
)
def vanishing_gradient(measured: Measurements) -> Iterator[Finding]:
    trained = [(layer, norm) for layer in measured.layers if (norm := layer.gradient_norm) is not None]
    strongest, largest = max(trained, key=lambda pair: pair[1], default=(None, 0.0))
    hit = []
    # Only the first layers count, because all gradients to them pass through the others. A small gradient elsewhere may
    # be harmless, e.g. that of queries and keys while attention is still uniform.
    for layer, norm in trained:
        if not norm <= measured.thresholds.vanishing_gradient * largest:
            break
        hit.append((layer, norm))
    if any(map(has_zeros, measured.layers)):
        # No gradient passes through zeros, which have their own verdict.
        hit = [(layer, norm) for layer, norm in hit if norm]
    if not hit or not strongest or not math.isfinite(largest):
        return
    layers = [layer for layer, _ in hit]
    first, norm = hit[0]
    evidence = (
        f"the gradient norm of {first.name} is {number(norm)}, that of {strongest.name} "
        f"{number(largest)}{others(layers)}"
    )
    yield Finding(
        names_of(layers),
        evidence if largest else f"all gradients are 0{others(layers)}",
        f"{suggestion(first)} in all layers, or Orthogonal, which also preserves gradient norms; an activation that "
        "does not saturate",
        "warning" if largest else "error",
    )


@rule(
    "exploding gradient",
    levels={"warning": "", "error": "if it is not finite"},
    finds="a gradient whose norm is above {exploding_gradient}, or not finite",
    reason="no usual learning rate is small enough; a ResNet-50, in which batch normalization lets gradients grow, "
    "starts at a thousand and trains",
    remedy="smaller weights, another loss",
    level_reason="gradient clipping or Adam can compensate for it",
)
def exploding_gradient(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.exploding_gradient
    hit = [
        (layer, norm)
        for layer in measured.layers
        if (norm := layer.gradient_norm) is not None and not norm <= limit  # also true for NaN
    ]
    if not hit:
        return
    layers = [layer for layer, _ in hit]
    remedy = f"smaller weights: {suggestion(layers[0])}, or Orthogonal, which also preserves gradient norms"
    if all(layer.signal is None or not layer.signal.nonfinite for layer in measured.layers):
        remedy = "a loss that matches the outputs (`from_logits=True` if there is no softmax), or " + remedy
    yield Finding(
        names_of(layers),
        f"the gradient norm of {layers[0].name} is {number(hit[0][1])}{others(layers)}",
        remedy,
        "warning" if all(math.isfinite(norm) for _, norm in hit) else "error",
    )
