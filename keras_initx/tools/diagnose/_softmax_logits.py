"""Weights that a softmax takes, such as routing logits: it does not matter what is added to all.

In a layer of one's own a matrix is taken for a kernel by its shape. But zeros are a start for
logits like any other number, and let gradients pass.
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
    """Finds weights of one number to which any number may be added, though others count.

    It calls layers of one's own once more, with other numbers in such a weight.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self._added: set[int] = set()
        self._others: set[int] = set()
        self._suspects: dict[keras.Layer, list[keras.Variable]] = {}
        for layer in diagnosis.watch.layers:
            if not knows_axes(layer):
                kernels = [
                    one for one in list_own_weights(layer) if one.trainable and is_kernel(one)
                ]
                self._suspects[layer] = [one for one in kernels if _is_constant(one)]

    def after(self, call: Call) -> None:
        if call.output is None or not isinstance(call.operation, keras.Layer):
            return
        for weight in self._suspects.get(call.operation, ()):
            added = self._change(call, weight, lambda values: values + 1)
            drawn = self._change(call, weight, draw_small)
            is_added = added is not None and drawn is not None and added <= _ROUNDING < drawn
            (self._added if is_added else self._others).add(id(weight))

    def has(self, weight: MeasuredWeight) -> bool:
        """Return whether a weight is such, in all calls of its layer."""
        return id(weight.own.variable) in self._added - self._others

    def _change(self, call: Call, weight: keras.Variable, change: Change) -> float | None:
        """Return how much outputs change with other numbers in a weight, relative to their size."""
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
