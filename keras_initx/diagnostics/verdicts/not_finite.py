"""Inputs and targets that are not finite."""

import math
from collections.abc import Iterator

from keras_initx.diagnostics._diagnosis import Diagnosis
from keras_initx.diagnostics._layers import LayerReport, trained_layers
from keras_initx.diagnostics._output_probe import LossProbe, OutputProbe
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, Stage, rule
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._signal_probe import inputs, targets


@rule(
    "not finite",
    stage=Stage.DATA,
    levels={"error": ""},
    finds="inputs with NaN or infinities, if outputs are not finite either; or such targets, if "
    "the loss or a gradient is not finite, or cannot be computed. Nothing else is then reported",
    reason="all that is computed of them is NaN, and the first step makes all weights NaN. They "
    "come from a logarithm of a negative number, a division by a deviation of 0, a gap in a table",
    remedy="values in the place of what is missing, or examples without",
)
def not_finite(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    # A model may replace such inputs itself.
    lost = [layer for layer in layers if layer.signal.nonfinite]
    of_inputs, of_targets = inputs(of), targets(of)
    if of_inputs is not None and of_inputs.nonfinite and lost:
        text = (
            "replace these values of `x`, for example by `numpy.nan_to_num(x)`, or leave them out"
        )
        if of_targets is not None and of_targets.nonfinite:
            text += "; and leave out the examples whose targets are not finite"
        yield Finding(lost, _evidence("inputs", of_inputs), Remedy(text), "error")
    elif of_targets is not None and of_targets.nonfinite and _spoil_loss(of):
        remedy = Remedy("leave out the examples with such targets")
        yield Finding([], _evidence("targets", of_targets), remedy, "error")


def _evidence(name: str, signal: Signal) -> str:
    count = round(signal.nonfinite * signal.size)
    return f"the {name} are not finite: {count} of {signal.size} values are NaN or infinite"


def _spoil_loss(of: Diagnosis) -> bool:
    """Return whether the loss or a gradient is not finite because of targets that are not."""
    value, outputs = of.probe(LossProbe).value, of.probe(OutputProbe).signal
    if outputs is None:
        return False
    # The loss of such labels is not computed where a backend would raise an error.
    if value is None:
        return not outputs.nonfinite
    # A loss may leave them out, as where they stand for what is missing.
    numbers = [value, *(norm for _, norm in trained_layers(of))]
    return not all(map(math.isfinite, numbers))
