"""One forward pass during which each layer's output is looked at, and one backward pass."""

import contextlib
from collections.abc import Callable

import keras
import numpy as np

from keras_initx.backends import backend
from keras_initx.diagnostics._layers import parts_of
from keras_initx.diagnostics._report import LayerReport
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._verdicts import Thresholds
from keras_initx.diagnostics._watch import Watch


def measure(
    model: keras.Model,
    x,
    y=None,
    *,
    loss: Callable | None = None,
    limits: Thresholds,
    progress: Callable | None = None,
) -> tuple[list[LayerReport], Signal | None]:
    """Measure what a batch does in `model`, which is left as it was.

    Args:
        model: A model that is built.
        x: Its inputs, arrays.
        y: The targets, or `None`: no gradients.
        loss: Function of targets and outputs, or `None` for the loss that the model is compiled with.
        limits: Where outputs are saturated, and signals vanish.
        progress: Function that is called with the name of each layer that has been measured, or `None`.

    Returns:
        A list with a `LayerReport` for each layer that has weights or an activation, in the order in which
        they give their outputs, and the `Signal` of the inputs.
    """
    layers = [model, *parts_of(model)]
    watch = Watch(model, limits, progress)
    with _loss_as_it_was(model):
        # The pass is that of a training step.
        with watch.watching(), backend.preserve_state(layers):
            outputs = model(x, training=True)
            watch.end(outputs)
            if y is not None:
                # The compiled loss makes what it needs at its first call, and cannot while gradients are traced.
                _loss(model, loss, x, y, outputs)
            del outputs
        slopes = _gradients(model, layers, x, y, loss) if y is not None else {}
    return watch.reports(slopes), _input_signal(x)


@contextlib.contextmanager
def _loss_as_it_was(model):
    """Undo what the compiled loss makes at its first call: with it made, `fit` would draw other random numbers."""
    loss = getattr(model, "_compile_loss", None)  # not public
    if loss is None:
        yield
        return
    attributes, metrics = dict(vars(loss)), len(loss.metrics)
    try:
        yield
    finally:
        vars(loss).update(attributes)
        del loss.metrics[metrics:]


def _loss(model, loss, x, y, outputs):
    if loss is not None:
        return loss(y, outputs)
    return model.compute_loss(x=x, y=y, y_pred=outputs)


def _gradients(model, layers, x, y, loss):
    """Return the gradient of each trainable weight, by its identity."""
    variables = model.trainable_variables

    def value(x, y):
        return _loss(model, loss, x, y, model(x, training=True))

    found = backend.gradients(value, variables, layers, x, y)
    return {id(variable): gradient for variable, gradient in zip(variables, found, strict=True)}


def _input_signal(x):
    """Return the statistics of those inputs that are floats, `None` if there are none."""
    floats = [array for array in map(np.asarray, keras.tree.flatten(x)) if array.dtype.kind == "f"]
    if not floats:
        return None
    signal = Signal()
    for array in floats:
        signal.add(array)
    return signal
