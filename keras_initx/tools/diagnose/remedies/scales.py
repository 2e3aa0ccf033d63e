"""The remedy if a scale, or an operation, makes signals small or large, and no kernel does."""

import math
from collections.abc import Sequence

from keras_initx._checks import summarize_names
from keras_initx.inspection._kernels import NORMALIZATIONS
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._lost_signals import LostProbe
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, MeasuredWeight, list_weights
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import list_titles
from keras_initx.tools.diagnose.remedies.branches import find_scaling_layers

# The scales of normalizations, which begin at 1.
_SCALES = ("gamma", "scale")
# Factor between such a scale and 1 above which it is what makes a signal small or large.
_FAR = 10


def find_small_scales(
    layers: Sequence[MeasuredLayer], diagnosis: Diagnosis
) -> list[MeasuredWeight]:
    """Find the scales of normalizations among some layers that begin near 0, and not at 1.

    Such a scale is intended at the end of a residual branch. Zeros are *equal units*.
    """
    small = []
    for weight in list_weights(layers):
        is_scale = isinstance(weight.own.layer, NORMALIZATIONS) and weight.name in _SCALES
        if is_scale and 0 < compute_scale_size(weight) < 1 / _FAR:
            small.append(weight)
    # Finding the ends of branches takes a symbolic call: only if there are small scales.
    return [weight for weight in small if weight.layer not in find_scaling_layers(diagnosis)]


def compute_scale_size(weight: MeasuredWeight) -> float:
    """Compute the root mean square of a scale."""
    return weight.report.norm / math.sqrt(max(math.prod(weight.report.shape), 1))


def propose_ones(scales: Sequence[MeasuredWeight]) -> Remedy:
    """Propose scales of 1."""
    text = (
        f"set the scale of {summarize_names(list_titles(scale.layer for scale in scales))} to ones"
    )
    return Remedy(text, {weight.path: "ones" for weight in scales})


def propose_other_scale(layers: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> Remedy | None:
    """Propose scales of 1, or larger numbers before an operation; `None` if neither is far off."""
    far = []
    for weight in list_weights(layers):
        size = compute_scale_size(weight)
        # Zeros are *equal units*.
        if weight.name in _SCALES and size > 0 and not 1 / _FAR <= size <= _FAR:
            far.append(weight)
    if far:
        return propose_ones(far)
    shrunk = diagnosis.probe(LostProbe).shrunk
    for layer in layers:
        if layer.layer in shrunk:
            text = (
                f"use larger numbers before {layer.title}, because an operation there makes them "
                f"of size {shrunk[layer.layer]:.1g}"
            )
            return Remedy(text)
    return None
