"""Signals that are lost: layers because of which a later kernel gets the same for all examples."""

import keras

from keras_initx.diagnostics._diagnosis import Diagnosis, Probe
from keras_initx.diagnostics._signal import spread
from keras_initx.diagnostics._signal_probe import SignalProbe
from keras_initx.structure._batch import array_of
from keras_initx.structure._kernels import is_zero, multiplying_weights
from keras_initx.structure._watch import Call

# Standard deviation before the activation below which a signal has vanished.
VANISHING = 1e-3
# Relative tolerance for values that are equal for all examples, because matrix products round.
_SAME = 1e-5


class LostProbe(Probe):
    """Finds the layers with nearly zero output that make the inputs of a later kernel alike.

    It then gets the same inputs for all examples. Zeros are harmless if the inputs of the next
    kernel still differ between examples, e.g. through the other branch of an addition. The same
    holds for small outputs.

    Attributes:
        causes: The layers because of which a kernel got nearly the same input for all examples.
        starved: The layers with these kernels.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.causes: set[keras.Layer] = set()
        self.starved: set[keras.Layer] = set()
        self._seen = of.probe(SignalProbe).seen
        self._zero: set[keras.Layer] = set()
        for layer in of.watch.layers:
            if any(is_zero(layer, weight) for weight in multiplying_weights(layer)):
                self._zero.add(layer)
        # The most recent consecutive layers whose output was nearly zero.
        self._row: list[keras.Layer] = []
        self._is_over = False

    def before(self, call: Call) -> None:
        layer = call.operation
        if not self._row or layer not in self.of.watch.with_kernel:
            return
        # The inputs of an embedding are row indices.
        if call.kernel_input is None or isinstance(layer, keras.layers.Embedding):
            return
        values = array_of(call.kernel_input)
        differs = spread(values)
        is_same = differs <= _SAME * abs(values).max(initial=0)
        is_weak = differs < VANISHING
        for suspect in self._row:
            is_cause = is_same if suspect in self._zero else is_weak
            if is_cause:
                self.causes.add(suspect)
                self.starved.add(layer)

    def after(self, call: Call) -> None:
        if not call.is_seen:
            return
        layer = call.operation
        is_small = layer in self._zero or self._seen[layer].last_std < VANISHING
        if is_small:
            if self._is_over:
                self._row = []
            self._row.append(layer)
        self._is_over = not is_small
