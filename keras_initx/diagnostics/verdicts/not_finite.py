"""Inputs and targets that are not finite."""

import math
from collections.abc import Iterator

from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdict import Finding, rule


@rule(
    "targets not finite",
    levels={"error": ""},
    finds="targets with NaN or infinities, if the loss or a gradient is not finite either, or "
    "cannot be computed",
    reason="one such target makes the loss NaN, and the first step all weights. They come from a "
    "logarithm of a negative number, a division by a deviation of 0, a gap in a table",
    remedy="examples without",
)
def nonfinite_targets(measured: Measurements) -> Iterator[Finding]:
    if not spoils_loss(measured):
        return
    targets = measured.targets or Signal()
    count = round(targets.nonfinite * targets.size)
    evidence = f"the targets are not finite: {count} of {targets.size} values are NaN or infinite"
    remedy = Remedy("leave out the examples with such targets")
    yield Finding([layer for layer, _ in measured.outputs], evidence, remedy, "error")


def spoils_loss(measured: Measurements) -> bool:
    """Return whether targets are not finite, and a loss or a gradient with them."""
    targets, objective = measured.targets, measured.objective
    if targets is None or not targets.nonfinite or objective is None:
        return False
    # The loss of such labels is not computed where a backend would raise an error.
    if objective.value is None:
        return not objective.outputs.nonfinite
    # A loss may leave them out, as where they stand for what is missing.
    numbers = [objective.value, *(norm for _, norm in measured.gradient_norms)]
    return not all(map(math.isfinite, numbers))


@rule(
    "inputs not finite",
    levels={"error": ""},
    finds="inputs with NaN or infinities, if outputs are not finite either; nothing else is then "
    "reported",
    reason="all that is computed of them is NaN, the loss and its gradients too",
    remedy="values in the place of what is missing, or examples without",
)
def nonfinite_inputs(measured: Measurements) -> Iterator[Finding]:
    inputs = measured.inputs
    # A model may replace them itself.
    lost = [layer for layer in measured.layers if layer.signal.nonfinite]
    if inputs is None or not inputs.nonfinite or not lost:
        return
    count = round(inputs.nonfinite * inputs.size)
    evidence = f"the inputs are not finite: {count} of {inputs.size} values are NaN or infinite"
    text = "replace these values of `x`, for example by `numpy.nan_to_num(x)`, or leave them out"
    if measured.targets is not None and measured.targets.nonfinite:
        text += "; and leave out the examples whose targets are not finite"
    yield Finding(lost, evidence, Remedy(text), "error")
