"""The remedy where no kernel makes signals small or large, but a scale, or an operation."""

import math
from collections.abc import Sequence

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._lost_signals import LostProbe
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._seen import SeenLayer, weights_of

# The scales of normalizations, which begin at 1.
_SCALES = ("gamma", "scale")
# Factor between such a scale and 1 above which it is what makes a signal small or large.
_FAR = 10


def other_scales(layers: Sequence[SeenLayer], of: Diagnosis) -> Remedy | None:
    """Return the remedy of a scale or an operation among some layers, `None` without such."""
    far = []
    for weight in weights_of(layers):
        size = weight.report.norm / math.sqrt(max(math.prod(weight.report.shape), 1))
        # Zeros have their own verdict.
        if weight.name in _SCALES and size > 0 and not 1 / _FAR <= size <= _FAR:
            far.append(weight)
    if far:
        text = f"ones for the scale of {far[0].layer.title}"
        return Remedy(text, {weight.path: "ones" for weight in far})
    shrunk = of.probe(LostProbe).shrunk
    for layer in layers:
        if layer.layer in shrunk:
            text = (
                f"larger numbers before {layer.title}: an operation there makes them of size "
                f"{shrunk[layer.layer]:.1g}"
            )
            return Remedy(text)
    return None
