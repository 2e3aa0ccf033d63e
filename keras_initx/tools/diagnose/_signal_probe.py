"""The signals of a pass: the inputs, the targets, and what comes out of each layer."""

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
    activation_slope,
    identify_activation,
    read_activation,
    unit_axis,
)
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Arrays, Diagnosis, Probe, fact
from keras_initx.tools.diagnose._signal import Signal

# Distance from a limit within which an output counts as saturated, as a fraction of the distance
# between the limits; for tanh this means beyond 0.99.
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
        last_std: The standard deviation before its activation, or of its output if it has none, in
            its last call.
    """

    before: Signal | None = None
    after: Signal | None = None
    shape: Shape | None = None
    last_std: float = 0.0


class SignalProbe(Probe):
    """Measures the output of each layer with weights or an activation, and what is before this.

    Attributes:
        seen: Dict from a layer to its `Signals`, in the order in which they were seen.
        slopes: Dict from a layer with an activation that Keras does not have to the largest slope
            of this, `None` where it is no function of single values.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.seen: dict[keras.Layer, LayerSignals] = {}
        self.slopes: dict[keras.Layer, float | None] = {}

    def activated(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        seen = self.seen.setdefault(layer, LayerSignals())
        if read_activation(layer) is not None:
            self._name_activation(layer, activation, values, outputs)
        if seen.before is None:
            seen.before = Signal()
        array = to_array(values)
        seen.last_std = _added(seen.before, array, unit_axis(layer, array.ndim))
        seen.shape = array.shape

    def after(self, call: Call) -> None:
        layer = call.operation
        if call.is_seen:
            seen = self.seen.setdefault(layer, LayerSignals())
            if seen.after is None:
                activation = self.diagnosis.watch.activations[layer] or ""
                seen.after = Signal(activation_facts(activation).limits, _margin_of(activation))
            std = _added(seen.after, call.values, unit_axis(layer, call.values.ndim))
            seen.shape = call.values.shape
            if seen.before is None:
                seen.last_std = std
        elif self._may_be_activation(call):
            self._measure_slope(layer, call.function, call.inputs[0])

    def _name_activation(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        """Give the activation of `layer` the name of the one of Keras that has these outputs.

        It may be a lambda, or a function that goes by another name. Of a function that Keras does
        not have, measure the slope.
        """
        known = self.diagnosis.watch.activations[layer] or ""
        if hasattr(keras.activations, known) or first_float(outputs) is None:
            return
        name = identify_activation(to_array(values[:8]), to_array(outputs[:8]))
        if name is not None:
            self.diagnosis.watch.activations[layer] = name
        elif not getattr(activation, "weights", None):
            self._measure_slope(layer, activation, values)

    def _may_be_activation(self, call: Call) -> bool:
        """Return whether a call is one of a function, or a layer of one's own, without weights."""
        layer = call.operation
        watch = self.diagnosis.watch
        if layer not in watch.layers or layer.weights or watch.activations[layer]:
            return False
        is_own = not type(layer).__module__.startswith("keras.")
        is_own |= isinstance(layer, keras.layers.Lambda)
        return is_own and len(call.inputs) == 1 and call.output is not None

    def _measure_slope(
        self, layer: keras.Layer, activation: Callable[..., Tensor], values: Tensor
    ) -> None:
        """Measure the largest slope of what `layer` applies to single values."""
        # What these calls draw, count or add as losses is no part of the pass either.
        with self.diagnosis.watch.paused(), backend.preserve_state([layer]):
            self.slopes[layer] = activation_slope(activation, to_array(values[:8]))


def _margin_of(activation: str) -> float:
    """Return the distance from a limit where an activation has the slope of tanh at the margin.

    It is relative to the distance between the limits, as `SATURATION_MARGIN` is. Softsign nears its
    limits slowly.
    """
    if activation == "softsign":
        return math.sqrt(SATURATION_MARGIN * (1 - SATURATION_MARGIN))
    return SATURATION_MARGIN


def _added(signal: Signal, values: Array, axis: int) -> float:
    """Add the values of one call to `signal`, and return their own standard deviation.

    A signal that fades from call to call of one layer is large on the whole.
    """
    is_first = not signal.size
    signal.add(values, axis)
    if is_first:
        return signal.std
    with np.errstate(invalid="ignore"):
        return float(np.std(values, dtype="float64"))
