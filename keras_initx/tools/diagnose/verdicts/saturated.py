"""Saturated: values at the limits of an activation, or of the outputs."""

from collections.abc import Iterator, Sequence

from keras_initx.tools.diagnose._dead_ends import dead_ends
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import UNSCALED_INPUTS, find_largest_inputs
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer
from keras_initx.tools.diagnose._remedies import (
    propose_for_signal,
    propose_smaller_inputs,
    propose_smaller_last_layer,
)
from keras_initx.tools.diagnose._rules import Finding, Level, exceeds, rule, write_count
from keras_initx.tools.diagnose._signal import compute_signal_rms

# Fraction of saturated outputs above which an activation passes too little gradient.
SATURATED = 0.25
# Fraction of the examples above which the final softmax or sigmoid is saturated. An example counts
# if its output is within `SATURATION_MARGIN` of 1, or of 0 for a sigmoid. Saturation caused by a
# bias does not count: then the values before the activation vary between examples by less than half
# of what saturation takes.
SATURATED_OUTPUT = 0.6


@rule("saturated", beside=["single class"])
def saturated(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report activations, and outputs, that are at their limits.

    Reported if:
        - A fraction above {SATURATED:g} of the outputs is at a limit of the activation: within
          {SATURATION_MARGIN:g} of it, relative to the distance between the limits.
        - The final softmax or sigmoid is at a limit for a fraction of the examples above
          {SATURATED_OUTPUT:g}.

    Level:
        error if no gradient passes; warning in other cases

    Why:
        - Beyond 0.99, tanh has 2% of its gradient. For inputs of standard deviation 1, 1% of the
          outputs are there. For inputs of 2.3, a quarter of the outputs is there.
        - If the output is saturated, the loss starts far above a guess. The first steps only undo
          this.

    Typical causes:
        - raw inputs
        - weights that are too large, often in the last layer

    Fix:
        Use `GlorotUniform`, or smaller weights in the last layer. If your inputs are large, scale
        them.
    """
    hit = []
    for layer in layers:
        # The gradient of a final sigmoid does not matter with a crossentropy loss.
        if layer.makes_output and layer.activation == "sigmoid":
            continue
        if exceeds(layer.saturated, SATURATED) and layer.has_enough_values:
            hit.append(layer)
    if hit:
        worst = max(hit, key=lambda layer: layer.saturated or 0)
        evidence = (
            f"{worst.saturated:.0%} of the outputs of {worst.title} are at the limits of "
            f"{worst.activation}{write_count(hit)}, where its gradient is almost 0"
            f"{_describe_inputs(worst)}"
        )
        cause = find_largest_inputs(diagnosis, compute_signal_rms)
        if cause is not None and not compute_signal_rms(cause) > UNSCALED_INPUTS:
            cause = None
        remedy = propose_for_signal(hit, cause, diagnosis)
        yield Finding(hit, evidence, remedy, _choose_level(hit, diagnosis))
    yield from _report_saturated_output(diagnosis, layers)


def _report_saturated_output(
    diagnosis: Diagnosis, layers: list[MeasuredLayer]
) -> Iterator[Finding]:
    hit = []
    for layer in layers:
        if exceeds(layer.output.certain, SATURATED_OUTPUT):
            hit.append(layer)
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.output.certain or 0)
    evidence = (
        f"{worst.title} is saturated for {worst.output.certain:.0%} of the examples before training"
        f"{write_count(hit)}{_describe_inputs(worst)}. The loss starts far above a guess, and "
        "the first steps only undo this"
    )
    remedy = propose_smaller_inputs(worst, diagnosis)
    if remedy is None:
        remedy = propose_smaller_last_layer(hit, diagnosis)
    yield Finding(hit, evidence, remedy, _choose_level(hit, diagnosis))


def _choose_level(layers: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> Level:
    # At a dead end, no gradient passes.
    return "error" if any(layer.layer in dead_ends(diagnosis) for layer in layers) else "warning"


def _describe_inputs(layer: MeasuredLayer) -> str:
    if layer.before is None:
        return ""
    return f"; the values before its activation have standard deviation {layer.before.std:.3g}"
