"""Measure a model: a forward pass that records the output of each layer, and a backward pass."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import keras
import numpy as np

from keras_initx._keras import compiled_loss, layers_of
from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._losses import (
    LossKind,
    SeenLoss,
    check_own_loss,
    guessed_losses,
)
from keras_initx.diagnostics._outputs import OutputFacts
from keras_initx.diagnostics._recorder import LayerRecord, Progress, Recorder
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import Thresholds
from keras_initx.diagnostics._weights import (
    WeightReport,
    forget_bias_overwritten,
    gate_bias,
    recurrent_gains,
    weight_reports,
)
from keras_initx.structure import (
    HOOKS,
    NORMALIZATIONS,
    array_of,
    is_bounded,
    rate_of,
    tensors_in,
    unscaled,
)

__all__ = ["LayerReport"]

# An array, or a list or dict of arrays, also nested.
Batch: TypeAlias = Any
# Function of targets and outputs; `None` means the compiled loss.
_LossFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor] | None
# By which `LossScaleOptimizer` multiplies the loss at first.
_LOSS_SCALE = 2**15


@dataclass(frozen=True, eq=False, repr=False)
class LayerReport:
    """The measurements of one layer. `Report.to_dict` has them in this order.

    Attributes:
        name: Name of the layer, prefixed with the names of the layers around it: `"encoder/dense"`.
        kind: Name of its class.
        activation: Name of its activation, or `None` if it has none.
        shape: Shape of its output.
        first_inputs: `Signal` of its inputs if it has a kernel and no layer with weights comes
            before it; otherwise `None`.
        before: `Signal` before the activation, or `None` if there is no activation or it is not
            accessible.
        after: `Signal` of the output, or `None` if it is not accessible.
        saturated: Fraction of the outputs near the limits of the activation, or `None` if it is
            unbounded.
        dead: Fraction of the units whose output is zero for the whole batch although their input is
            not. `None` if no activation could cause this.
        certain: Fraction of the examples for which its softmax or sigmoid is saturated, if it is a
            model output; otherwise `None`.
        loss_kind: `"crossentropy"` or `"distance"` where `loss` is known, otherwise `None`.
        loss: The loss of this output of the model as in training, before regularizers and weights;
            for a distance such as the mean squared error, the root mean square of the errors.
            `None` without targets, for several losses of one output, and for a loss of another kind
            than Keras' crossentropies and distances.
        blind_loss: The same of a blind guess: equal probabilities, or the mean of the targets.
        output_size: Root mean square of the output of the model that has this loss: operations may
            follow the layer.
        examples_alike: Mean cosine between the outputs for different examples, of the first layer
            and of layers that normalize each example, otherwise `None`.
        inputs_differ: Standard deviation between examples of the inputs of its kernel, relative to
            their root mean square; `None` without a kernel.
        input_size: Root mean square of its inputs if it makes an output of the model, otherwise
            `None`.
        steps: Number of steps of the inputs of a recurrent layer, otherwise `None`.
        largest_input: Where a kernel multiplies vectors from outside the model, the index of the
            number with the largest root mean square and this size; otherwise `None`.
        positions_alike: The same as `examples_alike` between the positions of an example, if there
            are several.
        focus: The largest weight that a query gives to a key, as a mean over some queries with at
            least four keys, if it makes the queries of an attention layer; otherwise `None`. Where
            the weights themselves are not accessible they are computed from queries and keys,
            without masks and rotations.
        router_share: The largest share that one unit has of the weight of a softmax inside the
            model, of which it makes the input, as a mean over the batch; otherwise `None`.
        normalized_by: Name of the normalization layer that is the only consumer of its output, or
            `None`.
        activated_by: Name of the activation that the only consumer of its output applies to it, or
            `None`.
        slopes: The root mean square and the largest of the slopes, at values of the batch, of the
            activation that is applied to its output, by itself or by its only consumer, if Keras
            does not have it, such as sin(30 x); otherwise `None`.
        loses_signal: Whether its output is nearly zero, so that a later kernel gets the same input
            for all examples.
        is_starved: Whether its kernel gets the same input for all examples because of an earlier
            layer.
        is_output: Whether its output, possibly after layers without weights, is an output of the
            model.
        ends_branch: Whether it is the last layer of a residual branch: its output is only added to
            a signal that passes by.
        gain: Factor by which the first kernel scales its inputs, or `None` without a kernel or for
            a quantized one.
        gradient_norm: Norm of the gradient of all trainable weights of the layer, or `None` without
            any. NaN if the loss of the model is NaN.
        gradient_ratio: Ratio of that norm to the norm of the same weights, or `None` without any or
            if they are zero.
        gate_bias: For an LSTM or a GRU, a pair of `"forget"` or `"update"` and an array with the
            bias of that gate, of the cell that keeps the least if it has several; otherwise `None`.
        recurrent_gains: For a recurrent layer without gates of at most 1024 units, the geometric
            mean and the largest of the singular values of its recurrent kernel, otherwise `None`.
        forget_bias_overwritten: Whether it is an LSTM that overwrites the forget-gate bias of its
            initializer with ones.
        weights: A `WeightReport` for each weight.
    """

    name: str
    kind: str
    activation: str | None = None
    shape: tuple[int, ...] | None = None
    first_inputs: Signal | None = None
    before: Signal | None = None
    after: Signal | None = None
    saturated: float | None = None
    dead: float | None = None
    certain: float | None = None
    loss_kind: LossKind | None = None
    loss: float | None = None
    blind_loss: float | None = None
    output_size: float | None = None
    examples_alike: float | None = None
    inputs_differ: float | None = None
    input_size: float | None = None
    steps: int | None = None
    largest_input: tuple[int, float] | None = None
    positions_alike: float | None = None
    focus: float | None = None
    router_share: float | None = None
    normalized_by: str | None = None
    activated_by: str | None = None
    slopes: tuple[float, float] | None = None
    loses_signal: bool = False
    is_starved: bool = False
    is_output: bool = False
    ends_branch: bool = False
    gain: float | None = None
    gradient_norm: float | None = None
    gradient_ratio: float | None = None
    gate_bias: tuple[Literal["forget", "update"], Array] | None = None
    recurrent_gains: tuple[float, float] | None = None
    forget_bias_overwritten: bool = False
    weights: list[WeightReport] = field(default_factory=list)

    @property
    def signal(self) -> Signal | None:
        """`Signal` of the output before the activation if there is one, otherwise of the output."""
        return self.before or self.after

    def __repr__(self) -> str:
        return f"<LayerReport of {self.name}, {self.kind}: output {self.after or 'not seen'}>"


# The optimizers whose first step changes each weight by about the learning rate.
_NORMALIZING = (
    keras.optimizers.Adam,
    keras.optimizers.Adamax,
    keras.optimizers.AdamW,
    keras.optimizers.Nadam,
)
_NORMALIZING_NAMES = tuple(optimizer.__name__ for optimizer in _NORMALIZING)


@dataclass(frozen=True)
class OptimizerFacts:
    """What is known of the optimizer of a model.

    Attributes:
        rate: Learning rate of the next step.
        kind: `"sgd"` for SGD without clipping, `"adam"` for Adam and its like, and `None` for
            others and for networks with normalizations, where large steps may do no harm.
    """

    rate: float
    kind: Literal["adam", "sgd"] | None = None


@dataclass(frozen=True, eq=False)
class Measurements:
    """The measurements of a model.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of
            their outputs.
        inputs: `Signal` of the inputs, or `None` if they are integers.
        thresholds: The thresholds of the rules.
        targets: `Signal` of the targets, or `None` if they are integers or not given.
        outputs: Pairs of a layer and the facts of the output of the model that it makes, for each
            known loss.
        loss: The training objective if all of its terms are known means, otherwise `None`.
        optimizer: What is known of the optimizer, `None` if `model` is not compiled with one.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    thresholds: Thresholds
    targets: Signal | None = None
    outputs: list[tuple[LayerReport, OutputFacts]] = field(default_factory=list)
    loss: float | None = None
    optimizer: OptimizerFacts | None = None


def measure(
    model: keras.Model,
    x: Batch,
    y: Batch | None = None,
    *,
    loss: _LossFunction = None,
    seen_losses: Callable[[Tensor, Tensor], list[SeenLoss]],
    thresholds: Thresholds,
    progress: Progress | None = None,
) -> Measurements:
    """Run a batch through `model` and measure each layer. The model is left unchanged.

    Args:
        model: A built model.
        x: Its inputs, as tensors.
        y: The targets, or `None` to skip gradients.
        loss: Function of targets and outputs, or `None` for the compiled loss.
        seen_losses: Function of targets and outputs that gives each loss with its targets and its
            output.
        thresholds: Thresholds of saturation and vanishing signals.
        progress: Function that is called with the name of each layer after it is measured, or
            `None`.
    """
    recorder = Recorder(model, thresholds, progress)
    gradients: dict[int, float] = {}
    has_loss = False
    mean_loss: float | None = None
    fails = False
    # All of it: what one thread calls for gradients would be recorded by another.
    with HOOKS, _preserved_loss(model):
        # The pass runs in training mode.
        with recorder.recording(), backend.preserve_state(layers_of(model)):
            outputs = model(x, training=True)
            recorder.record_model_outputs(outputs)
            has_nan = any(np.isnan(array_of(tensor)).any() for tensor in _floats_in(outputs))
            if y is not None:
                if loss is None:
                    check_own_loss(model)
                # The compiled loss builds itself at its first call, which is not possible while
                # gradients are traced.
                seen = seen_losses(y, outputs)
                recorder.record_outputs(seen)
                fails = any(facts.loss_fails for _, facts in recorder.outputs)
                # Of NaN some losses raise an error.
                if not fails and not has_nan:
                    value = array_of(_loss_value(model, loss, x, y, outputs))
                    has_loss = not np.isnan(value).any()
                    has_sums = any(facts.loss.is_sum for _, facts in recorder.outputs)
                    if seen and len(recorder.outputs) == len(seen) and not has_sums:
                        mean_loss = float(value.mean())
                    recorder.record_losses(guessed_losses(seen))
                del seen
            del outputs
        trained = _trained(model)
        if y is not None and trained and not fails:
            if has_loss:
                norms = _gradient_norms(model, loss, x, y)
            else:
                # Below a NaN, the gradient of a ReLU is 0 on JAX and NaN elsewhere.
                norms = [math.nan] * len(trained)
            for weight, norm in zip(trained, norms, strict=True):
                gradients[id(weight)] = norm
    reports = {}
    branch_ends = recorder.graph.branch_ends()
    for layer, weights in _weights_by_layer(model, recorder).items():
        report = _layer_report(recorder, layer, weights, gradients)
        reports[layer] = replace(report, ends_branch=layer in branch_ends)
    return Measurements(
        list(reports.values()),
        _signal_of_floats(x),
        thresholds,
        _signal_of_floats(y),
        [(reports[layer], facts) for layer, facts in recorder.outputs],
        mean_loss,
        _optimizer_facts(model),
    )


def _optimizer_facts(model: keras.Model) -> OptimizerFacts | None:
    """Return what is known of the optimizer of `model`, `None` if it is not compiled with one."""
    optimizer: Any = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    optimizer = unscaled(optimizer)
    rate = rate_of(optimizer)
    if rate is None:
        return None
    # Normalizations undo the scale of what comes before them, so that large steps only make its
    # weights larger.
    if any(isinstance(layer, NORMALIZATIONS) for layer in layers_of(model)):
        return OptimizerFacts(rate)
    # On torch Keras has subclasses of its own, with the same names.
    name = type(optimizer).__name__
    if isinstance(optimizer, _NORMALIZING) and name in _NORMALIZING_NAMES:
        return OptimizerFacts(rate, "adam")
    is_plain = isinstance(optimizer, keras.optimizers.SGD) and name == "SGD"
    clipping = (optimizer.clipnorm, optimizer.clipvalue, optimizer.global_clipnorm)
    if not is_plain or any(limit is not None for limit in clipping):
        return OptimizerFacts(rate)
    return OptimizerFacts(rate, "sgd")


@contextlib.contextmanager
def _preserved_loss(model: keras.Model) -> Iterator[None]:
    """Undo the building of the compiled loss.

    It would change the random numbers that `fit` draws.
    """
    loss = compiled_loss(model)
    if loss is None:
        yield
        return
    attributes = dict(vars(loss))
    metric_count = len(loss.metrics)
    try:
        yield
    finally:
        vars(loss).update(attributes)
        del loss.metrics[metric_count:]


def _loss_value(
    model: keras.Model, loss: _LossFunction, x: Batch, y: Batch, outputs: Tensor
) -> Tensor:
    """Return the training objective: the loss plus the terms of regularizers and `add_loss`."""
    if loss is not None:
        total = loss(y, outputs)
        for term in model.losses:
            total = total + keras.ops.sum(term)
        return total
    # As `fit` does, by position: a model's own `compute_loss` may name its arguments differently,
    # or lack the last one.
    if "training" in inspect.signature(model.compute_loss).parameters:
        return model.compute_loss(x, y, outputs, None, training=True)
    return model.compute_loss(x, y, outputs, None)


def _trained(model: keras.Model) -> list[keras.Variable]:
    return list(filter(backend.trains, model.trainable_variables))


def _gradient_norms(model: keras.Model, loss: _LossFunction, x: Batch, y: Batch) -> list[float]:
    """Return the norm of the gradient of each trained weight."""

    def scaled_loss(x: Batch, y: Batch, scale: Array) -> Tensor:
        value = _loss_value(model, loss, x, y, model(x, training=True))
        return value * keras.ops.cast(scale, value.dtype)

    scaled_norms = backend.gradient_norms(scaled_loss, _trained(model), layers_of(model))
    scale = 1
    # As training with `LossScaleOptimizer` does, because small gradients are 0 in float16.
    if any(layer.compute_dtype == "float16" for layer in layers_of(model)):
        scale = _LOSS_SCALE
    while True:
        norms = [norm / scale for norm in scaled_norms(x, y, np.float32(scale))]
        if scale == 1 or all(map(math.isfinite, norms)):
            return norms
        scale //= 32


def _weights_by_layer(
    model: keras.Model, recorder: Recorder
) -> dict[keras.layers.Layer, list[keras.Variable]]:
    """Return the layers to report, in the order of their outputs, with their weights.

    Each weight has one layer.
    """
    records = recorder.records
    order = [layer for layer, record in records.items() if record.after is not None]
    owners: dict[int, keras.layers.Layer] = {}
    # The first of the layers that share a weight owns it.
    for layer, facts in reversed(recorder.facts.items()):
        for weight in facts.own_weights:
            owners[id(weight)] = layer
    # The weights of layers that could not be observed belong to the layer around them.
    observed = set(order)
    for layer in order:
        if not any(part in records for part in layers_of(layer, include_self=False)):
            for weight in layer.weights:
                if owners.get(id(weight)) not in observed:
                    owners[id(weight)] = layer
    # A layer that was not called itself may have been used by another layer.
    order += [layer for layer in recorder.facts if layer not in order and layer in owners.values()]
    weights: dict[keras.layers.Layer, list[keras.Variable]] = {layer: [] for layer in order}
    for weight in model.weights:
        if id(weight) in owners:
            weights[owners[id(weight)]].append(weight)
    return weights


def _layer_report(
    recorder: Recorder,
    layer: keras.layers.Layer,
    weights: Sequence[keras.Variable],
    gradients: Mapping[int, float],
) -> LayerReport:
    facts = recorder.facts[layer]
    record = recorder.records.get(layer, LayerRecord())
    saturated = None
    if record.after is not None:
        saturated = record.after.saturated
    dead = None
    if not is_bounded(facts.activation):
        dead = _dead(record)
    normalized_by = None
    normalization = recorder.facts.get(recorder.graph.normalization_after(layer))
    if normalization is not None:
        normalized_by = normalization.name
    activated_by = None
    slopes = recorder.slopes.get(layer)
    consumer = recorder.graph.only_consumer(layer)
    facts_of_consumer = recorder.facts.get(consumer)
    if facts_of_consumer is not None and not facts_of_consumer.has_kernel:
        activated_by = facts_of_consumer.activation
        slopes = slopes or recorder.slopes.get(consumer)
    reports = weight_reports(layer, weights, gradients)
    gradient_norm, gradient_ratio = _gradient_sizes(reports)
    return LayerReport(
        name=facts.name,
        kind=type(layer).__name__,
        activation=facts.activation,
        **vars(record),
        first_inputs=recorder.first_inputs.get(layer),
        saturated=saturated,
        dead=dead,
        normalized_by=normalized_by,
        activated_by=activated_by,
        slopes=slopes,
        loses_signal=layer in recorder.lost.causes,
        is_starved=layer in recorder.lost.starved,
        gain=_gain(reports),
        gradient_norm=gradient_norm,
        gradient_ratio=gradient_ratio,
        gate_bias=gate_bias(layer),
        recurrent_gains=recurrent_gains(layer),
        forget_bias_overwritten=forget_bias_overwritten(layer),
        weights=reports,
    )


def _gain(weights: Sequence[WeightReport]) -> float | None:
    """Return the gain of the first kernel, or `None` without one."""
    for weight in weights:
        # The kernels of an adapter come after the one that they are added to, which may be
        # quantized.
        if weight.gain is not None and not weight.name.startswith("lora_"):
            return weight.gain
    return None


def _gradient_sizes(weights: Sequence[WeightReport]) -> tuple[float | None, float | None]:
    """Return the norm of the gradient of a layer, and its ratio to that of the weights.

    Each is `None` if it does not exist.
    """
    gradients = []
    norms = []
    for weight in weights:
        if weight.gradient is not None:
            gradients.append(weight.gradient)
            norms.append(weight.norm)
    if not gradients:
        return None, None
    gradient_norm = _norm_of(gradients)
    weight_norm = _norm_of(norms)
    if not weight_norm:
        return gradient_norm, None
    return gradient_norm, gradient_norm / weight_norm


def _norm_of(norms: Iterable[float]) -> float:
    """Return the norm of a vector from the norms of its parts."""
    return float(sum(norm**2 for norm in norms) ** 0.5)


def _dead(record: LayerRecord) -> float | None:
    """Return the fraction of the units that an activation makes zero for the whole batch.

    It is `None` without an activation.
    """
    if record.before is None or record.after is None:
        return None
    before = record.before.unit_is_silent
    after = record.after.unit_is_silent
    if before is None or after is None or before.shape != after.shape or not after.size:
        return None
    return float((after & ~before).mean())


def _floats_in(batch: Batch | None) -> list[Tensor]:
    """Return the tensors of floating-point numbers."""
    floats = []
    for tensor in tensors_in(batch):
        if "float" in keras.backend.standardize_dtype(tensor.dtype):
            floats.append(tensor)
    return floats


def _signal_of_floats(batch: Batch | None) -> Signal | None:
    """Return the statistics of the floating-point inputs or targets, `None` if there are none."""
    signal = None
    for tensor in _floats_in(batch):
        if signal is None:
            signal = Signal()
        signal.add(array_of(tensor))
    return signal
