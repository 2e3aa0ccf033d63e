"""Weights that get no gradient whatever their values are: what holds it back lies in the layers."""

import contextlib
import itertools
import math
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._checks import first_of
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.diagnostics._dead_ends import (
    dead_ends,
    ending_calls,
    opened,
    zero_gradient_flow,
)
from keras_initx.diagnostics._diagnosis import Diagnosis, Probe, fact
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, by_level, layer_count, rule, titles_of
from keras_initx.diagnostics._seen import (
    SeenLayer,
    SeenWeight,
    seen_layers,
    seen_weights,
    weights_of,
)
from keras_initx.diagnostics.losses.probes import LossProbe, gradients
from keras_initx.diagnostics.verdicts.focused_attention import AttentionProbe
from keras_initx.structure._former import put_back_afterward
from keras_initx.structure._kernels import is_kernel
from keras_initx.structure._names import parts_of
from keras_initx.structure._watch import Call

# Returns other values for a weight.
_Change: TypeAlias = Callable[[Array], Array]

# Relative difference of two losses, or relative size of a gradient, that may be rounding.
_ROUNDING = 1e-6
# How often other weights are drawn in the place of those without a gradient.
_DRAWS = 3
# Weights that are added, which are zeros at the start.
_OFFSETS = ("beta", "bias")


class SingleValueProbe(Probe):
    """Finds normalizations over a single value.

    Attributes:
        paths: Dict from such a layer to its path, or the name of an operation.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.paths: dict[keras.Operation, str] = {}

    def after(self, call: Call) -> None:
        operation = call.operation
        if not call.inputs or not len(call.inputs[0].shape):
            return
        if _normalized_count(operation, tuple(call.inputs[0].shape)) == 1:
            self.paths[operation] = self.of.watch.paths.get(operation, operation.name)


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


class HeldBack(NamedTuple):
    """Kernels that get no gradient, whatever their values are.

    Attributes:
        kernels: The kernels.
        inside: Those of them that belong to a model inside the model.
        used: Those of them on which the loss depends.
    """

    kernels: frozenset[SeenWeight]
    inside: frozenset[SeenWeight]
    used: frozenset[SeenWeight]


@fact
def held_back(of: Diagnosis) -> HeldBack | None:
    """The kernels that get no gradient with other values either, `None` without any.

    A gradient may be 0 because of values: of weights that are zeros at the start, as at the end of
    a branch, of activations that are dead ends, or because a branch is dropped in this step. So it
    is computed again with zeros replaced, dead ends opened, several times with other weights where
    it was 0, and in inference mode. All weights are put back.
    """
    trained, norms = of.trained, list(gradients(of).values())
    turned = [place for place, norm in enumerate(norms) if norm == 0]
    without = [place for place in turned if is_kernel(trained[place])]
    # What such a model trains by is not known.
    if not without or type(of.model).train_step is not keras.Model.train_step:
        return None
    ends = dead_ends(of)
    changes: list[_Change] = [_turned, *map(_redrawn, range(_DRAWS))]
    # First with the weights as they are.
    ways: list[Sequence[_Change]] = [(), *((change,) for change in changes)]
    with of.changed(), contextlib.ExitStack() as stack:
        for weight in trained:
            if weight.name not in _OFFSETS and not backend.has_nonzero(weight.value):
                stack.enter_context(_changed(weight, _opened))
        stack.enter_context(opened(ends, of))
        for way in ways:
            with contextlib.ExitStack() as others:
                for place, change in itertools.product(turned, way):
                    others.enter_context(_changed(trained[place], change))
                for training in (True, False):
                    norms = of.norms(training)
                    without = [place for place in without if norms[place] == 0]
                    if not without:
                        return None
        held = [trained[place] for place in without]
        used = [weight for weight in held if _is_used(weight, changes, of)]
    inside: set[int] = set()
    for part in parts_of(of.model):
        if isinstance(part, keras.Model):
            inside.update(id(weight) for weight in part.weights)
    return HeldBack(
        _seen(held, of),
        _seen([weight for weight in held if id(weight) in inside], of),
        _seen(used, of),
    )


def _is_used(weight: keras.Variable, changes: Sequence[_Change], of: Diagnosis) -> bool:
    """Return whether the loss is another one with a weight changed, and no other."""
    before = of.inference_loss()
    for change in changes:
        with _changed(weight, change):
            after = of.inference_loss()
        if not abs(after - before) <= _ROUNDING * abs(before):
            return True
    return False


def _seen(variables: Sequence[keras.Variable], of: Diagnosis) -> frozenset[SeenWeight]:
    return frozenset(seen_weights(of)[id(variable)] for variable in variables)


@fact
def held_by_zeros(of: Diagnosis) -> frozenset[SeenWeight]:
    """The weights of zeros that get no gradient because of each other, so that all stay 0.

    The gradient of a product is 0 for both factors if both are 0. If one is, that one gets a
    gradient, and the other does once it has changed. So what gets a gradient gets other numbers in
    the place of zeros, until nothing more gets one, and then the rest: what has a gradient now was
    held by zeros, what has none by something else. All weights are put back.
    """
    trained, norms = of.trained, list(gradients(of).values())
    moving: list[int] = []
    held: list[int] = []
    for place, norm in enumerate(norms):
        weight = trained[place]
        if weight.name not in _OFFSETS and not backend.has_nonzero(weight.value):
            (held if norm == 0 else moving).append(place)
    # What such a model trains by is not known.
    if not held or type(of.model).train_step is not keras.Model.train_step:
        return frozenset()

    def with_gradient(least: float) -> list[int]:
        """Return the places of those held that get one in training or inference mode."""
        modes = [of.norms(training) for training in (True, False)]
        return [place for place in held if any(one[place] > least * max(one) for one in modes)]

    with of.changed(), contextlib.ExitStack() as stack:
        while True:
            for place in moving:
                stack.enter_context(_changed(trained[place], _opened))
            moving = with_gradient(least=0)
            held = [place for place in held if place not in moving]
            if not moving:
                break
        for place in held:
            stack.enter_context(_changed(trained[place], _opened))
        found = [trained[place] for place in with_gradient(least=_ROUNDING)]
    return _seen(found, of)


@contextlib.contextmanager
def _changed(weight: keras.Variable, change: _Change) -> Iterator[None]:
    """Change the values of `weight` for the duration of the block."""

    def changed(region: object, values: Array) -> Array:
        return np.asarray(change(values), values.dtype)

    with put_back_afterward([weight]):
        weight.assign(backend.changed_in_parts(weight.value, changed))
        yield


def _opened(values: Array) -> Array:
    """Return small random numbers in the place of zeros."""
    size = math.sqrt(max(math.prod(values.shape[:-1]), 1))
    numbers: Array = np.random.default_rng(0).normal(size=values.shape) / size
    return numbers


def _turned(values: Array) -> Array:
    """Return values that bring units back from limits, and from 0."""
    return -values / 8


def _redrawn(seed: int) -> _Change:
    """Return a change to other signs and sizes.

    If all weights are turned, two odd layers, one after the other, give what they gave.
    """

    def redrawn(values: Array) -> Array:
        entropy = (seed, zlib.crc32(np.ascontiguousarray(values).tobytes()))
        factors: Array = np.random.default_rng(entropy).normal(size=values.shape) / 4
        return values * factors

    return redrawn


@fact
def holds_back(of: Diagnosis) -> bool:
    """Whether a layer makes the outputs of what is behind it, or gradients, the same for all."""
    if has_single_values(of) or of.probe(AttentionProbe).of_one:
        return True
    held = held_back(of)
    return held is not None and bool(held.used)


def has_single_values(of: Diagnosis) -> bool:
    """Return whether a normalization is over a single value."""
    return bool(of.probe(SingleValueProbe).paths)


@rule(
    "no gradient",
    probes=[SingleValueProbe],
    unless=["alike:error", "single class", "no probabilities", "unsuitable labels"],
    levels={
        "error": "",
        "warning": "if the loss does not depend on them, as on an output without a loss",
        "note": "if these are of a model inside, of which only other outputs are used",
    },
    finds="a compiled model whose weights are all frozen; a normalization or a softmax over a "
    "single value; or layers whose gradient is exactly 0, also with other numbers in the place of "
    "zeros and of their weights, and in inference mode. Those of whose shapes others learn are "
    "left out, such as experts and target networks, and those before a dead end: an activation "
    "that is 0, or at a limit, for all examples, is *dead units* or *saturated*",
    reason="such weights never change. A single value less its mean is 0, so that a layer "
    "normalization of one channel gives the same for all inputs; `argmax`, `round`, comparisons "
    "and casts to integers have no derivative",
    remedy="several values to normalize, a smooth operation, a loss",
)
def no_gradient(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    if has_single_values(of) or of.probe(AttentionProbe).of_one:
        yield _over_a_single_value(of, layers)
        return
    if _is_frozen(of):
        evidence = "no weight of the model is trained: all have `trainable=False`"
        text = "trainable=True for the layers that are to learn, before the model is compiled"
        yield Finding([], evidence, Remedy(text), "error")
        return
    held = held_back(of)
    if held is None or any(layer.signal.nonfinite for layer in layers):
        return
    hit = []
    for layer in layers:
        is_still = layer.gradient is not None and layer.gradient.norm == 0
        if is_still and _has_any(layer, held.kernels):
            hit.append(layer)
    make_output = any(layer.makes_output for layer in hit)
    if not hit or (_have_counterparts(hit, layers) and not make_output):
        return
    used = [layer for layer in hit if _has_any(layer, held.used)]
    if used:
        yield Finding(used, *_cut_off(used, of), "error")
    unused = [layer for layer in hit if layer not in used]

    def is_outside(layer: SeenLayer) -> bool:
        return not _has_any(layer, held.inside)

    for level, group in by_level(unused, "warning", is_outside):
        evidence = f"the loss does not depend on {first_of(titles_of(group))}{layer_count(group)}"
        text = "use the output of these layers, or leave them out"
        if any(layer.makes_output for layer in group):
            text = "a loss for each output of the model that is to be trained"
        yield Finding(group, evidence, Remedy(text), level)


def _has_any(layer: SeenLayer, weights: Collection[SeenWeight]) -> bool:
    return any(weight in weights for weight in layer.weights)


def _is_frozen(of: Diagnosis) -> bool:
    """Return whether a model that is compiled to be trained has no weight that is."""
    optimizer = getattr(of.model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer) or not of.model.weights:
        return False
    return of.probe(LossProbe).value is not None and not of.model.trainable_weights


def _over_a_single_value(of: Diagnosis, layers: list[SeenLayer]) -> Finding:
    """Return the finding on normalizations and softmaxes over a single value."""
    paths = of.probe(SingleValueProbe).paths
    trained = [one for one in weights_of(layers) if one.report.gradient is not None]
    held = [weight.layer for weight in trained if weight.report.gradient == 0]
    of_one = of.probe(AttentionProbe).of_one
    single = [layer for layer in layers if layer.layer in of_one]
    hit = [layer for layer in layers if layer in held or layer in single]
    hit += [layer for layer in layers if layer.layer in paths]
    names = first_of(list(paths.values()))
    remedy = Remedy(
        "several values to normalize: a layer with more units, such as keras.layers.Dense(32), "
        f"before {names}, or another axis"
    )
    if names:
        evidence = (
            "a normalization over a single value gives the same for all inputs, or only their "
            f"sign: {names}"
        )
    else:
        evidence = f"the softmax of {first_of(titles_of(single))} is over a single value: it is 1"
        remedy = Remedy("a softmax over several values, those of another axis")
    if held:
        evidence += f"; {len(held)} of {len(trained)} trained weights get no gradient"
    return Finding(hit, evidence, remedy, "error")


def _have_counterparts(hit: Sequence[SeenLayer], layers: Sequence[SeenLayer]) -> bool:
    """Return whether for each of `hit` another layer of its kind and shapes learns."""
    learning = set()
    for layer in layers:
        if layer.learns:
            learning.add(_form_of(layer))
    return learning.issuperset(map(_form_of, hit))


def _form_of(layer: SeenLayer) -> object:
    return layer.kind, tuple(weight.report.shape for weight in layer.weights)


def _cut_off(hit: Sequence[SeenLayer], of: Diagnosis) -> tuple[str, Remedy]:
    """Return the evidence and the remedy where an operation without a derivative follows."""
    last = hit[-1]
    later = itertools.dropwhile(lambda layer: layer is not last, seen_layers(of))
    learning = [layer for layer in later if layer.learns]
    place = f"behind {last.title}"
    if learning:
        place = f"between {last.title} and {learning[0].title}"
    flow = zero_gradient_flow(of)
    is_loss = flow is not None and flow.calls[0].behind == 0
    if is_loss:
        place = "in the loss"
    given = f"the loss depends on {first_of(titles_of(hit))}{layer_count(hit)}, but the gradient is"
    such = "such as argmax, round, a comparison, a cast to integers or stop_gradient"
    names = [] if is_loss else _ending_operations(of)
    if names:
        evidence = f"{given} 0: none passes {first_of(names)} {place}"
    else:
        evidence = f"{given} 0: an operation without a derivative is {place}, {such}"
    text = (
        f"a smooth operation {place}, such as softmax for argmax or sigmoid for a comparison, or "
        "x + keras.ops.stop_gradient(keras.ops.round(x) - x) for round; trainable=False if these "
        "layers are not to learn"
    )
    if is_loss:
        text += "; in a loss the targets come first: def loss(y_true, y_pred)"
    return evidence, Remedy(text)


def _ending_operations(of: Diagnosis) -> list[str]:
    """Return what gets a gradient and passes none on: operations by class, layers by path."""
    names = []
    for call in ending_calls(of):
        operation = call.operation
        if operation in dead_ends(of):
            continue
        known = of.watch.paths.get(operation)
        names.append(known or f"the operation {type(operation).__name__}")
    return list(dict.fromkeys(names))
