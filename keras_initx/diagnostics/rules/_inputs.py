"""The rule about the inputs of a model."""

from collections.abc import Iterator, Sequence

from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._types import Level
from keras_initx.diagnostics.rules._rule import Finding, rule
from keras_initx.diagnostics.rules._wording import (
    is_rescaled,
    names_of,
    normalization_of,
    number,
    others,
    root_mean_square,
)


@rule(
    "unscaled inputs",
    levels={"warning": "", "note": "if a normalization follows directly"},
    finds="a kernel whose inputs come from outside the model and have a root mean square above {unscaled_inputs}",
    reason="it is 1 for standardized inputs, 0.6 for images in [0, 1], and 150 for raw 8-bit images; inputs ten times "
    "too large saturate most activations",
    remedy="`Normalization`, `Rescaling`",
    level_reason="a normalization divides by the scale, as for a wrong fan",
)
def unscaled_inputs(measured: Measurements) -> Iterator[Finding]:
    hit = [
        layer
        for layer in measured.layers
        if layer.first_inputs
        and layer.first_inputs.size >= measured.thresholds.least_values
        and root_mean_square(layer.first_inputs) > measured.thresholds.unscaled_inputs
    ]
    harmless = [layer for layer in hit if is_rescaled(layer)]
    harmful = [layer for layer in hit if not is_rescaled(layer)]
    if harmful:
        yield _unscaled(harmful, "warning", ": initializers assume inputs of standard deviation 1")
    if harmless:
        yield _unscaled(harmless, "note", normalization_of(harmless[0]))


def _unscaled(hit: Sequence[LayerReport], level: Level, reason: str) -> Finding:
    signal = hit[0].first_inputs or Signal()
    return Finding(
        names_of(hit),
        f"{hit[0].name} gets inputs from {number(signal.min)} to {number(signal.max)}, with mean {number(signal.mean)} "
        f"and standard deviation {number(signal.std)}{others(hit)}{reason}",
        "standardize the inputs: keras.layers.Normalization() adapted to the data, or "
        "keras.layers.Rescaling(1 / 127.5, offset=-1) for images from 0 to 255",
        level,
    )
