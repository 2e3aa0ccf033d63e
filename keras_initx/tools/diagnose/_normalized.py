"""Normalizations that take a scale away, and the layers that get their inputs from one.

A frozen batch normalization, or one that is called with `training=False`, divides by its moving
averages: it is a linear layer. The name of a user's class does not show its effect. So each
normalization is called once more, with half the inputs, to see whether its outputs change.
"""

from typing import Any

import keras

from keras_initx.backends._current import backend
from keras_initx.backends._moments import compute_rms, spread
from keras_initx.inspection._batch import first_float, to_array
from keras_initx.inspection._kernels import normalizes
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe

# Relative change of outputs for half the inputs, above which a layer keeps the scale: 0.5 for a
# linear layer.
_CHANGE = 0.25
# Largest change by an epsilon, relative to the deviation of all outputs.
_EPSILON_CHANGE = 0.01


class NormalizedProbe(Probe):
    """Finds the normalizations that remove a scale, and the layers that get their outputs.

    Attributes:
        normalizing: The normalizations, without those that were linear in a call.
        layers: The layers that get an output of a normalization.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.normalizing: set[keras.Operation] = set()
        self.layers: set[keras.Layer] = set()
        self._linear: set[keras.Operation] = set()

    def before(self, call: Call) -> None:
        inputs = first_float(call.arguments)
        producer = None if inputs is None else self.diagnosis.watch.graph.producer(inputs)
        if producer in self.normalizing and call.operation in self.diagnosis.watch.layers:
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
        # Whether half the inputs give other outputs: false for NaN.
        leaves = keras.tree.flatten((call.args, call.kwargs))
        indices = [index for index, leaf in enumerate(leaves) if first_float(leaf) is not None]
        if not indices:
            return False
        leaves[indices[0]] = leaves[indices[0]] / 2
        halved: Any = keras.tree.pack_sequence_as((call.args, call.kwargs), leaves)
        args, kwargs = halved
        # Neither averages nor random numbers of this call are part of the pass.
        with self.diagnosis.watch.paused(), backend.preserve_state([call.operation]):
            outputs = first_float(call.function(*args, **kwargs))
        if outputs is None or tuple(outputs.shape) != call.values.shape:
            return False
        change = compute_rms(to_array(outputs) - call.values)
        # If examples are similar, an epsilon changes more than they differ.
        least = _EPSILON_CHANGE * float(call.values.std())
        return bool(change > max(_CHANGE * spread(call.values), least))


def removes_scale(operation: keras.Operation, diagnosis: Diagnosis) -> bool:
    """Return whether an operation is a normalization that removes the scale of its inputs."""
    return operation in diagnosis.probe(NormalizedProbe).normalizing


def find_following_normalization(
    layer: keras.Operation, diagnosis: Diagnosis
) -> keras.Operation | None:
    """Return the normalization that gets the outputs of `layer`, or `None`.

    It is `None` if anything else or nothing gets an output, and if the normalization does not
    remove the scale.
    """
    first = None
    for consumers in diagnosis.watch.graph.consumers(layer):
        if not consumers or not all(removes_scale(consumer, diagnosis) for consumer in consumers):
            return None
        if first is None:
            first = consumers[0]
    return first
