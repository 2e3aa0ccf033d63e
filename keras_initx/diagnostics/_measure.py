"""One forward pass during which each layer's output is looked at, and one backward pass."""

import contextlib
import functools

import keras
import numpy as np

from keras_initx import _backend
from keras_initx.diagnostics._layers import (
    LIMITS,
    activation_name,
    activation_of,
    is_activation,
    named_layers,
    own_weights,
    parts_of,
    unit_axis,
)
from keras_initx.diagnostics._report import LayerReport
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._weights import forget_bias_overwritten, gate_bias, weight_reports


def measure(model, x, y=None, *, loss=None, margin=0.005, progress=None):
    """Measure what a batch does in `model`, which is left as it was.

    Args:
        model: A model that is built.
        x: Its inputs, arrays.
        y: The targets, or `None`: no gradients.
        loss: Function of targets and outputs, or `None` for the loss that the model is compiled with.
        margin: See `Signal`.
        progress: Function that is called with the name of each layer that has been measured, or `None`.

    Returns:
        A list with a `LayerReport` for each layer that has weights or an activation, in the order in which
        they give their outputs, and the `Signal` of the inputs.
    """
    watch = _Watch(model, margin, progress)
    with _loss_as_it_was(model):
        # The pass is that of a training step.
        with watch.watching(), _backend.leaving_no_trace():
            outputs = model(x, training=True)
            if y is not None:
                # The compiled loss makes what it needs at its first call, and cannot while gradients are traced.
                _loss(model, loss, x, y, outputs)
            del outputs
        slopes = _gradients(model, x, y, loss) if y is not None else {}
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


def _gradients(model, x, y, loss):
    """Return the gradient of each trainable weight, by its identity."""
    variables = model.trainable_variables
    found = _backend.gradients(lambda x, y: _loss(model, loss, x, y, model(x, training=True)), variables, x, y)
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


class _Watch:
    """The layers of a model, and what has been seen of each."""

    def __init__(self, model, margin, progress):
        self._names = named_layers(model)
        self._own = {layer: own_weights(layer) for layer in self._names}
        self._margin = margin
        self._progress = progress
        # In the order of the outputs: from a layer to the signals before and after its activation, and a shape.
        self._seen: dict = {}
        # For each call that is under way, whether a layer inside it has been seen.
        self._inside = [False]

    @contextlib.contextmanager
    def watching(self):
        """Look at all outputs while the context is open."""
        with contextlib.ExitStack() as stack:
            for layer in self._names:
                stack.enter_context(_replaced(layer, "call", self._watched(layer, layer.call)))
                activation = activation_of(layer)
                if activation is not None:
                    stack.enter_context(_replaced(layer, "activation", self._watched_activation(layer, activation)))
            yield

    def _watched(self, layer, call):
        @functools.wraps(call)
        def watched(*args, **kwargs):
            self._inside.append(False)
            try:
                outputs = call(*args, **kwargs)
            finally:
                inside = self._inside.pop()
            output = _first_float(outputs)
            if output is not None and self._is_reported(layer, inside):
                if is_activation(layer) and args:
                    self._add(layer, "before", args[0])
                self._add(layer, "after", output)
                inside = True
                if self._progress:
                    self._progress(self._names[layer])
            self._inside[-1] |= inside
            return outputs

        return watched

    def _watched_activation(self, layer, activation):
        @functools.wraps(activation)
        def watched(values, *args, **kwargs):
            if _first_float(values) is not None:
                self._add(layer, "before", values)
            return activation(values, *args, **kwargs)

        return watched

    def _is_reported(self, layer, inside):
        """Tell whether `layer` has weights or an activation of its own, or layers whose outputs cannot be seen."""
        return bool(self._own[layer] or activation_name(layer) or (layer.weights and not inside))

    def _add(self, layer, place, tensor):
        signals = self._seen.setdefault(layer, {})
        if place not in signals:
            limits = LIMITS.get(activation_name(layer)) if place == "after" else None
            signals[place] = Signal(limits, self._margin)
        values = np.asarray(keras.ops.convert_to_numpy(tensor))
        if values.dtype.kind != "f" or values.dtype.itemsize < 4:
            values = values.astype("float32")  # bfloat16 too, which NumPy takes for no float
        signals[place].add(values, unit_axis(layer, values.ndim))
        signals["shape"] = values.shape

    def reports(self, slopes):
        """Return a `LayerReport` for each layer that has been seen or has weights that no other has."""
        order = [layer for layer, signals in self._seen.items() if "after" in signals]
        owners = {id(weight): layer for layer in reversed(self._names) for weight in self._own[layer]}
        for layer in order:  # The weights of what could not be seen belong to the layer around it.
            if not any(part in self._seen for part in parts_of(layer)):
                owners.update({id(weight): layer for weight in layer.weights})
        order += [layer for layer in self._names if layer not in self._seen and layer in owners.values()]
        weights: dict = {layer: [] for layer in order}
        for layer in self._names:
            for weight in layer.weights:
                owner = owners.pop(id(weight), None)
                if owner is not None:
                    weights[owner].append(weight)
        return [self._report(layer, weights[layer], slopes) for layer in order]

    def _report(self, layer, weights, slopes):
        signals = self._seen.get(layer, {})
        return LayerReport(
            name=self._names[layer],
            kind=type(layer).__name__,
            activation=activation_name(layer),
            shape=signals.get("shape"),
            before=signals.get("before"),
            after=signals.get("after"),
            weights=weight_reports(layer, weights, slopes),
            gate_bias=gate_bias(layer),
            forget_bias_overwritten=forget_bias_overwritten(layer),
        )


@contextlib.contextmanager
def _replaced(layer, name, value):
    """Put `value` in the place of an attribute, past Keras, which would keep a record of it."""
    attributes = vars(layer)
    missing = object()
    before = attributes.get(name, missing)
    attributes[name] = value
    try:
        yield
    finally:
        if before is missing:
            del attributes[name]
        else:
            attributes[name] = before


def _first_float(outputs):
    """Return the first tensor of `outputs` if its values can be seen and are floats, otherwise `None`."""
    first = next(iter(keras.tree.flatten(outputs)), None)
    if first is None or not keras.ops.is_tensor(first) or not _backend.has_values(first):
        return None
    return first if "float" in keras.backend.standardize_dtype(first.dtype) else None
