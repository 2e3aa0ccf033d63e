"""Saturated: what is at the limits of an activation, or of the outputs."""

from collections.abc import Iterator, Sequence

from keras_initx.diagnostics._dead_ends import dead_end_names
from keras_initx.diagnostics._diagnosis import Diagnosis
from keras_initx.diagnostics._first_inputs import UNSCALED_INPUTS
from keras_initx.diagnostics._layers import LayerReport, having
from keras_initx.diagnostics._rules import (
    Finding,
    Level,
    exceeds,
    has_enough_values,
    layer_count,
    rule,
)
from keras_initx.diagnostics._signal import root_mean_square
from keras_initx.diagnostics._signal_probe import SATURATION_MARGIN
from keras_initx.diagnostics.losses.probes import outputs
from keras_initx.diagnostics.verdicts._shared import (
    largest_inputs,
    signal_remedy,
    smaller_inputs,
    smaller_last_layer,
    smaller_table,
)

# Fraction of saturated outputs above which an activation passes too little gradient.
SATURATED = 0.25
# Fraction of the examples above which the final softmax or sigmoid is saturated. An example counts
# if its output is within `SATURATION_MARGIN` of 1, or of 0 for a sigmoid. Saturation caused by a
# bias does not count: then the values before the activation vary between examples by less than half
# of what saturation takes.
SATURATED_OUTPUT = 0.6


@rule(
    "saturated",
    beside=["single class"],
    levels={"error": "if no gradient passes it", "warning": ""},
    finds=f"a fraction above {SATURATED:g} of the outputs near a limit: within "
    f"{SATURATION_MARGIN:g} of it, relative to the distance between the limits; or a final softmax "
    f"or sigmoid that is for a fraction of the examples above {SATURATED_OUTPUT:g}",
    reason="beyond 0.99 tanh has 2% of its gradient; this happens to 1% of the outputs for inputs "
    "of standard deviation 1, and to a quarter for 2.3. Of a saturated output the loss starts far "
    "above that of guessing, and the first steps only undo this",
    remedy="`GlorotUniform`, smaller inputs, smaller weights in the last layer",
)
def saturated(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    hit = []
    for layer in layers:
        # The gradient of a final sigmoid does not matter with a crossentropy loss.
        if layer.name in outputs(of) and layer.activation == "sigmoid":
            continue
        if exceeds(layer.saturated, SATURATED) and has_enough_values(layer):
            hit.append(layer)
    if hit:
        worst = max(hit, key=lambda layer: layer.saturated or 0)
        evidence = (
            f"{worst.saturated:.0%} of the outputs of {worst.title} are at the limits of "
            f"{worst.activation}{input_size(worst)}{layer_count(hit)}, where its gradient is "
            "almost 0"
        )
        cause = largest_inputs(of, root_mean_square)
        if cause is not None and not root_mean_square(cause) > UNSCALED_INPUTS:
            cause = None
        yield Finding(hit, evidence, signal_remedy(hit, cause, of), _level(hit, of))
    yield from _saturated_output(of, layers)


def _saturated_output(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    hit = []
    for layer, record in having(layers, outputs(of)):
        if exceeds(record.certain, SATURATED_OUTPUT):
            hit.append((layer, record.certain or 0.0))
    if not hit:
        return
    found = [layer for layer, _ in hit]
    worst, certain = max(hit, key=lambda pair: pair[1])
    evidence = (
        f"{worst.title} is saturated for {certain:.0%} of the examples before training"
        f"{input_size(worst)}{layer_count(found)}: the loss starts far above that of guessing, "
        "and the first steps only undo this"
    )
    remedy = smaller_table(worst, of) or smaller_inputs(worst, of)
    if remedy is None:
        remedy = smaller_last_layer(found, of)
    yield Finding(found, evidence, remedy, _level(found, of))


def _level(layers: Sequence[LayerReport], of: Diagnosis) -> Level:
    """Return the level where layers are saturated: no gradient may pass one of them."""
    ends = dead_end_names(of)
    return "error" if any(layer.name in ends for layer in layers) else "warning"


def input_size(layer: LayerReport) -> str:
    """Return a phrase with the size of the values before the activation if they are known."""
    if layer.before is None:
        return ""
    return f", its input has standard deviation {layer.before.std:.3g}"
