"""The one function that measures and judges."""

import keras

from keras_initx.diagnostics._measure import measure
from keras_initx.diagnostics._report import Report
from keras_initx.diagnostics._verdicts import Thresholds, judge


def diagnose(model, x, y=None, *, loss=None, batch_size=1024, progress=None, **thresholds):
    """Tell what the weights of `model` do to a batch."""
    limits = Thresholds(**thresholds)
    x, y = (part if part is None else _first(part, batch_size) for part in (x, y))
    if not all(layer.built for layer in model._flatten_layers()):
        model(x)
    layers, inputs = measure(
        model, x, y, loss=_loss(model, y, loss), margin=limits.saturation_margin, progress=progress
    )
    return Report(layers, inputs, judge(layers, inputs, limits))


def _first(arrays, count):
    return keras.tree.map_structure(lambda array: array[:count], arrays)


def _loss(model, y, loss):
    """Return a function of targets and outputs, or `None` if the model has been compiled with one."""
    if y is None or (loss is None and getattr(model, "loss", None) is not None):
        return None
    if loss is None:
        raise ValueError(
            "`loss` is needed with `y`, unless the model is compiled with one: a name as in `compile`, or a function. "
            "Received: loss=None"
        )
    function = keras.losses.get(loss)
    # A name gives a function of each example, an object the mean.
    return lambda targets, outputs: keras.ops.mean(function(targets, outputs))
