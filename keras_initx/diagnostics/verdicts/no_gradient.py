"""Weights that get no gradient whatever their values are: what holds it back lies in the layers."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import HeldBack, LayerReport, Measurements
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import (
    Finding,
    by_level,
    layer_count,
    listed,
    names_of,
    rule,
)
from keras_initx.diagnostics.verdicts.inputs import are_constant
from keras_initx.diagnostics.verdicts.outputs import gives_one_class, is_misread
from keras_initx.structure import Call, Probe, Watch, is_kernel, parts_of, weights_within

# Relative difference of two losses that may be rounding.
_ROUNDING = 1e-6


class SingleValueProbe(Probe):
    """Finds normalizations, and softmaxes, over a single value.

    Args:
        watch: The watch of the pass.

    Attributes:
        names: Names of the layers or operations.
    """

    def __init__(self, watch: Watch) -> None:
        self.names: list[str] = []
        self._watch = watch

    def after(self, call: Call) -> None:
        operation = call.operation
        if not call.inputs or not len(call.inputs[0].shape):
            return
        if _normalized_count(operation, tuple(call.inputs[0].shape)) == 1:
            name = self._watch.layers.get(operation, operation.name)
            if name not in self.names:
                self.names.append(name)


def _normalized_count(operation: keras.Operation, shape: tuple[int, ...]) -> int | None:
    """Return how many values are normalized together, `None` for other operations."""
    if isinstance(operation, keras.layers.GroupNormalization):
        groups = shape[operation.axis] if operation.groups == -1 else int(operation.groups)
        return math.prod(shape[1:]) // groups
    over_axes = (
        keras.layers.LayerNormalization,
        keras.layers.RMSNormalization,
        keras.layers.UnitNormalization,
    )
    if isinstance(operation, over_axes):
        axes = operation.axis if isinstance(operation.axis, list | tuple) else [operation.axis]
        return math.prod(shape[axis] for axis in axes)
    return None


def held_back(
    model: keras.Model,
    weights: Sequence[keras.Variable],
    norms: Sequence[float],
    norms_of: Callable[[bool], Sequence[float]],
    loss_of: Callable[[], float],
) -> HeldBack | None:
    """Return the kernels that get no gradient with other values either, `None` without any.

    A gradient may be 0 because of values: of weights that are zeros at the start, as at the end of
    a branch, of units that are dead or at a limit, or because a branch is dropped in this step. So
    it is computed again with zeros replaced, with other weights where it was 0, and in inference
    mode. All weights are put back.

    Args:
        model: The model.
        weights: Its trained weights.
        norms: The norm of the gradient of each.
        norms_of: Function that computes these norms in training mode, or in inference mode.
        loss_of: Function that computes the loss in inference mode.
    """
    turned = [place for place, norm in enumerate(norms) if norm == 0]
    without = [place for place in turned if is_kernel(weights[place])]
    # What such a model trains by is not known.
    if not without or type(model).train_step is not keras.Model.train_step:
        return None
    with contextlib.ExitStack() as stack:
        for weight in weights:
            if weight.name not in ("beta", "bias") and not backend.has_nonzero(weight.value):
                stack.enter_context(_changed(weight, _opened))
        before = loss_of()
        for place in turned:
            stack.enter_context(_changed(weights[place], _turned))
        for training in (True, False):
            others = norms_of(training)
            without = [place for place in without if others[place] == 0]
            if not without:
                return None
        after = loss_of()
    found = {id(weights[place]) for place in without}
    inside: set[int] = set()
    for part in parts_of(model):
        if isinstance(part, keras.Model):
            inside.update(id(weight) for weight in part.weights)
    paths = {id(weight.variable): weight.path for weight in weights_within(model)}
    return HeldBack(
        frozenset(paths[one] for one in found if one in paths),
        frozenset(paths[one] for one in found & inside if one in paths),
        changes_loss=not abs(after - before) <= _ROUNDING * abs(before),
    )


@contextlib.contextmanager
def _changed(weight: keras.Variable, change: Callable[[Array], Array]) -> Iterator[None]:
    """Change the values of `weight` for the duration of the block."""
    former = backend.snapshot(weight.value)

    def changed(region: object, values: Array) -> Array:
        return change(values).astype(values.dtype)

    try:
        weight.assign(backend.changed_in_parts(weight.value, changed))
        yield
    finally:
        weight.assign(former)


def _opened(values: Array) -> Array:
    """Return small random numbers in the place of zeros."""
    size = math.sqrt(max(math.prod(values.shape[:-1]), 1))
    return np.asarray(np.random.default_rng(0).normal(size=values.shape) / size)


def _turned(values: Array) -> Array:
    """Return values that bring units back from limits, and from 0."""
    return -values / 8


@rule(
    "no gradient",
    levels={
        "error": "",
        "warning": "if the loss does not depend on them, as on an output without a loss",
        "note": "if these are of a model inside, of which only other outputs are used",
    },
    finds="a compiled model whose weights are all frozen; a normalization or a softmax over a "
    "single value; or layers whose gradient is exactly 0, also with other numbers in the place of "
    "zeros and of their weights, and in inference mode. Those of whose shapes others learn are "
    "left out, such as experts and target networks",
    reason="such weights never change. A single value less its mean is 0, so that a layer "
    "normalization of one channel gives the same for all inputs; `argmax`, `round`, comparisons "
    "and casts to integers have no derivative",
    remedy="several values to normalize, a smooth operation, a loss",
)
def no_gradient(measured: Measurements) -> Iterator[Finding]:
    single = [layer for layer in measured.layers if _is_softmax_of_one(layer)]
    if measured.single_values or single:
        yield _over_a_single_value(measured, single)
        return
    if _is_frozen(measured):
        evidence = "no weight of the model is trained: all have `trainable=False`"
        text = "trainable=True for the layers that are to learn, before the model is compiled"
        yield Finding([], evidence, Remedy(text), "error")
        return
    held = measured.held_back
    if held is None or _is_explained(measured):
        return
    hit = []
    for layer in measured.layers:
        is_held = any(weight.path in held.paths for weight in layer.weights)
        if is_held and layer.gradient is not None and layer.gradient.norm == 0:
            hit.append(layer)
    if not hit or (_have_counterparts(hit, measured) and not _makes_output(hit)):
        return
    if held.changes_loss:
        yield Finding(hit, *_cut_off(hit, measured), "error")
        return
    for level, layers in by_level(hit, "warning", lambda layer: not _is_inside(layer, held)):
        evidence = f"the loss does not depend on {listed(names_of(layers))}{layer_count(layers)}"
        if _makes_output(layers):
            text = "a loss for each output of the model that is to be trained"
        else:
            text = "use the output of these layers, or leave them out"
        yield Finding(layers, evidence, Remedy(text), level)


def _is_frozen(measured: Measurements) -> bool:
    """Return whether a model that is compiled to be trained has no weight that is."""
    is_given = measured.objective is not None and measured.objective.value is not None
    weights = [weight for layer in measured.layers for weight in layer.weights]
    if measured.optimizer is None or not is_given or not weights:
        return False
    return not any(weight.trainable for weight in weights)


def _is_softmax_of_one(layer: LayerReport) -> bool:
    return layer.attention is not None and layer.attention.of_one


def _over_a_single_value(measured: Measurements, single: Sequence[LayerReport]) -> Finding:
    """Return the finding on normalizations and softmaxes over a single value."""
    trained = []
    for layer in measured.layers:
        for weight in layer.weights:
            if weight.gradient is not None:
                trained.append((layer, weight.gradient))
    held = [layer for layer, gradient in trained if gradient == 0]
    hit = [layer for layer in measured.layers if layer in held or layer in single]
    hit += [layer for layer in measured.layers if layer.name in measured.single_values]
    remedy = Remedy(
        "several values to normalize: a layer with more units, such as keras.layers.Dense(32), "
        f"before {listed(measured.single_values)}, or another axis"
    )
    if measured.single_values:
        evidence = (
            "a normalization over a single value gives the same for all inputs, or only their "
            f"sign: {listed(measured.single_values)}"
        )
    else:
        evidence = f"the softmax of {listed(names_of(single))} is over a single value: it is 1"
        remedy = Remedy("a softmax over several values, those of another axis")
    if held:
        evidence += f"; {len(held)} of {len(trained)} trained weights get no gradient"
    return Finding(list(dict.fromkeys(hit)), evidence, remedy, "error")


def _is_explained(measured: Measurements) -> bool:
    """Return whether what holds gradients back has another verdict."""
    if are_constant(measured):
        return True
    for layer in measured.layers:
        if gives_one_class(layer, measured) or is_misread(layer, measured):
            return True
        if layer.signal.nonfinite:
            return True
    return False


def _have_counterparts(hit: Sequence[LayerReport], measured: Measurements) -> bool:
    """Return whether for each of `hit` another layer of its kind and shapes learns."""
    learning = set()
    for layer in measured.layers:
        if layer.gradient is not None and layer.gradient.norm > 0:
            learning.add(_form_of(layer))
    return learning.issuperset(map(_form_of, hit))


def _form_of(layer: LayerReport) -> object:
    return layer.kind, tuple(weight.shape for weight in layer.weights)


def _makes_output(layers: Sequence[LayerReport]) -> bool:
    return any(layer.output is not None for layer in layers)


def _is_inside(layer: LayerReport, held: HeldBack) -> bool:
    return any(weight.path in held.inside for weight in layer.weights)


def _cut_off(hit: Sequence[LayerReport], measured: Measurements) -> tuple[str, Remedy]:
    """Return the evidence and the remedy where an operation without a derivative follows."""
    last = hit[-1]
    later = measured.layers[measured.layers.index(last) + 1 :]
    learning = [layer for layer in later if layer.gradient is not None and layer.gradient.norm > 0]
    place = f"behind {last.name}"
    if learning:
        place = f"between {last.name} and {learning[0].name}"
    if _makes_output(hit):
        place += ", perhaps in the loss"
    evidence = (
        f"the loss depends on {listed(names_of(hit))}{layer_count(hit)}, but the gradient is 0: an "
        f"operation without a derivative is {place}, such as argmax, round, a comparison, a cast "
        "to integers or stop_gradient"
    )
    text = (
        f"a smooth operation {place}, such as softmax for argmax or sigmoid for a comparison, or "
        "x + keras.ops.stop_gradient(keras.ops.round(x) - x) for round; trainable=False if these "
        "layers are not to learn"
    )
    if _makes_output(hit):
        text += "; in a loss the targets come first: def loss(y_true, y_pred)"
    return evidence, Remedy(text)


def is_held_back(measured: Measurements) -> bool:
    """Return whether layers hold the gradient back, so that what follows is an effect of it."""
    return any(verdict.level == "error" for verdict in no_gradient.verdicts(measured))
