"""The signals of a pass: the inputs, the targets, and the output of each layer."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.initializers._activations import activation_facts
from keras_initx.inspection._batch import first_float, list_tensors, to_array
from keras_initx.inspection._hooks import (
    identify_activation,
    measure_slopes,
    read_activation,
    unit_axis,
)
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Arrays, Diagnosis, Probe, fact
from keras_initx.tools.diagnose._signal import Signal

# Distance from a limit within which an output counts as saturated, as a fraction of the distance
# between the limits: for tanh, outputs beyond 0.99 are saturated.
SATURATION_MARGIN = 0.005


@fact
def input_signal(diagnosis: Diagnosis) -> Signal | None:
    """`Signal` of the inputs, `None` if they are integers."""
    return measure_floats(diagnosis.x)


@fact
def target_signal(diagnosis: Diagnosis) -> Signal | None:
    """`Signal` of the targets, `None` if they are integers or not given."""
    return measure_floats(diagnosis.y)


def measure_floats(batch: Arrays) -> Signal | None:
    """Return the statistics of the floating-point numbers in a batch, `None` without any."""
    signal = None
    for tensor in list_floats(batch):
        if signal is None:
            signal = Signal()
        signal.add(to_array(tensor))
    return signal


def list_floats(batch: Arrays) -> list[Tensor]:
    """Return the tensors of floating-point numbers."""
    floats = []
    for tensor in list_tensors(batch):
        if "float" in keras.backend.standardize_dtype(tensor.dtype):
            floats.append(tensor)
    return floats


@dataclass(eq=False)
class LayerSignals:
    """The signals of a layer.

    Attributes:
        before: `Signal` before its activation, `None` if there is none or it is not accessible.
        after: `Signal` of its output, `None` if it is not accessible.
        shape: Shape of that output.
        last_std: The standard deviation of `before`, or of `after` without an activation, in the
            last call alone.
    """

    before: Signal | None = None
    after: Signal | None = None
    shape: Shape | None = None
    last_std: float = 0.0


class SignalProbe(Probe):
    """Measures the output of each layer with weights or an activation, before and after this.

    Attributes:
        signals: Dict from a layer to its `LayerSignals`, in the order of their first measurement.
        slopes: Dict from a layer with an activation that Keras does not have to its largest slope,
            `None` if the activation is no function of single values.
        turns: Dict from such a layer to the number of times that the activation could go through
            all of its outputs within a standard deviation of its inputs, with its median slope.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.signals: dict[keras.Layer, LayerSignals] = {}
        self.slopes: dict[keras.Layer, float | None] = {}
        self.turns: dict[keras.Layer, float] = {}

    def activated(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        signals = self.signals.setdefault(layer, LayerSignals())
        if read_activation(layer) is not None:
            self._name_activation(layer, activation, values, outputs)
        if signals.before is None:
            signals.before = Signal()
        array = to_array(values)
        signals.last_std = _add_values(signals.before, array, unit_axis(layer, array.ndim))
        signals.shape = array.shape

    def after(self, call: Call) -> None:
        layer = call.operation
        if call.is_seen:
            signals = self.signals.setdefault(layer, LayerSignals())
            if signals.after is None:
                activation = self.diagnosis.watch.activations[layer] or ""
                signals.after = Signal(
                    activation_facts(activation).limits, _choose_margin(activation)
                )
            std = _add_values(signals.after, call.values, unit_axis(layer, call.values.ndim))
            signals.shape = call.values.shape
            if signals.before is None:
                signals.last_std = std
        elif self._may_be_activation(call):
            self._measure_slope(layer, call.function, call.inputs[0], call.output)

    def _name_activation(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        """Note which activation of Keras gives these outputs, or measure the slope of another.

        The activation may be a lambda, or a function with another name.
        """
        known = self.diagnosis.watch.activations[layer] or ""
        if hasattr(keras.activations, known) or first_float(outputs) is None:
            return
        name = identify_activation(to_array(values[:8]), to_array(outputs[:8]))
        if name is not None:
            self.diagnosis.watch.activations[layer] = name
        elif not getattr(activation, "weights", None):
            self._measure_slope(layer, activation, values, outputs)

    def _may_be_activation(self, call: Call) -> bool:
        """Return whether a call applies a function, or a user's layer, without weights."""
        layer = call.operation
        watch = self.diagnosis.watch
        if layer not in watch.layers or layer.weights or watch.activations[layer]:
            return False
        is_own = not type(layer).__module__.startswith("keras.")
        is_own |= isinstance(layer, keras.layers.Lambda)
        return is_own and len(call.inputs) == 1 and call.output is not None

    def _measure_slope(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        inputs, outputs = to_array(values[:8]), to_array(outputs[:8])
        # Random numbers, counts and losses of these calls are no part of the pass.
        with self.diagnosis.watch.paused(), backend.preserve_state([layer]):
            slopes = measure_slopes(activation, inputs)
        self.slopes[layer] = None if slopes is None else slopes.largest
        height = float(np.ptp(outputs)) if outputs.size else 0.0
        if slopes is not None and height > 0:
            # The median: steps, and functions that are steep in few places, do not turn.
            self.turns[layer] = slopes.median * float(inputs.std()) / height


def _choose_margin(activation: str) -> float:
    """Return the relative distance from a limit that makes an activation as flat as tanh at 0.99.

    Softsign nears its limits slowly. At the margin m, where |y| = 1 - 2 m, the slope is
    4 m (1 - m) for tanh, and 4 m**2 for softsign.
    """
    if activation == "softsign":
        return math.sqrt(SATURATION_MARGIN * (1 - SATURATION_MARGIN))
    return SATURATION_MARGIN


def _add_values(signal: Signal, values: Array, axis: int) -> float:
    """Add the values of one call to `signal`, and return the standard deviation of these values.

    If a signal fades from call to call of one layer, the standard deviation of all calls is large.
    """
    is_first = not signal.size
    signal.add(values, axis)
    if is_first:
        return signal.std
    with np.errstate(invalid="ignore"):
        return float(np.std(values, dtype="float64"))
