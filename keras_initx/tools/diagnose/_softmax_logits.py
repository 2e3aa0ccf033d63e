"""Weights that go into a softmax, such as routing logits: a number added to all changes nothing.

In a user's layer, a matrix counts as a kernel because of its shape. But logits may start with zeros
or any other number, and let gradients pass.
"""

import keras
import numpy as np

from keras_initx.backends._current import backend
from keras_initx.backends._moments import compute_rms
from keras_initx.inspection._batch import first_float, to_array
from keras_initx.inspection._kernels import is_kernel, knows_axes
from keras_initx.inspection._names import list_own_weights
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe
from keras_initx.tools.diagnose._measured_layers import MeasuredWeight
from keras_initx.tools.diagnose._unreached_layers import Change, draw_small

# Difference of outputs, relative to their size, that may be rounding.
_ROUNDING = 1e-4


class LogitsProbe(Probe):
    """Finds constant weights that may be logits: an added number changes no output, a redraw does.

    It calls users' layers once more, with other numbers in such a weight.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self._logits: set[int] = set()
        self._no_logits: set[int] = set()
        self._suspects: dict[keras.Layer, list[keras.Variable]] = {}
        for layer in diagnosis.watch.layers:
            if not knows_axes(layer):
                suspects = []
                for weight in list_own_weights(layer):
                    if weight.trainable and is_kernel(weight) and _is_constant(weight):
                        suspects.append(weight)
                self._suspects[layer] = suspects

    def after(self, call: Call) -> None:
        if call.output is None or not isinstance(call.operation, keras.Layer):
            return
        for weight in self._suspects.get(call.operation, ()):
            by_adding = self._measure_change(call, weight, lambda values: values + 1)
            by_redraw = self._measure_change(call, weight, draw_small)
            are_logits = False
            if by_adding is not None and by_redraw is not None:
                are_logits = by_adding <= _ROUNDING < by_redraw
            (self._logits if are_logits else self._no_logits).add(id(weight))

    def has(self, weight: MeasuredWeight) -> bool:
        """Return whether a weight has logits in all calls of its layer."""
        return id(weight.own.variable) in self._logits - self._no_logits

    def _measure_change(self, call: Call, weight: keras.Variable, change: Change) -> float | None:
        """Return the relative change of outputs if `weight` changes, `None` if it is unknown."""
        # In the scope of the pass a weight is assigned for this call alone.
        with self.diagnosis.watch.paused(), backend.preserve_state([call.operation]):
            weight.assign(np.asarray(change(backend.host_view(weight.value)), weight.dtype))
            outputs = first_float(call.function(*call.args, **call.kwargs))
        if outputs is None or tuple(outputs.shape) != call.values.shape:
            return None
        size = compute_rms(call.values)
        return compute_rms(to_array(outputs) - call.values) / size if size else None


def _is_constant(weight: keras.Variable) -> bool:
    values = backend.host_view(weight.value)
    return bool((values == values.flat[0]).all())
