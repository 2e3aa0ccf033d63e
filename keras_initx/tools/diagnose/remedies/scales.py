"""The remedy where no kernel makes signals small or large, but a scale, or an operation."""

import math
from collections.abc import Sequence

from keras_initx._checks import summarize_names
from keras_initx.inspection._kernels import NORMALIZATIONS
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._lost_signals import LostProbe
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import titles_of
from keras_initx.tools.diagnose._seen import SeenLayer, SeenWeight, branch_ends, weights_of

# The scales of normalizations, which begin at 1.
_SCALES = ("gamma", "scale")
# Factor between such a scale and 1 above which it is what makes a signal small or large.
_FAR = 10


def small_scales(layers: Sequence[SeenLayer], of: Diagnosis) -> list[SeenWeight]:
    """Return the scales of normalizations among some layers that begin near 0, and not at 1.

    At the end of a residual branch that is meant, and zeros have their own verdict.
    """
    found = []
    for weight in weights_of(layers):
        is_scale = isinstance(weight.own.layer, NORMALIZATIONS) and weight.name in _SCALES
        if is_scale and 0 < size_of_scale(weight) < 1 / _FAR:
            found.append(weight)
    # The ends are looked for by a symbolic call.
    return [weight for weight in found if weight.layer not in branch_ends(of)]


def size_of_scale(weight: SeenWeight) -> float:
    """Return the root mean square of a scale."""
    return weight.report.norm / math.sqrt(max(math.prod(weight.report.shape), 1))


def ones_for(scales: Sequence[SeenWeight]) -> Remedy:
    """Return the remedy of scales that are far from 1."""
    text = f"ones for the scale of {summarize_names(titles_of(scale.layer for scale in scales))}"
    return Remedy(text, {weight.path: "ones" for weight in scales})


def other_scales(layers: Sequence[SeenLayer], of: Diagnosis) -> Remedy | None:
    """Return the remedy of a scale or an operation among some layers, `None` without such."""
    far = []
    for weight in weights_of(layers):
        size = size_of_scale(weight)
        # Zeros have their own verdict.
        if weight.name in _SCALES and size > 0 and not 1 / _FAR <= size <= _FAR:
            far.append(weight)
    if far:
        return ones_for(far)
    shrunk = of.probe(LostProbe).shrunk
    for layer in layers:
        if layer.layer in shrunk:
            text = (
                f"larger numbers before {layer.title}: an operation there makes them of size "
                f"{shrunk[layer.layer]:.1g}"
            )
            return Remedy(text)
    return None
