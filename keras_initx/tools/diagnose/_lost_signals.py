"""Signals that are lost: layers because of which a later kernel gets the same for all examples."""

import contextlib
from collections.abc import Collection
from typing import NamedTuple

import keras

from keras_initx._typing import Array
from keras_initx.backends._moments import compute_rms, spread
from keras_initx.inspection._batch import first_float, to_array
from keras_initx.inspection._kernels import is_zero, multiplying_weights
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe, fact
from keras_initx.tools.diagnose._held_back import changed_weight, opened_zeros
from keras_initx.tools.diagnose._signal_probe import SignalProbe, floats_in

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
        found: Dict from a layer whose kernel got nearly the same input for all examples to the
            layers that may be the reason.
        shrunk: Dict from a layer before which an operation makes the signal nearly zero to the size
            of what it gets.
        origins: Dict from a layer that got next to nothing to the layers before it that may be the
            reason; none where an operation made it so.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.found: dict[keras.Layer, set[keras.Layer]] = {}
        self.origins: dict[keras.Layer, set[keras.Layer]] = {}
        self.shrunk: dict[keras.Layer, float] = {}
        self._seen = of.probe(SignalProbe).seen
        self._zero: set[keras.Layer] = set()
        for layer in of.watch.layers:
            if any(is_zero(layer, weight) for weight in multiplying_weights(layer)):
                self._zero.add(layer)
        sizes = [spread(to_array(tensor)) for tensor in floats_in(of.x)]
        self._has_small_inputs = bool(sizes) and max(sizes) < VANISHING
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
        values = to_array(call.kernel_input)
        is_weak = spread(values) < VANISHING
        for suspect in self._row:
            is_cause = not _differ(values) if suspect in self._zero else is_weak
            if is_cause:
                self.found.setdefault(layer, set()).add(suspect)

    def after(self, call: Call) -> None:
        if not call.is_seen:
            return
        layer = call.operation
        is_small = layer in self._zero or self._seen[layer].last_std < VANISHING
        self.origins.pop(layer, None)
        is_first = is_small and layer not in self._row
        little = self._little(call) if is_first else None
        before = set() if self._is_over else set(self._row)
        if little is not None and not _differ(little):
            self.origins[layer] = before - self.origins.keys()
            is_small = bool(before)
        elif is_first and self._is_table(call):
            self.origins[layer] = set()
            is_small = False
        elif little is not None and not before:
            self.shrunk[layer] = compute_rms(little)
        if is_small:
            if self._is_over:
                self._row = []
            self._row.append(layer)
        self._is_over = not is_small

    def _little(self, call: Call) -> Array | None:
        """Return what reaches a layer if it is as small as what comes out of it, else `None`."""
        reached = first_float(call.arguments)
        if reached is None or call.operation in self._zero or self._has_small_inputs:
            return None
        values = to_array(reached)
        return values if abs(values).max(initial=0) < VANISHING else None

    def _is_table(self, call: Call) -> bool:
        """Return whether small numbers come out of a layer that are the same for all examples.

        They come from no input: a kernel makes small ones that differ.
        """
        is_zero = call.operation in self._zero or not call.values.any()
        return not is_zero and _are_same(call.values)


def _differ(values: Array) -> bool:
    """Return whether examples differ by more than rounding."""
    return bool(spread(values) > _SAME * abs(values).max(initial=0))


def _are_same(values: Array) -> bool:
    """Return whether all examples have the same values, to the bit."""
    return bool((values == values[:1]).all())


class LostSignals(NamedTuple):
    """The layers at which signals are lost.

    Attributes:
        causes: The layers because of which a kernel got nearly the same input for all examples.
        starved: The layers with these kernels.
        began: The layers that got next to nothing, though no signal was lost before them.
    """

    causes: set[keras.Layer]
    starved: set[keras.Layer]
    began: set[keras.Layer]


@fact
def lost_signals(of: Diagnosis) -> LostSignals:
    """The layers at which signals are lost.

    Layers of zeros are the reason only if their outputs differ between examples with other numbers:
    a table that all examples get begins the same for all, whatever is in it.
    """
    found, origins = of.probe(LostProbe).found, of.probe(LostProbe).origins
    suspects: set[keras.Layer] = set().union(*found.values())
    zeros = {}
    for layer in suspects.union(*origins.values()):
        weights = [weight for weight in multiplying_weights(layer) if is_zero(layer, weight)]
        if weights:
            zeros[layer] = weights
    harmless = zeros.keys() - _that_differ(zeros, of)
    began = {layer for layer, before in origins.items() if before <= harmless}
    causes = suspects - harmless - began
    starved = {layer for layer, of_layer in found.items() if of_layer & causes}
    return LostSignals(causes, starved, began)


def _that_differ(zeros: dict[keras.Layer, list[keras.Variable]], of: Diagnosis) -> set[keras.Layer]:
    """Return the layers of zeros whose outputs differ between examples with other numbers."""
    if not zeros:
        return set()
    recorder = _DifferenceRecorder(zeros)
    with of.changed(), contextlib.ExitStack() as stack:
        for weights in zeros.values():
            for weight in weights:
                stack.enter_context(changed_weight(weight, opened_zeros))
        Watch(of.inventory).observe(of.x, recorder, training=True)
    return recorder.differing


class _DifferenceRecorder(Watcher):
    """Records which of some layers give outputs that differ between examples."""

    def __init__(self, layers: Collection[keras.Layer]) -> None:
        self.differing: set[keras.Layer] = set()
        self._layers = layers

    def after(self, call: Call) -> None:
        if (
            call.operation in self._layers
            and call.output is not None
            and not _are_same(call.values)
        ):
            self.differing.add(call.operation)
