"""Shapes that a loss cannot satisfy, whatever the weights are."""

import math
from collections.abc import Iterator

from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._outputs import Mismatch
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, rule

# Share of the variance of the targets that may remain.
_REMAINING = 0.1


@rule(
    "impossible labels",
    levels={"error": ""},
    finds="outputs that a distance compares with several different targets each, because their "
    "shapes differ",
    reason="no weights satisfy the loss, which trains towards the mean of these targets",
    remedy="one output for each target",
)
def impossible_labels(measured: Measurements) -> Iterator[Finding]:
    for layer, given in measured.loss_inputs:
        mismatch = given.mismatch
        if mismatch is None or not mismatch.remaining > _REMAINING:
            continue
        evidence = (
            f"the targets have the shape {mismatch.targets}, the outputs of {layer.name} "
            f"{mismatch.outputs}: each output is compared with several targets, whose mean is "
            f"the best that it can be, with {mismatch.remaining:.0%} of their variance left"
        )
        yield Finding([layer], evidence, _for_shapes(layer, mismatch), "error")


def _for_shapes(layer: LayerReport, mismatch: Mismatch) -> Remedy:
    """Return the remedy where outputs are compared with several targets."""
    targets, outputs = mismatch.targets, mismatch.outputs
    if math.prod(targets) == math.prod(outputs):
        if len(targets) < len(outputs):
            return Remedy("targets of the shape of the outputs: y = y[..., None]")
        return Remedy("targets of the shape of the outputs: y = y[..., 0]")
    if len(targets) == len(outputs):
        return Remedy(f"a {layer.kind} of {targets[-1]} units for {layer.name}")
    return Remedy(
        f"one output for each target: an output of shape {targets} of {layer.name}, for a sequence "
        "by return_sequences=False, keras.layers.Flatten() or a pooling before it"
    )
