"""Weights that are not finite. This may be a fault, but a mask may be infinite on purpose."""

import math
from typing import NamedTuple

import numpy as np

from keras_initx._keras import list_layers
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.inspection._finite import NotFinite, find_not_finite
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._measured_layers import measured_weights, trained_layers
from keras_initx.tools.diagnose._signal_probe import measure_floats
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe

# Stands for infinity, to find out whether infinity does harm.
_LARGE = 1e4


class LostWeight(NamedTuple):
    """A weight that is not finite.

    Attributes:
        weight: The weight.
        values: Its values that are not finite.
        is_certain: Whether this is certainly a fault: it cannot be intended, or the outputs, the
            loss or gradients are not finite because of it.
    """

    weight: ModelWeight
    values: NotFinite
    is_certain: bool


@fact
def lost_weights(diagnosis: Diagnosis) -> list[LostWeight]:
    """The weights that are not finite, without masks that do no harm."""
    lost = []
    for weight in diagnosis.inventory.weights_and_buffers:
        measured = measured_weights(diagnosis).get(id(weight.variable))
        if measured is not None and math.isfinite(measured.report.norm):
            continue
        values = find_not_finite(weight)
        if values is None:
            continue
        is_certain = not values.may_be_meant or _does_harm(weight, values, diagnosis)
        if is_certain or not values.is_mask:
            lost.append(LostWeight(weight, values, is_certain))
    return lost


def _does_harm(weight: ModelWeight, values: NotFinite, diagnosis: Diagnosis) -> bool:
    """Return whether outputs, the loss or gradients are finite only with other values."""
    losses, outputs = diagnosis.probe(LossProbe), diagnosis.probe(OutputProbe)
    numbers = [losses.value or 0.0, *(norm for _, norm in trained_layers(diagnosis))]
    is_lost = outputs.has_nan or not all(map(math.isfinite, numbers))
    # A mask makes outputs infinite on purpose.
    if outputs.signal is not None and outputs.signal.nonfinite and not values.is_mask:
        is_lost = True
    if not is_lost:
        return False
    variable = weight.variable
    former = backend.snapshot(variable.value)
    with diagnosis.changed():
        try:
            variable.assign(_replace_nonfinite(backend.host_view(variable.value)))
            with backend.preserve_state(list_layers(diagnosis.model)):
                signal = measure_floats(diagnosis.model(diagnosis.x, training=False))
            is_cured = signal is None or not signal.nonfinite
            return is_cured and (not losses.has_loss or all(map(math.isfinite, diagnosis.norms())))
        finally:
            variable.assign(former)


def _replace_nonfinite(values: Array) -> Array:
    # By 0 for NaN, and by large numbers that float16 holds.
    numbers: Array = np.nan_to_num(values.astype("float32"), posinf=_LARGE, neginf=-_LARGE)
    return numbers.astype(values.dtype)
