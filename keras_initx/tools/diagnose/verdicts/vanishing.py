"""Vanishing: signals that become too small."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import SMALL_INPUTS, find_largest_inputs
from keras_initx.tools.diagnose._lost_signals import VANISHING, lost_signals
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    MeasuredWeight,
    measured_layers,
    trained_layers,
)
from keras_initx.tools.diagnose._remedies import (
    compute_scale_size,
    describe_deviations,
    find_small_scales,
    propose_for_signal,
    propose_ones,
)
from keras_initx.tools.diagnose._rules import (
    Finding,
    Level,
    group_by_level,
    rule,
    write_rest,
)
from keras_initx.tools.diagnose.losses.probes import LossProbe


@rule(
    "vanishing",
    unless=["no gradient:error", "equal inputs:error"],
    # Zeros, and inputs of zeros, cause everything after them.
    until=["equal units:error", "equal inputs", "alike"],
)
def vanishing(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report signals that become too small.

    Reported if:
        - The standard deviation before an activation is below {VANISHING:g}.
        - The scale of a normalization layer of Keras has a root mean square below 0.1. A scale of
          zeros, and a scale at the end of a residual branch, do not count. `diagnose` does not
          report the layers after a small scale, because it makes their signals small.

    Level:
        warning; error if gradients are 0; note if all later kernels get inputs of a usual size
        and gradients are noticeable next to the loss

    Why:
        - After the first update of a bias, the signal is negligible next to this bias.
        - Adam normalizes small gradients and trains with them. Gradients of 0 train nothing.
        - A scale of N(0, 0.02) instead of N(1, 0.02) makes all signals after it 50 times smaller.
        - A small output is harmless if it is added to a larger one, or normalized.

    Typical causes:
        - kernels that are too small for the depth of the network, for example
          `RandomNormal(stddev=0.01)`
        - very small inputs
        - an initializer of kernels that you also use for the scale of a normalization

    Fix:
        Use `HeNormal` or `GlorotUniform`, and ones for the scale.
    """
    # In training a scale may become small.
    scales = [] if diagnosis.is_trained else find_small_scales(layers, diagnosis)
    if scales:
        yield _report_scales(scales)
        layers = layers[: layers.index(scales[0].layer)]
    lost = lost_signals(diagnosis)
    small = []
    for layer in layers:
        # Dead units, too, cause everything after them.
        if layer.dead == 1:
            break
        signal = layer.signal
        if signal.nonfinite or (layer.has_zeros and signal.zeros == 1):
            continue
        # The layer gets inputs as small.
        if layer.layer in lost.began:
            continue
        if signal.std < VANISHING and layer.has_enough_values:
            small.append(layer)
    cause = find_largest_inputs(diagnosis, lambda signal: signal.std)
    if cause is not None and not cause.std < SMALL_INPUTS:
        cause = None
    harmful_level: Level = "warning"
    norms = [norm for _, norm in trained_layers(diagnosis)]
    # Zeros are *equal units*.
    if norms and norms[0] == 0 and not any(layer.has_zeros for layer in measured_layers(diagnosis)):
        harmful_level = "error"
    # No gradient is noticeable next to the loss. A last layer that only starts small, or at 0, gets
    # a gradient itself.
    loss = diagnosis.probe(LossProbe).value
    are_gradients_tiny = loss is not None and bool(norms) and max(norms) < VANISHING * loss

    def does_harm(layer: MeasuredLayer) -> bool:
        if layer.makes_output and are_gradients_tiny:
            return True
        return layer.layer in lost.causes or layer.layer in lost.starved

    for level, hit in group_by_level(small, harmful_level, does_harm):
        evidence = describe_deviations(diagnosis, hit, "falls")
        remedy = propose_for_signal(hit, cause, diagnosis)
        if level == "note":
            evidence += ". No later layer gets too small inputs because of this"
            text = (
                "change nothing if this is intended, for example for a scale that starts at 0; if "
                f"not, {remedy.text}"
            )
            remedy = replace(remedy, text=text)
        yield Finding(hit, evidence, remedy, level)


def _report_scales(scales: Sequence[MeasuredWeight]) -> Finding:
    first = scales[0]
    evidence = (
        f"the scale of {first.layer.title}{write_rest(scales)} has a root mean square "
        f"of {compute_scale_size(first):.1g}; a usual scale starts at 1. It makes normalized "
        "signals as small as itself"
    )
    return Finding([scale.layer for scale in scales], evidence, propose_ones(scales))
