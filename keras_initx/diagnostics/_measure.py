"""Run a forward pass that records the output of each layer, and a backward pass."""

import contextlib
from collections.abc import Callable, Iterator

import keras

from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._layer_reports import layer_reports
from keras_initx.diagnostics._layers import parts_of
from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics._recorder import Recorder
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._thresholds import Thresholds
from keras_initx.diagnostics._types import Arrays, Progress
from keras_initx.diagnostics._values import array_of, tensors_in

# Function of targets and outputs; `None` means the compiled loss.
_LossFunction = Callable[[Tensor, Tensor], Tensor] | None
# Attribute of a model that holds its compiled gradient function for reuse.
_KEPT = "_keras_initx_derivative"


def measure(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    loss: _LossFunction = None,
    thresholds: Thresholds,
    progress: Progress | None = None,
) -> Measurements:
    """Run a batch through `model` and measure each layer. The model is left unchanged.

    Args:
        model: A built model.
        x: Its inputs, as tensors.
        y: The targets, or `None` to skip gradients.
        loss: Function of targets and outputs, or `None` for the compiled loss.
        thresholds: Thresholds of saturation and vanishing signals.
        progress: Function that is called with the name of each layer after it is measured, or
            `None`.
    """
    layers = [model, *parts_of(model)]
    recorder = Recorder(model, thresholds, progress)
    with _preserved_loss(model):
        # The pass runs in training mode.
        with recorder.recording(), backend.preserve_state(layers):
            outputs = model(x, training=True)
            recorder.record_model_outputs(outputs)
            if y is not None:
                # The compiled loss builds itself at its first call, which is not possible while gradients are traced.
                _loss_value(model, loss, x, y, outputs)
            del outputs
        gradients = _gradients(model, layers, x, y, loss) if y is not None else {}
    return Measurements(layer_reports(recorder, gradients), _input_signal(x), thresholds)


@contextlib.contextmanager
def _preserved_loss(model: keras.Model) -> Iterator[None]:
    """Undo the building of the compiled loss, because it would change the random numbers that `fit` draws."""
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


def _loss_value(model: keras.Model, loss: _LossFunction, x: Arrays, y: Arrays, outputs: Tensor) -> Tensor:
    """Return the training objective: the loss plus the terms of regularizers and `add_loss`."""
    if loss is not None:
        return sum(map(keras.ops.sum, model.losses), loss(y, outputs))
    return model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=None)


def keep_derivative(model: keras.Model) -> None:
    """Reuse one compiled gradient function for all measurements of `model`.

    Args:
        model: A compiled model. From now on only the values of its variables may change.
    """
    # Bypasses Keras' attribute tracking.
    vars(model)[_KEPT] = _derivative(model, [model, *parts_of(model)], None)


def _derivative(
    model: keras.Model, layers: list[keras.layers.Layer], loss: _LossFunction
) -> Callable[[Arrays, Arrays], list[Array]]:
    def value(x: Arrays, y: Arrays) -> Tensor:
        return _loss_value(model, loss, x, y, model(x, training=True))

    return backend.derivative(value, model.trainable_variables, layers)


def _gradients(
    model: keras.Model, layers: list[keras.layers.Layer], x: Arrays, y: Arrays, loss: _LossFunction
) -> dict[int, Array]:
    """Return the gradient of each trainable weight, by its id."""
    kept = vars(model).get(_KEPT) if loss is None else None
    found = (kept or _derivative(model, layers, loss))(x, y)
    return {id(variable): gradient for variable, gradient in zip(model.trainable_variables, found, strict=True)}


def _input_signal(x: Arrays) -> Signal | None:
    """Return the statistics of the floating-point inputs, or `None` if there are none."""
    floats = [tensor for tensor in tensors_in(x) if "float" in keras.backend.standardize_dtype(tensor.dtype)]
    if not floats:
        return None
    signal = Signal()
    for tensor in floats:
        signal.add(array_of(tensor))
    return signal
