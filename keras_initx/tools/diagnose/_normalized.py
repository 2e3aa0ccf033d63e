"""Normalizations that take a scale away, and the layers that get their inputs from one.

A frozen batch normalization, or one that is called with `training=False`, divides by averages that
it keeps: it is a linear layer. What a class of a user does is not known by its name. So each is
called once more, with smaller inputs.
"""

from typing import Any

import keras

from keras_initx.backends._current import backend
from keras_initx.backends._moments import compute_rms, spread
from keras_initx.inspection._batch import first_float, to_array
from keras_initx.inspection._kernels import normalizes
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe

# Relative change of outputs for half the inputs, above which their scale counts: of a linear layer
# it is 0.5.
_CHANGE = 0.25
# A change that an epsilon makes, relative to the deviation of all outputs.
_OF_EPSILON = 0.01


class NormalizedProbe(Probe):
    """Finds the normalizations that take a scale away, and the layers whose inputs come out of one.

    Attributes:
        normalizing: The normalizations, without those that were linear in a call.
        layers: The layers with such inputs.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.normalizing: set[keras.Operation] = set()
        self.layers: set[keras.Layer] = set()
        self._linear: set[keras.Operation] = set()

    def before(self, call: Call) -> None:
        inputs = first_float(call.arguments)
        producer = None if inputs is None else self.of.watch.graph.producer(inputs)
        if producer in self.normalizing and call.operation in self.of.watch.layers:
            self.layers.add(call.operation)

    def after(self, call: Call) -> None:
        operation = call.operation
        if not normalizes(operation) or call.output is None or operation in self._linear:
            return
        if self._keeps_scale(call):
            self._linear.add(operation)
            self.normalizing.discard(operation)
        else:
            self.normalizing.add(operation)

    def _keeps_scale(self, call: Call) -> bool:
        """Return whether half the inputs give other outputs. It is false for NaN."""
        places = []
        leaves = keras.tree.flatten((call.args, call.kwargs))
        for place, leaf in enumerate(leaves):
            if first_float(leaf) is not None:
                places.append(place)
        if not places:
            return False
        leaves[places[0]] = leaves[places[0]] / 2
        given: Any = keras.tree.pack_sequence_as((call.args, call.kwargs), leaves)
        args, kwargs = given
        # Neither averages nor random numbers of this call are part of the pass.
        with self.of.watch.paused(), backend.preserve_state([call.operation]):
            outputs = first_float(call.function(*args, **kwargs))
        if outputs is None or tuple(outputs.shape) != call.values.shape:
            return False
        change = compute_rms(to_array(outputs) - call.values)
        # Where examples are alike, an epsilon changes more than they differ.
        least = _OF_EPSILON * float(call.values.std())
        return bool(change > max(_CHANGE * spread(call.values), least))


def takes_scale_away(operation: keras.Operation, of: Diagnosis) -> bool:
    """Return whether a layer is a normalization that takes the scale of its inputs away."""
    return operation in of.probe(NormalizedProbe).normalizing


def normalization_after(layer: keras.Operation, of: Diagnosis) -> keras.Operation | None:
    """Return the normalization that the outputs of `layer` are passed to, or `None`.

    It is `None` if an output is passed to anything else, or to nothing, and if the normalization
    does not take the scale away.
    """
    first = None
    for consumers in of.watch.graph.consumers(layer):
        if not consumers or not all(takes_scale_away(one, of) for one in consumers):
            return None
        if first is None:
            first = consumers[0]
    return first
