"""Ask a diagnosis for what its rules read, which no report shows."""

import keras
import numpy as np

from keras_initx.inspection._batch import first_examples, make_batch
from keras_initx.inspection._build import run_with_built_layers
from keras_initx.inspection._inventory import Inventory
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import measured_layers
from keras_initx.tools.diagnose.verdicts import PROBES


def asked(fact, model, x, y=None, *, probes=PROBES, **options):
    """Return what a fact, or another function of a `Diagnosis`, gives for a model and a batch, as in `diagnose`."""
    batch = make_batch(model, x, y)
    x, y = (first_examples(data, None) for data in (batch.x, batch.y))

    def run():
        of = Diagnosis(Inventory(model), x, y, **options)
        with of.measured(probes):
            return fact(of)

    return run_with_built_layers(model, x, run)


def seen(model, x, y=None, **options):
    """Return what a diagnosis has seen of each layer, by its name."""
    return {layer.name: layer for layer in asked(measured_layers, model, x, y, **options)}


def alone(layer, shape):
    """Return a model of one layer, and inputs of `shape` for it."""
    model = keras.Sequential([keras.Input(shape), layer])
    return model, np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
