"""Vanishing: signals that become too small."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._first_inputs import SMALL_INPUTS, largest_inputs
from keras_initx.tools.diagnose._lost_signals import VANISHING, lost_signals
from keras_initx.tools.diagnose._rules import Finding, Level, and_more_weights, by_level, rule
from keras_initx.tools.diagnose._seen import SeenLayer, SeenWeight, seen_layers, trained_layers
from keras_initx.tools.diagnose.losses.probes import LossProbe
from keras_initx.tools.diagnose.remedies.scales import ones_for, size_of_scale, small_scales
from keras_initx.tools.diagnose.remedies.signals import deviations, signal_remedy


@rule(
    "vanishing",
    unless=["no gradient:error", "equal inputs:error"],
    # Zeros, and inputs of zeros, cause everything after them.
    until=["equal units:error", "equal inputs", "alike"],
)
def vanishing(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report signals that become too small.

    Finds:
        a standard deviation below {VANISHING:g} before the activation; or a scale of a
        normalization of Keras whose root mean square is below 0.1, other than zeros and than at the
        end of a residual branch. What follows is not told then: it is an effect

    Why:
        negligible next to a bias after its first update. Small gradients train with Adam, which
        normalizes them, gradients of 0 do not; a small output that is added to a larger one, or
        normalized, is harmless. A scale of N(0, 0.02), for one of N(1, 0.02), makes all that
        follows as small as it is, whatever was drawn

    Level:
        warning; error if gradients are 0; note if no kernel gets too small an input because of it,
        unless all gradients are as small beside the loss

    Remedy:
        `HeNormal`, `GlorotUniform`; ones for the scale
    """
    # In training a scale may become small.
    scales = [] if of.is_trained else small_scales(layers, of)
    if scales:
        yield _of_scales(scales)
        layers = layers[: layers.index(scales[0].layer)]
    lost = lost_signals(of)
    small = []
    for layer in layers:
        # So do dead units.
        if layer.dead == 1:
            break
        signal = layer.signal
        if signal.nonfinite or (layer.has_zeros and signal.zeros == 1):
            continue
        # It gets no more.
        if layer.layer in lost.began:
            continue
        if signal.std < VANISHING and layer.has_enough_values:
            small.append(layer)
    cause = largest_inputs(of, lambda signal: signal.std)
    if cause is not None and not cause.std < SMALL_INPUTS:
        cause = None
    harmful: Level = "warning"
    norms = [norm for _, norm in trained_layers(of)]
    # Zeros have their own verdict.
    if norms and norms[0] == 0 and not any(layer.has_zeros for layer in seen_layers(of)):
        harmful = "error"
    # No gradient is noticeable beside the loss. A last layer that only starts small, or at 0, gets
    # one itself.
    value = of.probe(LossProbe).value
    are_slight = value is not None and bool(norms) and max(norms) < VANISHING * value

    def does_harm(layer: SeenLayer) -> bool:
        if layer.makes_output and are_slight:
            return True
        return layer.layer in lost.causes or layer.layer in lost.starved

    for level, hit in by_level(small, harmful, does_harm):
        evidence = deviations(of, hit, "falls")
        remedy = signal_remedy(hit, cause, of)
        if level == "note":
            evidence += "; no later layer gets too small an input because of it"
            text = f"none, if it is meant, as a scale that begins at 0; otherwise {remedy.text}"
            remedy = replace(remedy, text=text)
        yield Finding(hit, evidence, remedy, level)


def _of_scales(scales: Sequence[SeenWeight]) -> Finding:
    """Return the finding on scales that begin near 0."""
    first = scales[0]
    evidence = (
        f"the scale of {first.layer.title} has the root mean square {size_of_scale(first):.1g}"
        f"{and_more_weights(scales)}: it makes normalized signals as small, where a scale that "
        "begins at 1 keeps them"
    )
    return Finding([scale.layer for scale in scales], evidence, ones_for(scales))
