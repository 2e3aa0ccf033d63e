"""The axis that histograms of several layers share, in a table and in a figure."""

import math
from collections.abc import Sequence

from keras_initx.diagnostics._layers import LayerReport
from keras_initx.diagnostics._signal import Signal

# In standard deviations, what a histogram shows on each side of 0.
_REACH = 4


def linear_part(layers: Sequence[LayerReport]) -> float:
    """Return up to where outputs are shown as they are: those of a healthy or the least layer."""
    deviations = [layer.after.std for layer in layers if layer.after is not None]
    return _REACH * max(1.0, min(deviations, default=1.0))


def shared_range(layers: Sequence[LayerReport], linear: float) -> tuple[float, float]:
    """Return the limits for the histograms of all layers, without rare values far from the rest."""
    low = 0.0
    high = 0.0
    for layer in layers:
        signal = layer.after or Signal()
        reach = _REACH * math.hypot(signal.mean, signal.std)
        if math.isfinite(reach):
            low = min(low, max(signal.min, -reach))
            high = max(high, min(signal.max, reach))
    margin = (high - low) / 20 or 1
    return low - min(margin, linear / 10), high + margin
