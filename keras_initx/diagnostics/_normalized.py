"""Layers that get their inputs from a normalization, so that another one before them is none."""

import keras

from keras_initx.diagnostics._diagnosis import Diagnosis, Probe, fact
from keras_initx.structure._batch import first_float
from keras_initx.structure._kernels import normalizes
from keras_initx.structure._watch import Call


class NormalizedProbe(Probe):
    """Finds the layers whose inputs come out of a normalization.

    Attributes:
        layers: The layers.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.layers: set[keras.Layer] = set()

    def before(self, call: Call) -> None:
        inputs = first_float(call.given)
        producer = None if inputs is None else self.of.watch.graph.producer(inputs)
        if producer is not None and normalizes(producer) and call.operation in self.of.watch.layers:
            self.layers.add(call.operation)


@fact
def normalized(of: Diagnosis) -> set[str]:
    """The names of the layers whose inputs come out of a normalization."""
    return {of.watch.layers[layer] for layer in of.probe(NormalizedProbe).layers}
