"""Measure a model: a forward pass that records the output of each layer, and a backward pass."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import keras

from keras_initx._keras import compiled_loss
from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._layers import activation_name, is_bounded, parts_of
from keras_initx.diagnostics._recorder import Record, Recorder
from keras_initx.diagnostics._signal import Signal, array_of, tensors_in
from keras_initx.diagnostics._verdicts import Arrays, Progress, Thresholds
from keras_initx.diagnostics._weights import WeightReport, forget_bias_overwritten, gate_bias, weight_reports


@dataclass(frozen=True, eq=False, repr=False)
class LayerReport:
    """The measurements of one layer.

    Attributes:
        name: Name of the layer, prefixed with the names of the layers around it: `"encoder/dense"`.
        kind: Name of its class.
        activation: Name of its activation, or `None` if it has none.
        shape: Shape of its output.
        before: `Signal` before the activation, or `None` if there is no activation or it is not
            accessible.
        after: `Signal` of the output, or `None` if it is not accessible.
        weights: A `WeightReport` for each weight.
        gate_bias: For an LSTM or a GRU, a pair of `"forget"` or `"update"` and an array with the
            bias of that gate; otherwise `None`.
        forget_bias_overwritten: Whether it is an LSTM that overwrites the forget-gate bias of its
            initializer with ones.
        first_inputs: `Signal` of its inputs if it has a kernel and no layer with weights comes
            before it; otherwise `None`.
        normalized_by: Name of the normalization layer that is the only consumer of its output, or
            `None`.
        loses_signal: Whether its output is nearly zero, so that a later kernel gets the same input
            for all examples.
        is_starved: Whether its kernel gets the same input for all examples because of an earlier
            layer.
        is_output: Whether its output, possibly after layers without weights, is an output of the
            model.
        certain: Fraction of the examples for which its softmax or sigmoid is saturated, if it is a
            model output; otherwise `None`.
    """

    name: str
    kind: str
    activation: str | None = None
    shape: tuple[int, ...] | None = None
    before: Signal | None = None
    after: Signal | None = None
    weights: list[WeightReport] = field(default_factory=list)
    gate_bias: tuple[Literal["forget", "update"], Array] | None = None
    forget_bias_overwritten: bool = False
    first_inputs: Signal | None = None
    normalized_by: str | None = None
    loses_signal: bool = False
    is_starved: bool = False
    is_output: bool = False
    certain: float | None = None

    @property
    def signal(self) -> Signal | None:
        """`Signal` of the output before the activation if there is one, otherwise of the output."""
        return self.before or self.after

    @property
    def saturated(self) -> float | None:
        """Fraction of the outputs near the limits of the activation, or `None` if it is unbounded."""
        return self.after.saturated if self.after else None

    @property
    def dead(self) -> float | None:
        """Fraction of the units whose output is zero for the whole batch although their input is not.

        `None` if no activation could cause this.
        """
        if not (self.before and self.after) or is_bounded(self.activation):
            return None
        before, after = self.before.unit_is_silent, self.after.unit_is_silent
        if before is None or after is None or before.shape != after.shape or not after.size:
            return None
        return float((after & ~before).mean())

    @property
    def gain(self) -> float | None:
        """Factor by which the first kernel scales its inputs, or `None` without a kernel or for a quantized one."""
        # The kernels of an adapter come after the one that they are added to, which may be quantized.
        kernels = (weight for weight in self.weights if not weight.name.startswith("lora_"))
        return next((weight.gain for weight in kernels if weight.gain is not None), None)

    @property
    def gradient_norm(self) -> float | None:
        """Norm of the gradient of all trainable weights of the layer, or `None` without any."""
        found = [weight.gradient for weight in self.weights if weight.gradient is not None]
        return _norm_of(found) if found else None

    @property
    def gradient_ratio(self) -> float | None:
        """Ratio of that norm to the norm of the same weights, or `None` without any or if they are zero."""
        norm = _norm_of(weight.norm for weight in self.weights if weight.gradient is not None)
        return self.gradient_norm / norm if self.gradient_norm is not None and norm else None

    def __repr__(self) -> str:
        return f"<LayerReport of {self.name}, {self.kind}: output {self.after or 'not seen'}>"


def _norm_of(norms: Iterable[float]) -> float:
    """Return the norm of a vector from the norms of its parts."""
    return float(sum(norm**2 for norm in norms) ** 0.5)


@dataclass(frozen=True, eq=False)
class Measurements:
    """The measurements of a model.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of their outputs.
        inputs: `Signal` of the inputs, or `None` if they are integers.
        thresholds: The thresholds of the rules.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    thresholds: Thresholds


def layer_reports(recorder: Recorder, gradients: Mapping[int, Array]) -> list[LayerReport]:
    """Return a `LayerReport` for each layer that has a record or weights of its own.

    Args:
        recorder: The recorder after the forward pass.
        gradients: Dict from the id of a weight to its gradient.
    """
    weights = _weights_of_layers(recorder)
    return [_report(recorder, layer, own, gradients) for layer, own in weights.items()]


def _weights_of_layers(recorder: Recorder) -> dict[keras.layers.Layer, list[keras.Variable]]:
    """Return the layers to report, in the order of their outputs, with their weights. Each weight has one layer."""
    records = recorder.records
    order = [layer for layer, record in records.items() if record.after]
    owners = {id(weight): layer for layer in reversed(recorder.names) for weight in recorder.own_weights[layer]}
    for layer in order:  # The weights of layers that could not be observed belong to the layer around them.
        if not any(part in records for part in parts_of(layer)):
            owners.update({id(weight): layer for weight in layer.weights})
    # A layer that was not called itself may have been used by another layer.
    order += [layer for layer in recorder.names if layer not in order and layer in owners.values()]
    weights: dict[keras.layers.Layer, list[keras.Variable]] = {layer: [] for layer in order}
    for layer in recorder.names:
        for weight in layer.weights:
            owner = owners.pop(id(weight), None)
            if owner is not None:
                weights[owner].append(weight)
    return weights


def _report(
    recorder: Recorder, layer: keras.layers.Layer, weights: Sequence[keras.Variable], gradients: Mapping[int, Array]
) -> LayerReport:
    record = recorder.records.get(layer, Record())
    return LayerReport(
        name=recorder.names[layer],
        kind=type(layer).__name__,
        activation=activation_name(layer),
        shape=record.shape,
        before=record.before,
        after=record.after,
        weights=weight_reports(layer, weights, gradients),
        gate_bias=gate_bias(layer),
        forget_bias_overwritten=forget_bias_overwritten(layer),
        first_inputs=recorder.first_inputs.get(layer),
        normalized_by=recorder.names.get(recorder.flow.normalization_after(layer)),
        loses_signal=layer in recorder.suspects.losing,
        is_starved=layer in recorder.suspects.starved,
        is_output=record.is_output,
        certain=record.certain,
    )


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
    loss = compiled_loss(model)
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
