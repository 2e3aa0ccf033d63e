"""Weights that are not finite, and whether that is a fault."""

import math
from typing import NamedTuple

import numpy as np

from keras_initx._keras import list_layers
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.inspection._finite import NotFinite
from keras_initx.inspection._finite import find_not_finite as not_finite_in
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._seen import seen_weights, trained_layers
from keras_initx.tools.diagnose._signal_probe import signal_of_floats
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe

# What stands for infinity where it is tried whether that does harm.
_LARGE = 1e4


class LostWeight(NamedTuple):
    """A weight that is not finite.

    Attributes:
        weight: The weight.
        values: Its values that are not finite.
        is_certain: Whether that is a fault: it cannot be meant, or what the model computes is lost.
    """

    weight: ModelWeight
    values: NotFinite
    is_certain: bool


@fact
def lost_weights(of: Diagnosis) -> list[LostWeight]:
    """The weights that are not finite, without masks that do no harm."""
    found = []
    for weight in of.inventory.weights_and_buffers:
        seen = seen_weights(of).get(id(weight.variable))
        if seen is not None and math.isfinite(seen.report.norm):
            continue
        values = not_finite_in(weight)
        if values is None:
            continue
        is_certain = not values.may_be_meant or _spoils(weight, values, of)
        if is_certain or not values.is_mask:
            found.append(LostWeight(weight, values, is_certain))
    return found


def _spoils(weight: ModelWeight, values: NotFinite, of: Diagnosis) -> bool:
    """Return whether outputs, the loss or gradients are finite only with others of these values."""
    losses, outputs = of.probe(LossProbe), of.probe(OutputProbe)
    numbers = [losses.value or 0.0, *(norm for _, norm in trained_layers(of))]
    is_lost = outputs.has_nan or not all(map(math.isfinite, numbers))
    # A mask makes outputs infinite on purpose.
    if outputs.signal is not None and outputs.signal.nonfinite and not values.is_mask:
        is_lost = True
    if not is_lost:
        return False
    variable = weight.variable
    former = backend.snapshot(variable.value)
    with of.changed():
        try:
            variable.assign(_made_finite(backend.host_view(variable.value)))
            with backend.preserve_state(list_layers(of.model)):
                signal = signal_of_floats(of.model(of.x, training=False))
            is_cured = signal is None or not signal.nonfinite
            return is_cured and (not losses.has_loss or all(map(math.isfinite, of.norms())))
        finally:
            variable.assign(former)


def _made_finite(values: Array) -> Array:
    """Return values of which the infinite ones are large numbers that float16 holds."""
    numbers: Array = np.nan_to_num(values.astype("float32"), posinf=_LARGE, neginf=-_LARGE)
    return numbers.astype(values.dtype)
