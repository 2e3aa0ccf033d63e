"""Weights that a softmax takes, such as routing logits: it does not matter what is added to all.

In a layer of one's own a matrix is taken for a kernel by its shape. But zeros are a start for
logits like any other number, and let gradients pass.
"""

import keras

from keras_initx.backends._current import backend
from keras_initx.backends._moments import size_of
from keras_initx.inspection._batch import array_of, first_float
from keras_initx.inspection._kernels import knows_axes
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._held_back import Change, changed_weight, opened_zeros
from keras_initx.tools.diagnose._kernel_values import kernel_values
from keras_initx.tools.diagnose._seen import SeenWeight

# Difference of outputs, relative to their size, that may be rounding.
_ROUNDING = 1e-4


@fact
def softmax_logits(of: Diagnosis) -> set[SeenWeight]:
    """The weights of one number to which any number may be added, though others count."""
    suspects: dict[keras.Layer, list[SeenWeight]] = {}
    for weight, values in kernel_values(of).items():
        if values.constant and not knows_axes(weight.own.layer):
            suspects.setdefault(weight.own.layer, []).append(weight)
    if not suspects:
        return set()
    watch = Watch(of.inventory)
    tester = _Tester(suspects, watch)
    with of.changed():
        watch.observe(of.x, tester, training=False)
    return tester.found - tester.others


class _Tester(Watcher):
    """Calls layers once more, with other numbers in some of their weights.

    Attributes:
        found: The weights to which a number was added without an effect.
        others: Those where it has one, or where no number has any.
    """

    def __init__(self, suspects: dict[keras.Layer, list[SeenWeight]], watch: Watch) -> None:
        self.found: set[SeenWeight] = set()
        self.others: set[SeenWeight] = set()
        self._suspects = suspects
        self._watch = watch

    def after(self, call: Call) -> None:
        if call.output is None or not isinstance(call.operation, keras.Layer):
            return
        for weight in self._suspects.get(call.operation, ()):
            added = self._change(call, weight, lambda values: values + 1)
            drawn = self._change(call, weight, opened_zeros)
            is_found = added is not None and drawn is not None and added <= _ROUNDING < drawn
            (self.found if is_found else self.others).add(weight)

    def _change(self, call: Call, weight: SeenWeight, change: Change) -> float | None:
        """Return how much outputs change with other numbers in a weight, relative to their size."""
        with (
            self._watch.paused(),
            backend.preserve_state([call.operation]),
            changed_weight(weight.own.variable, change),
        ):
            outputs = first_float(call.function(*call.args, **call.kwargs))
        if outputs is None or tuple(outputs.shape) != call.values.shape:
            return None
        size = size_of(call.values)
        return size_of(array_of(outputs) - call.values) / size if size else None
