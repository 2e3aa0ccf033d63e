"""The axis that the histograms of a table share: linear near 0, logarithmic far beyond."""

import math
from collections.abc import Sequence

import numpy as np

from keras_initx._typing import Array
from keras_initx.tools.diagnose._layer_report import LayerReport
from keras_initx.tools.diagnose._signal import Signal

# Range of a histogram on each side of 0, in standard deviations.
_REACH = 4
# An axis that reaches beyond this many times the linear part is logarithmic there: it has few
# bins.
_FAR = 2


def choose_linear_limit(layers: Sequence[LayerReport]) -> float:
    """Return the end of the linear part. It holds outputs of a healthy or the smallest layer."""
    deviations = [layer.after.std for layer in layers if layer.after is not None]
    return _REACH * max(1.0, min(deviations, default=1.0))


def choose_range(layers: Sequence[LayerReport], linear: float) -> tuple[float, float]:
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


def is_far(limits: tuple[float, float], linear: float) -> bool:
    """Return whether an axis reaches far beyond its linear part."""
    low, high = limits
    return max(-low, high) > _FAR * linear


def compute_bin_edges(limits: tuple[float, float], linear: float, count: int) -> Array:
    """Return the edges of bins that are equally wide on an axis.

    If it is logarithmic, the linear part and the part beyond it have the same width.
    """
    low, high = limits
    if not is_far(limits, linear):
        return np.linspace(low, high, count + 1)
    decades = math.log(max(-low, high) / linear)

    def to_position(value: float) -> float:
        if abs(value) <= linear:
            return value / linear
        return math.copysign(1 + math.log(abs(value) / linear) / decades, value)

    positions = np.linspace(to_position(low), to_position(high), count + 1)
    beyond = np.maximum(abs(positions) - 1, 0) * decades
    return linear * np.clip(positions, -1, 1) * np.exp(beyond)
