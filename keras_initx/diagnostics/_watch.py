"""What is seen of the layers of a model while it is called."""

import contextlib
import functools
import math
from collections.abc import Callable

import keras

from keras_initx.diagnostics._flow import Flow, hands_on
from keras_initx.diagnostics._layers import (
    LIMITS,
    activation_name,
    activation_of,
    call_name,
    is_activation,
    named_layers,
    own_weights,
    parts_of,
    unit_axis,
    weights_on_inputs,
)
from keras_initx.diagnostics._report import LayerReport
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._suspects import Suspects
from keras_initx.diagnostics._values import array_of, certain, first_float, is_softmax, spread, tensors_in
from keras_initx.diagnostics._verdicts import Thresholds
from keras_initx.diagnostics._weights import forget_bias_overwritten, gate_bias, is_kernel, is_zero, weight_reports


class Watch:
    """The layers of a model, and what has been seen of each.

    Args:
        model: A model that is built.
        limits: Where outputs are saturated, and signals vanish.
        progress: Function that is called with the name of each layer that has been measured, or `None`.
    """

    def __init__(self, model: keras.Model, limits: Thresholds, progress: Callable | None = None):
        self._names = named_layers(model)
        self._own = {layer: own_weights(layer) for layer in self._names}
        self._limits = limits
        self._progress = progress
        # In the order of the outputs: from a layer to the signals before and after its activation, and a shape.
        self._seen: dict = {}
        # For each call that is under way, whether a layer inside it has been seen.
        self._inside = [False]
        self._flow = Flow()
        # How many calls of layers are under way that may do with tensors what cannot be seen.
        self._hidden = 0
        self._activated = {layer for layer in self._names if activation_name(layer)}
        on_inputs = {layer: weights_on_inputs(layer) for layer in self._names}
        self._with_kernel = {layer for layer, weights in on_inputs.items() if any(map(is_kernel, weights))}
        # What comes from outside, for the layers that get it first.
        self._first_inputs: dict = {}
        self._has_begun = False
        zero = {layer for layer, weights in on_inputs.items() if any(is_zero(layer, one) for one in weights)}
        self._suspects = Suspects(zero, limits.vanishing)
        # For the layers that give the outputs of the model, the share of examples that they are certain of.
        self._certain: dict = {}
        self._logits_spread: dict = {}

    @contextlib.contextmanager
    def watching(self):
        """Look at all outputs while the context is open."""
        with contextlib.ExitStack() as stack:
            for layer in self._names:
                name = call_name(layer)
                stack.enter_context(_replaced(layer, name, self._watched(layer, getattr(layer, name))))
                activation = activation_of(layer)
                if activation is not None:
                    stack.enter_context(_replaced(layer, "activation", self._watched_activation(layer, activation)))
            # A functional model has operations too, as additions, that are no layers.
            operations = [part for layer in self._names for part in getattr(layer, "operations", ())]
            for operation in dict.fromkeys(operations):
                if operation not in self._names:
                    stack.enter_context(_replaced(operation, "call", self._followed(operation, operation.call)))
            yield

    def _followed(self, operation, call):
        is_hidden = not hands_on(operation)
        is_origin = bool(getattr(operation, "weights", ())) or operation in self._activated

        @functools.wraps(call)
        def followed(*args, **kwargs):
            inputs = tensors_in((args, kwargs))
            if not self._hidden:
                self._flow.begin(inputs)
            self._flow.taken(operation, inputs)
            if operation in self._with_kernel:
                self._look_at_inputs(operation, first_float(args))
            self._hidden += is_hidden
            try:
                outputs = call(*args, **kwargs)
            finally:
                self._hidden -= is_hidden
            self._flow.given(operation, inputs, tensors_in(outputs), is_origin=is_origin)
            return outputs

        return followed

    def _watched(self, layer, call):
        followed = self._followed(layer, call)

        @functools.wraps(call)
        def watched(*args, **kwargs):
            self._inside.append(False)
            try:
                outputs = followed(*args, **kwargs)
            finally:
                inside = self._inside.pop()
            output = first_float(outputs)
            if output is not None and self._is_reported(layer, inside):
                if is_activation(layer) and args:
                    self._add(layer, "before", args[0])
                self._add(layer, "after", output)
                self._suspects.note_output(layer, self._seen[layer].get("before") or self._seen[layer]["after"])
                inside = True
                if self._progress:
                    self._progress(self._names[layer])
            self._inside[-1] |= inside
            return outputs

        return watched

    def _watched_activation(self, layer, activation):
        @functools.wraps(activation)
        def watched(values, *args, **kwargs):
            if first_float(values) is not None:
                self._add(layer, "before", values)
            return activation(values, *args, **kwargs)

        return watched

    def _look_at_inputs(self, layer, tensor):
        """Keep what the first kernels get, and whether the examples still differ behind a layer that gave nothing."""
        is_first, self._has_begun = not self._has_begun, True
        if tensor is None or isinstance(layer, keras.layers.Embedding):  # whose inputs are numbers of rows
            return
        if is_first or self._flow.is_input(tensor):
            self._first_inputs.setdefault(layer, Signal()).add(array_of(tensor))
        if self._suspects:
            self._suspects.note_input(layer, array_of(tensor))

    def _is_reported(self, layer, inside):
        """Tell whether `layer` has weights or an activation of its own, or layers whose outputs cannot be seen."""
        return bool(self._own[layer] or activation_name(layer) or (layer.weights and not inside))

    def _add(self, layer, place, tensor):
        signals = self._seen.setdefault(layer, {})
        activation = activation_name(layer)
        if place not in signals:
            limits = LIMITS.get(activation) if place == "after" else None
            signals[place] = Signal(limits, self._limits.saturation_margin)
        values = array_of(tensor)
        signals[place].add(values, unit_axis(layer, values.ndim))
        signals["shape"] = values.shape
        if place == "before" and activation in ("sigmoid", "softmax") and values.ndim:
            self._logits_spread[layer] = spread(values)

    def end(self, outputs) -> None:
        """Look at the outputs of the model."""
        seen = [layer for layer, signals in self._seen.items() if "after" in signals]
        for tensor in tensors_in(outputs) if seen else []:
            layer = self._flow.origin(tensor)
            layer = layer if layer in seen else seen[-1]  # Code of the user's own has made something of it.
            self._certain[layer] = self._certainty(layer, tensor)

    def _certainty(self, layer, tensor):
        """Return for how many of the examples an output is next to 0 or 1, `None` if it is no probability."""
        margin, values = self._limits.saturation_margin, array_of(tensor)
        if not values.size or not (is_softmax(values) or activation_name(layer) == "sigmoid"):
            return None
        # A bias that gives the frequencies of rare classes makes outputs certain too, and of all examples alike.
        if self._logits_spread.get(layer, math.inf) < math.log(1 / margin - 1) / 2:
            return 0.0
        return certain(values, margin)

    def reports(self, slopes: dict) -> list[LayerReport]:
        """Return a `LayerReport` for each layer that has been seen or has weights that no other has."""
        order = [layer for layer, signals in self._seen.items() if "after" in signals]
        owners = {id(weight): layer for layer in reversed(self._names) for weight in self._own[layer]}
        for layer in order:  # The weights of what could not be seen belong to the layer around it.
            if not any(part in self._seen for part in parts_of(layer)):
                owners.update({id(weight): layer for weight in layer.weights})
        # Another layer may have used the weights, and the activation, of one that was not called itself.
        order += [layer for layer in self._names if layer not in order and layer in owners.values()]
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
            first_inputs=self._first_inputs.get(layer),
            normalized_by=self._names.get(self._flow.normalization_behind(layer)),
            loses_signal=layer in self._suspects.losing,
            is_starved=layer in self._suspects.starved,
            is_output=layer in self._certain,
            certain=self._certain.get(layer),
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
