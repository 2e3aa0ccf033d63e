"""Activations that wrap: neighboring inputs get outputs that have nothing to do with each other."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._keras import layers_of
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.backends._moments import size_of
from keras_initx.inspection._batch import array_of, first_float
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, layer_count, rule
from keras_initx.tools.diagnose._seen import SeenLayer
from keras_initx.tools.diagnose._signal_probe import floats_in

# Share by which inputs are changed. Of a sine, that of a phase of 70 radians is 0.7.
NEAR = 0.01
# The change of outputs relative to that of unrelated ones, above which neighbors are told apart by
# noise alone.
UNRELATED = 0.5
# The share of the outputs that rise and then fall, or the reverse, where inputs change twice by as
# much, above which they have no order. Of a sine of phases far beyond a turn it is half.
TURNING = 0.25
# Deviation relative to the largest value that may be rounding, and the same in 16 bits.
_ROUNDING, _SHORT_ROUNDING = 1e-5, 1 / 16
# Those that Keras has do not wrap.
_OF_KERAS = {name.replace("_", "") for name in dir(keras.activations)}


class NeighborProbe(Probe):
    """Measures how much outputs change where inputs change a little.

    It asks layers of one's own, those with an activation that Keras does not have, and operations
    of single values.

    Attributes:
        changes: Dict from a layer, or the layer before an operation, to the change of outputs
            relative to that of unrelated ones.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.changes: dict[keras.Operation, float] = {}

    def after(self, call: Call) -> None:
        if call.output is None or not self._may_wrap(call):
            return
        if not np.isfinite(call.values).all():
            return
        deviation = float(call.values.std(dtype="float64"))
        rounding = _SHORT_ROUNDING if "16" in str(call.output.dtype) else _ROUNDING
        if not deviation > rounding * abs(call.values).max(initial=0):
            return

        outputs = []
        for step in range(3):
            again = self._again(call, 1 + step * NEAR)
            if again is None or again.shape != call.values.shape:
                return
            outputs.append(again.astype("float64"))
        same, near, further = outputs
        # What differs from call to call is no function of the inputs.
        if size_of(same - call.values) > rounding * size_of(call.values):
            return
        # Of a steep power, or an exponential, sizes keep their order: what rises goes on to rise.
        turns = (near - same) * (further - near) < 0
        if np.mean(turns) < TURNING:
            return
        layer = call.operation
        if not call.is_seen:
            layer = self.of.watch.graph.origin(call.inputs[0]) or layer
        self.changes[layer] = size_of(near - same) / (np.sqrt(2) * deviation)

    def _again(self, call: Call, factor: float) -> Array | None:
        """Return the outputs of another call, whose inputs are times a factor, or `None`."""

        def moved(leaf: Any) -> Any:
            return leaf * factor if floats_in(leaf) else leaf

        args, kwargs = keras.tree.map_structure(moved, (call.args, call.kwargs))
        kept: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if isinstance(call.operation, keras.Layer):
            # Neither averages nor random numbers of this call are part of the pass.
            kept = backend.preserve_state(layers_of(call.operation))
        with self.of.watch.paused(), kept:
            outputs = first_float(call.function(*args, **kwargs))
        return None if outputs is None else array_of(outputs)

    def _may_wrap(self, call: Call) -> bool:
        """Return whether what a call computes is none of Keras' layers with its activations."""
        operation, watch = call.operation, self.of.watch
        if operation not in watch.layers:
            name = type(operation).__name__.lower()
            is_single = len(call.inputs) == 1 and call.inputs[0].shape == call.values.shape
            return is_single and first_float(call.inputs) is not None and name not in _OF_KERAS
        activation = watch.activations[operation]
        if call.is_seen and activation is not None and not hasattr(keras.activations, activation):
            return True
        is_own = not type(operation).__module__.startswith("keras.")
        is_own |= isinstance(operation, keras.layers.Lambda)
        is_alone = call.is_seen or call.first_inside is None
        return is_own and is_alone and not isinstance(operation, keras.Model)


@rule("wrapping activation", probes=[NeighborProbe])
def wrapping_activation(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report activations that give neighboring inputs unrelated outputs.

    Finds:
        a layer of one's own, or with an activation that Keras does not have, or an operation of
        single values, whose outputs change by more than {UNRELATED:g} times as much as unrelated
        ones differ, where its inputs change by {NEAR:.0%}, and more than {TURNING:.0%} of them
        turn back where these change further

    Why:
        neighboring inputs get unrelated outputs: a sine of numbers of deviation 1000 is noise,
        which no layer behind it makes smooth. SIREN multiplies by 30 once in each layer (Sitzmann
        and others, 2020)

    Level:
        note

    Remedy:
        a smaller factor before the activation
    """
    changes = of.probe(NeighborProbe).changes
    hit = [layer for layer in layers if changes.get(layer.layer, 0.0) > UNRELATED]
    if not hit:
        return
    first = hit[0]
    evidence = (
        f"where the inputs of {first.title} change by {NEAR:.0%}, its outputs change by "
        f"{changes[first.layer]:.0%} of what unrelated ones differ by{layer_count(hit)}"
    )
    remedy = Remedy(f"a smaller factor in {first.title}: inputs of the sine of size 1 to 30")
    yield Finding(hit, evidence, remedy, "note")
