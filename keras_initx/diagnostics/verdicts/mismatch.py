"""Labels and shapes that a loss cannot satisfy, whatever the weights are."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._outputs import Mismatch
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, rule

# Share of the variance of the targets that may remain.
_REMAINING = 0.1


@rule(
    "impossible labels",
    levels={"error": ""},
    finds="for CTC, examples with more labels and repeats than the output has steps, labels that "
    "are no classes, and a 0 before other labels; for a distance, outputs that are compared with "
    "several different targets each, because their shapes differ",
    reason="no weights satisfy the loss. That of CTC is then infinite or 100,000, and constant; a "
    "distance trains towards the mean of these targets",
    remedy="more steps before CTC: less pooling, smaller strides; labels from 1, filled with 0; "
    "one output for each target",
)
def impossible_labels(measured: Measurements) -> Iterator[Finding]:
    for layer, given in measured.loss_inputs:
        mismatch = given.mismatch
        if mismatch is None:
            continue
        if mismatch.loss_fails:
            evidence = f"{_of_sequences(mismatch)} of {layer.name}"
            yield Finding([layer], evidence, _for_sequences(layer, mismatch), "error")
        elif mismatch.remaining > _REMAINING:
            evidence = (
                f"the targets have the shape {mismatch.targets}, the outputs of {layer.name} "
                f"{mismatch.outputs}: each output is compared with several targets, whose mean is "
                f"the best that it can be, with {mismatch.remaining:.0%} of their variance left"
            )
            yield Finding([layer], evidence, _for_shapes(layer, mismatch), "error")


def _of_sequences(mismatch: Mismatch) -> str:
    """Return what CTC cannot do."""
    count, steps, classes = mismatch.outputs
    if mismatch.beyond:
        return (
            f"{mismatch.beyond} of {count} examples have labels that are no classes: they go from "
            f"{mismatch.least} to {mismatch.most}, beside the classes 1 to {classes - 1}"
        )
    if mismatch.gaps:
        return (
            f"{mismatch.gaps} of {count} examples have a 0 before other labels, which stands for "
            f"no label beside the classes 1 to {classes - 1}"
        )
    return (
        f"{mismatch.short} of {count} examples take more steps than there are: labels, and one "
        f"step between two that are equal, take up to {mismatch.needed}, beside the {steps} steps"
    )


def _for_sequences(layer: LayerReport, mismatch: Mismatch) -> Remedy:
    """Return the remedy where CTC cannot have these labels."""
    _, _, classes = mismatch.outputs
    if mismatch.least == -1 and mismatch.most + 1 < classes:
        return Remedy("labels from 1, filled with 0: y = y + 1", targets=_from_one)
    if mismatch.least < 0:
        return Remedy("labels from 1, filled with 0 in the place of negative numbers")
    if mismatch.beyond:
        return Remedy(
            f"a {layer.kind} of {mismatch.most + 1} units for {layer.name}: one for each label, "
            "and class 0 for none"
        )
    if mismatch.gaps:
        return Remedy(
            "labels from 1, filled with 0: y + 1 for each label, and one more unit for "
            f"{layer.name} if the largest is then no class"
        )
    return Remedy(
        f"at least {mismatch.needed} steps in {layer.name}: less pooling or smaller strides before "
        "it, or examples with fewer labels"
    )


def _from_one(y: Any) -> Any:
    return np.asarray(y) + 1


def _longer(y: Any) -> Any:
    return np.asarray(y)[..., None]


def _shorter(y: Any) -> Any:
    return np.asarray(y)[..., 0]


def _for_shapes(layer: LayerReport, mismatch: Mismatch) -> Remedy:
    """Return the remedy where outputs are compared with several targets."""
    targets, outputs = mismatch.targets, mismatch.outputs
    if math.prod(targets) == math.prod(outputs):
        if len(targets) < len(outputs):
            return Remedy("targets of the shape of the outputs: y = y[..., None]", targets=_longer)
        return Remedy("targets of the shape of the outputs: y = y[..., 0]", targets=_shorter)
    if len(targets) == len(outputs):
        return Remedy(f"a {layer.kind} of {targets[-1]} units for {layer.name}")
    return Remedy(
        f"one output for each target: an output of shape {targets} of {layer.name}, for a sequence "
        "by return_sequences=False, keras.layers.Flatten() or a pooling before it"
    )
