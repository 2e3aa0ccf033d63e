"""The rules about gradients: what comes back to the layers."""

import math
from collections.abc import Iterator

from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics.rules._rule import Finding, rule
from keras_initx.diagnostics.rules._wording import has_zeros, names_of, number, others, suggestion


@rule(
    "vanishing gradient",
    levels={"warning": "", "error": "if all gradients are 0"},
    finds="the first layers, if their gradients are below {vanishing_gradient} of the largest of a layer",
    reason="one learning rate cannot serve both",
    remedy="`Orthogonal`, another activation",
    level_reason="optimizers that scale each gradient, as Adam, can make up for it",
)
def vanishing_gradient(measured: Measurements) -> Iterator[Finding]:
    trained = [(layer, norm) for layer in measured.layers if (norm := layer.gradient_norm) is not None]
    strongest, largest = max(trained, key=lambda pair: pair[1], default=(None, 0.0))
    hit = []
    # Only the first layers count: all gradients to them pass through the others. Inside, a small gradient
    # need not mean anything, as that of the queries and keys of an attention that is still uniform.
    for layer, norm in trained:
        if not norm <= measured.thresholds.vanishing_gradient * largest:
            break
        hit.append((layer, norm))
    if any(map(has_zeros, measured.layers)):
        # Nothing passes back through zeros, which are named already.
        hit = [(layer, norm) for layer, norm in hit if norm]
    if not hit or not strongest or not math.isfinite(largest):
        return
    layers = [layer for layer, _ in hit]
    first, norm = hit[0]
    evidence = (
        f"the gradient of {first.name} has norm {number(norm)}, that of {strongest.name} "
        f"{number(largest)}{others(layers)}"
    )
    yield Finding(
        names_of(layers),
        evidence if largest else f"all gradients are 0{others(layers)}",
        f"{suggestion(first)} in all layers, or Orthogonal, which keeps lengths backward too; an activation that "
        "does not saturate",
        "warning" if largest else "error",
    )


@rule(
    "exploding gradient",
    levels={"warning": "", "error": "if it is not finite"},
    finds="a gradient whose norm is above {exploding_gradient}, or not finite",
    reason="no usual step is small enough; a ResNet-50, whose batch normalizations let gradients grow, begins at a "
    "thousand and trains",
    remedy="smaller weights, another loss",
    level_reason="clipping or Adam can make up for it",
)
def exploding_gradient(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.exploding_gradient
    hit = [
        (layer, norm)
        for layer in measured.layers
        if (norm := layer.gradient_norm) is not None and not norm <= limit  # also what is not a number
    ]
    if not hit:
        return
    layers = [layer for layer, _ in hit]
    remedy = f"smaller weights: {suggestion(layers[0])}, or Orthogonal, which keeps lengths backward too"
    if all(layer.signal is None or not layer.signal.nonfinite for layer in measured.layers):
        remedy = "a loss that suits the outputs (`from_logits=True` where there is no softmax), or " + remedy
    yield Finding(
        names_of(layers),
        f"the gradient of {layers[0].name} has norm {number(hit[0][1])}{others(layers)}",
        remedy,
        "warning" if all(math.isfinite(norm) for _, norm in hit) else "error",
    )
