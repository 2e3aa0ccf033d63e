"""Measure a model: a forward pass with probes, and a backward pass."""

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._keras import compiled_loss, layers_of
from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._losses import SeenLoss, check_own_loss, guessed_losses
from keras_initx.diagnostics._measurements import (
    FlowReport,
    LayerReport,
    Measurements,
    Objective,
    OutputReport,
    TrainedSteps,
)
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics.verdicts.attention import AttentionProbe
from keras_initx.diagnostics.verdicts.first_loss import OutputProbe
from keras_initx.diagnostics.verdicts.gates import RecurrenceProbe
from keras_initx.diagnostics.verdicts.gradients import gradient_report
from keras_initx.diagnostics.verdicts.inputs import InputProbe, are_pixels, are_repeated
from keras_initx.diagnostics.verdicts.likeness import differences_without_noise
from keras_initx.diagnostics.verdicts.no_gradient import SingleValueProbe, held_back
from keras_initx.diagnostics.verdicts.optimizer import optimizer_facts
from keras_initx.diagnostics.verdicts.signals import LostProbe, SignalProbe
from keras_initx.diagnostics.verdicts.steps import steps_taken
from keras_initx.diagnostics.verdicts.untracked import read_kernels
from keras_initx.diagnostics.verdicts.weights import kept_initializers, weight_reports
from keras_initx.structure import (
    HOOKS,
    Call,
    Probe,
    Watch,
    array_of,
    hidden_branch_ends,
    is_bounded,
    is_kernel,
    own_weights,
    tensors_in,
    weights_within,
)

# An array, or a list or dict of arrays, also nested.
Batch: TypeAlias = Any
# Function of targets and outputs; `None` means the compiled loss.
_LossFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor] | None
# By which `LossScaleOptimizer` multiplies the loss at first.
_LOSS_SCALE = 2**15

# Is called with the name of each layer after it is measured.
Progress: TypeAlias = Callable[[str], object]


class _Probes:
    """The probes of a diagnosis.

    Args:
        watch: The watch of the pass.
    """

    def __init__(self, watch: Watch) -> None:
        self.inputs: InputProbe = InputProbe(watch)
        self.signals: SignalProbe = SignalProbe(watch)
        self.lost: LostProbe = LostProbe(watch, self.signals)
        self.attention: AttentionProbe = AttentionProbe(watch)
        self.recurrence: RecurrenceProbe = RecurrenceProbe(watch)
        self.single_values: SingleValueProbe = SingleValueProbe(watch)
        self.outputs: OutputProbe = OutputProbe(watch, self.signals.reports)

    def __iter__(self) -> Iterator[Probe]:
        """Yield the probes, those after the signals read what these have found."""
        return iter(vars(self).values())


class _ProgressProbe(Probe):
    """Calls a function with the name of each layer after it is measured."""

    def __init__(self, watch: Watch, progress: Progress) -> None:
        self._watch = watch
        self._progress = progress

    def after(self, call: Call) -> None:
        if call.is_seen:
            # What it calls is no part of the pass.
            with self._watch.paused():
                self._progress(self._watch.layers[call.operation])


def measure(
    model: keras.Model,
    x: Batch,
    y: Batch | None = None,
    *,
    loss: _LossFunction = None,
    seen_losses: Callable[[Tensor, Tensor], list[SeenLoss]],
    steps: int = 0,
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
        steps: Number of steps of training to take, after which the weights are put back.
        progress: Function that is called with the name of each layer after it is measured, and of
            each step, or `None`.
    """
    watch = Watch(model)
    probes = _Probes(watch)
    all_probes = list(probes)
    if progress is not None:
        all_probes.append(_ProgressProbe(watch, progress))
    gradients: dict[int, float] = {}
    held = None
    has_loss = False
    mean_loss: float | None = None
    value: float | None = None
    terms = 0.0
    slope: float | None = None
    fails = False
    taken: TrainedSteps | None = None
    # All of it: what one thread calls for gradients would be seen by another.
    with HOOKS, _preserved_loss(model):
        # The pass runs in training mode.
        with watch.watching(*all_probes), backend.preserve_state(layers_of(model)) as scope:
            with read_kernels(model, scope) as untracked:
                outputs = model(x, training=True)
            for tensor in tensors_in(outputs):
                probes.attention.forget(tuple(tensor.shape))
            probes.outputs.add_outputs(outputs)
            has_nan = any(np.isnan(array_of(tensor)).any() for tensor in _floats_in(outputs))
            signal = _signal_of_floats(outputs)
            if y is not None:
                if loss is None:
                    check_own_loss(model)
                # The compiled loss builds itself at its first call, which is not possible while
                # gradients are traced.
                seen = seen_losses(y, outputs)
                probes.outputs.add_facts(seen, model, x, outputs)
                known = [facts for _, facts in probes.outputs.facts]
                fails = any(facts.loss_fails for facts in known)
                # Of NaN some losses raise an error.
                if not fails and not has_nan:
                    value = float(array_of(_loss_value(model, loss, x, y, outputs)).mean())
                    terms = float(array_of(_terms(model)))
                    has_loss = not math.isnan(value)
                    has_sums = any(facts.loss.is_sum for facts in known)
                    if seen and len(known) == len(seen) and not has_sums:
                        mean_loss = value
                    probes.outputs.add_losses(guessed_losses(seen))
                del seen
            del outputs
        # Outside of the watch, which would measure these calls too.
        differences = differences_without_noise(model, x)
        trained = _trained(model)
        if y is not None and trained and not fails:
            if has_loss:
                norms_of = functools.partial(_gradient_norms, model, x, y)
                objective = functools.partial(_loss_value, model, loss)
                with _without_penalties(trained):
                    norms = norms_of(objective)
                    if not has_nan and not all(map(math.isfinite, norms)):
                        slope = _slope(model, loss, x, y)
                    loss_of = functools.partial(_inference_loss, model, loss, x, y)
                    held = held_back(
                        model, trained, norms, functools.partial(norms_of, objective), loss_of
                    )
                if steps and any(norms) and all(map(math.isfinite, norms)):
                    of_batch = functools.partial(_objective, model, objective)
                    blind = _blind_loss(probes.outputs.records.values(), value)
                    tell = progress or (lambda _: None)
                    taken = steps_taken(model, trained, of_batch, (x, y), steps, blind, tell)
            else:
                # Below a NaN, the gradient of a ReLU is 0 on JAX and NaN elsewhere.
                norms = [math.nan] * len(trained)
            for weight, norm in zip(trained, norms, strict=True):
                gradients[id(weight)] = norm
        reports = _layer_reports(model, watch, probes, gradients)
        for layer, report in reports.items():
            # A layer may be called in one of the modes alone.
            if report.inputs is not None and layer in differences:
                report.inputs.difference = differences[layer]
    return Measurements(
        layers=list(reports.values()),
        inputs=_signal_of_floats(x),
        targets=_signal_of_floats(y),
        outputs=[(reports[layer], facts) for layer, facts in probes.outputs.facts],
        loss=mean_loss,
        optimizer=optimizer_facts(model),
        loss_inputs=[(reports[layer], given) for layer, given in probes.outputs.loss_inputs],
        own_losses=[(reports[layer], own) for layer, own in probes.outputs.own_losses],
        objective=None if signal is None else Objective(signal, value, terms, slope),
        steps=taken,
        has_pixels=are_pixels(x),
        has_repeated_inputs=are_repeated(x),
        single_values=probes.single_values.names,
        held_back=held,
        untracked=untracked,
        initializers=kept_initializers(model),
        hidden_branch_ends=functools.partial(hidden_branch_ends, model),
    )


@contextlib.contextmanager
def _without_penalties(weights: Sequence[keras.Variable]) -> Iterator[None]:
    """Take the regularizers from `weights` for the duration of the block.

    They pull each weight to 0, also one that the loss does not reach.
    """
    kept = [(weight, weight.regularizer) for weight in weights]
    try:
        for weight in weights:
            weight.regularizer = None
        yield
    finally:
        for weight, regularizer in kept:
            weight.regularizer = regularizer


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
    model: keras.Model,
    loss: _LossFunction,
    x: Batch,
    y: Batch,
    outputs: Tensor,
    training: bool = True,
) -> Tensor:
    """Return the training objective: the loss plus the terms of regularizers and `add_loss`."""
    if loss is not None:
        return loss(y, outputs) + _terms(model)
    # As `fit` does, by position: a model's own `compute_loss` may name its arguments differently,
    # or lack the last one.
    if "training" in inspect.signature(model.compute_loss).parameters:
        return model.compute_loss(x, y, outputs, None, training=training)
    return model.compute_loss(x, y, outputs, None)


def _terms(model: keras.Model) -> Tensor:
    """Return the sum of what regularizers and `add_loss` add to the loss."""
    total = keras.ops.zeros(())
    for term in model.losses:
        total = total + keras.ops.sum(term)
    return total


def _blind_loss(outputs: Collection[OutputReport], value: float | None) -> float | None:
    """Return the loss of a blind guess if the objective is the crossentropy of one output.

    Args:
        outputs: The outputs of the model.
        value: The objective.
    """
    if len(outputs) != 1 or value is None:
        return None
    (output,) = outputs
    if output.loss is None or output.loss_kind != "crossentropy":
        return None
    return output.blind_loss if math.isclose(output.loss, value, rel_tol=0.01) else None


def _trained(model: keras.Model) -> list[keras.Variable]:
    return list(filter(backend.trains, model.trainable_variables))


def _inference_loss(model: keras.Model, loss: _LossFunction, x: Batch, y: Batch) -> float:
    """Return the training objective in inference mode."""
    with backend.preserve_state(layers_of(model)):
        value = _loss_value(model, loss, x, y, model(x, training=False), training=False)
        return float(array_of(value).sum())


def _objective(
    model: keras.Model,
    objective: Callable[..., Tensor],
    x: Batch,
    y: Batch,
    training: bool = True,
) -> Tensor:
    """Return what a function of inputs, targets, outputs and the mode gives for `model`."""
    return objective(x, y, model(x, training=training), training)


def _gradient_norms(
    model: keras.Model,
    x: Batch,
    y: Batch,
    objective: Callable[..., Tensor],
    training: bool = True,
) -> list[float]:
    """Return the norm of the gradient of a function for each trained weight.

    Args:
        model: The model.
        x: Its inputs.
        y: The targets.
        objective: Function of the inputs, the targets, the outputs of the model and whether it is
            in training mode.
        training: Whether it is.
    """

    def scaled_loss(x: Batch, y: Batch, scale: Array) -> Tensor:
        value = _objective(model, objective, x, y, training)
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


def _slope(model: keras.Model, loss: _LossFunction, x: Batch, y: Batch) -> float:
    """Return the norm of the gradient of the loss with respect to the outputs of `model`."""
    layers = layers_of(model)
    variables = []

    def as_variable(tensor: Tensor) -> Any:
        if not _floats_in(tensor):
            return tensor
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        variables.append(keras.Variable(array_of(tensor), dtype=dtype, name="outputs"))
        return variables[-1]

    with backend.preserve_state(layers):
        outputs = model(x, training=True)
    outputs = keras.tree.map_structure(as_variable, outputs)

    def of_outputs(x: Batch, y: Batch) -> Tensor:
        values = keras.tree.map_structure(keras.ops.convert_to_tensor, outputs)
        return _loss_value(model, loss, x, y, values)

    return max(backend.gradient_norms(of_outputs, variables, layers)(x, y))


def _layer_reports(
    model: keras.Model, watch: Watch, probes: _Probes, gradients: Mapping[int, float]
) -> dict[keras.Layer, LayerReport]:
    """Return the reports of layers, in the order of their outputs, with all that was measured."""
    paths = {id(weight.variable): weight.path for weight in weights_within(model)}
    branch_ends = {branch.end for branch in watch.graph.branches()}
    reports = {}
    for layer, variables in _weights_by_layer(model, watch, probes).items():
        report = probes.signals.reports.get(layer)
        if report is None:
            report = LayerReport(watch.layers[layer], type(layer).__name__)
        report.path = watch.paths[layer]
        report.activation = watch.activations[layer]
        report.flow = _flow_report(layer, watch, probes)
        report.flow.ends_branch = layer in branch_ends
        report.inputs = probes.inputs.records.get(layer)
        report.output = probes.outputs.records.get(layer)
        report.attention = probes.attention.records.get(layer)
        report.recurrence = probes.recurrence.record(layer, paths)
        report.weights = weight_reports(layer, variables, paths, gradients)
        report.gradient = gradient_report(report.weights)
        owned = {id(variable) for variable in variables}
        report.shared_kernels = [
            paths.get(id(variable), variable.name)
            for variable in layer.weights
            if id(variable) not in owned and variable.trainable and is_kernel(variable)
        ]
        reports[layer] = report
    return reports


def _flow_report(layer: keras.Layer, watch: Watch, probes: _Probes) -> FlowReport:
    """Return where a layer is in the flow of signals, and what becomes of them there."""
    flow = FlowReport(
        slope=probes.signals.slopes.get(layer),
        loses_signal=layer in probes.lost.causes,
        is_starved=layer in probes.lost.starved,
    )
    normalization = watch.graph.normalization_after(layer)
    consumer = watch.graph.only_consumer(layer)
    if consumer in watch.layers and consumer not in watch.with_kernel:
        flow.activated_by = watch.activations[consumer]
        if flow.slope is None:
            flow.slope = probes.signals.slopes.get(consumer)
        if flow.activated_by is not None and not is_bounded(flow.activated_by):
            normalization = watch.graph.normalization_after(consumer)
    if normalization in watch.layers:
        flow.normalized_by = watch.layers[normalization]
    return flow


def _weights_by_layer(
    model: keras.Model, watch: Watch, probes: _Probes
) -> dict[keras.Layer, list[keras.Variable]]:
    """Return the layers to report, in the order of their outputs, with their weights.

    Each weight has one layer.
    """
    seen = probes.signals.reports
    order = [layer for layer, report in seen.items() if report.after is not None]
    owners: dict[int, keras.Layer] = {}
    # The first of the layers that share a weight owns it.
    for layer in reversed(watch.layers):
        for weight in own_weights(layer):
            owners[id(weight)] = layer
    # The weights of layers that could not be observed belong to the layer around them.
    observed = set(order)
    for layer in order:
        if not any(part in seen for part in layers_of(layer, include_self=False)):
            for weight in layer.weights:
                if owners.get(id(weight)) not in observed:
                    owners[id(weight)] = layer
    for layer in watch.layers:
        if isinstance(layer, keras.layers.RNN):  # whose weights count as its own
            for weight in layer.weights:
                owners.setdefault(id(weight), layer)
    # A layer that was not called itself may have been used by another layer.
    order += [layer for layer in watch.layers if layer not in order and layer in owners.values()]
    weights: dict[keras.Layer, list[keras.Variable]] = {layer: [] for layer in order}
    for weight in model.weights:
        if id(weight) in owners:
            weights[owners[id(weight)]].append(weight)
    return weights


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
