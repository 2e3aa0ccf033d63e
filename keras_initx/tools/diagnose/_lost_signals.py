"""Lost signals: layers that make the inputs of a later kernel the same for all examples.

A *starved* layer has a kernel with such inputs. Its *suspects* are the layers before it, in a row
with nearly no output: small, or with a kernel of zeros. The *origin* of a small output is a suspect
before it that makes its inputs small.
"""

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
from keras_initx.tools.diagnose._signal_probe import SignalProbe, list_floats
from keras_initx.tools.diagnose._unreached_layers import change_weight, draw_small

# Standard deviation before the activation below which a signal has vanished.
VANISHING = 1e-3
# Relative tolerance for values that are equal for all examples: matrix products round.
_SAME = 1e-5


class LostProbe(Probe):
    """Finds the layers with nearly zero output that make the inputs of a later kernel equal.

    The kernel then gets the same inputs for all examples. Zeros and small outputs are harmless if
    the inputs of the next kernel still differ between examples, e.g. through the other branch of an
    addition.

    Attributes:
        suspects: Dict from a starved layer to its suspects.
        shrunk: Dict from a layer before which an operation makes the signal nearly zero to the size
            of its inputs.
        origins: Dict from a layer that got nearly zero to the layers before it that may be the
            reason. There are none if an operation is the reason.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.suspects: dict[keras.Layer, set[keras.Layer]] = {}
        self.origins: dict[keras.Layer, set[keras.Layer]] = {}
        self.shrunk: dict[keras.Layer, float] = {}
        self._signals = diagnosis.probe(SignalProbe).signals
        self._with_zeros: set[keras.Layer] = set()
        for layer in diagnosis.watch.layers:
            if any(is_zero(layer, weight) for weight in multiplying_weights(layer)):
                self._with_zeros.add(layer)
        sizes = [spread(to_array(tensor)) for tensor in list_floats(diagnosis.x)]
        self._has_small_inputs = bool(sizes) and max(sizes) < VANISHING
        # The most recent consecutive layers whose output was nearly zero.
        self._row: list[keras.Layer] = []
        self._row_has_ended = False

    def before(self, call: Call) -> None:
        layer = call.operation
        if not self._row or layer not in self.diagnosis.watch.with_kernel:
            return
        # The inputs of an embedding are row indices.
        if call.kernel_input is None or isinstance(layer, keras.layers.Embedding):
            return
        values = to_array(call.kernel_input)
        is_weak = spread(values) < VANISHING
        for suspect in self._row:
            may_be_cause = not _differ(values) if suspect in self._with_zeros else is_weak
            if may_be_cause:
                self.suspects.setdefault(layer, set()).add(suspect)

    def after(self, call: Call) -> None:
        if not call.is_seen:
            return
        layer = call.operation
        is_small = layer in self._with_zeros or self._signals[layer].last_std < VANISHING
        self.origins.pop(layer, None)
        is_new = is_small and layer not in self._row
        small_inputs = self._read_small_inputs(call) if is_new else None
        before = set() if self._row_has_ended else set(self._row)
        if small_inputs is not None and not _differ(small_inputs):
            self.origins[layer] = before - self.origins.keys()
            is_small = bool(before)
        elif is_new and self._is_table(call):
            self.origins[layer] = set()
            is_small = False
        elif small_inputs is not None and not before:
            self.shrunk[layer] = compute_rms(small_inputs)
        if is_small:
            if self._row_has_ended:
                self._row = []
            self._row.append(layer)
        self._row_has_ended = not is_small

    def _read_small_inputs(self, call: Call) -> Array | None:
        """Return the inputs of a layer if they are as small as its outputs, else `None`."""
        tensor = first_float(call.arguments)
        if tensor is None or call.operation in self._with_zeros or self._has_small_inputs:
            return None
        values = to_array(tensor)
        return values if abs(values).max(initial=0) < VANISHING else None

    def _is_table(self, call: Call) -> bool:
        """Return whether a layer gives small numbers that are the same for all examples.

        Such numbers do not come from inputs: a kernel makes small numbers that differ.
        """
        is_zero = call.operation in self._with_zeros or not call.values.any()
        return not is_zero and _are_same(call.values)


def _differ(values: Array) -> bool:
    # Whether examples differ by more than rounding.
    return bool(spread(values) > _SAME * abs(values).max(initial=0))


def _are_same(values: Array) -> bool:
    # To the bit.
    return bool((values == values[:1]).all())


class LostSignals(NamedTuple):
    """The layers that lose signals.

    Attributes:
        causes: The layers that make the inputs of a kernel nearly the same for all examples.
        starved: The layers with these kernels.
        began: The layers that got nearly zero, although no signal was lost before them.
    """

    causes: set[keras.Layer]
    starved: set[keras.Layer]
    began: set[keras.Layer]


@fact
def lost_signals(diagnosis: Diagnosis) -> LostSignals:
    """The layers that lose signals.

    Layers of zeros are only a cause if their outputs would differ between examples with other
    numbers. For example, a table that all examples get is the same for all, whatever it contains.
    """
    probe = diagnosis.probe(LostProbe)
    suspects: set[keras.Layer] = set().union(*probe.suspects.values())
    zeros = {}
    for layer in suspects.union(*probe.origins.values()):
        weights = [weight for weight in multiplying_weights(layer) if is_zero(layer, weight)]
        if weights:
            zeros[layer] = weights
    harmless = zeros.keys() - _select_differing(zeros, diagnosis)
    began = {layer for layer, before in probe.origins.items() if before <= harmless}
    causes = suspects - harmless - began
    starved = {layer for layer, of_layer in probe.suspects.items() if of_layer & causes}
    return LostSignals(causes, starved, began)


def _select_differing(
    zeros: dict[keras.Layer, list[keras.Variable]], diagnosis: Diagnosis
) -> set[keras.Layer]:
    """Return the layers of zeros whose outputs would differ between examples with other numbers."""
    if not zeros:
        return set()
    recorder = _DifferenceRecorder(zeros)
    with diagnosis.changed(), contextlib.ExitStack() as stack:
        for weights in zeros.values():
            for weight in weights:
                stack.enter_context(change_weight(weight, draw_small))
        Watch(diagnosis.inventory).observe(diagnosis.x, recorder, training=True)
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
