"""Weights that get no gradient whatever their values are, and why none reaches them."""

import contextlib
import itertools
import math
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import first_float, to_array
from keras_initx.inspection._former_values import preserve_variables
from keras_initx.inspection._hooks import replace_attribute
from keras_initx.inspection._kernels import is_kernel
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.tools.diagnose._dead_ends import closed_activations, opened
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._first_inputs import last_differences
from keras_initx.tools.diagnose._seen import SeenLayer, SeenWeight, seen_layers, seen_weights
from keras_initx.tools.diagnose.losses.probes import gradients

# Returns other values for a weight.
Change: TypeAlias = Callable[[Array], Array]

# Relative difference of two losses, or relative size of a gradient, that may be rounding.
_ROUNDING = 1e-6
# How often other weights are drawn in the place of those without a gradient.
_DRAWS = 3
# Weights that are added, which are zeros at the start.
_OFFSETS = ("beta", "bias")


@dataclass(frozen=True)
class HeldBack:
    """The layers of whose weights none gets a gradient, whatever their values are.

    Attributes:
        cut_off: Those on which the loss depends.
        stopped: Those of them whose outputs `keras.ops.stop_gradient` gets.
        learning: The layers that learn.
        fed: Those of them that get what those that are cut off give.
        idle: Those of which the loss is computed, or would be for other examples, though it is the
            same with other weights: what they give is multiplied by 0, or not chosen.
        unused: All others: what they give is dropped.
        inside: Those that belong to a model inside the model.
    """

    cut_off: list[SeenLayer] = field(default_factory=list)
    stopped: list[SeenLayer] = field(default_factory=list)
    learning: list[SeenLayer] = field(default_factory=list)
    fed: list[SeenLayer] = field(default_factory=list)
    idle: list[SeenLayer] = field(default_factory=list)
    unused: list[SeenLayer] = field(default_factory=list)
    inside: list[SeenLayer] = field(default_factory=list)

    @property
    def layers(self) -> list[SeenLayer]:
        """All these layers."""
        return [*self.cut_off, *self.idle, *self.unused]

    @property
    def is_apart(self) -> bool:
        """Whether what is cut off goes to the loss on a way of its own, as of a target network."""
        forms = set(map(_form_of, self.learning))
        are_alike = forms.issuperset(map(_form_of, self.cut_off))
        return bool(forms) and not self.fed and (bool(self.stopped) or are_alike)


@fact
def held_back(of: Diagnosis) -> HeldBack:
    """The layers that get no gradient with other values either.

    A gradient may be 0 because of values: of weights that are zeros at the start, as at the end of
    a branch, of activations that are at their limits, or because a branch is dropped in this step.
    So it is computed again with zeros replaced, activations opened, several times with other
    weights where it was 0, and in inference mode. All weights are put back.
    """
    trained, norms = of.trained, list(gradients(of).values())
    turned = [place for place, norm in enumerate(norms) if norm == 0]
    without = list(turned)
    has_kernel = any(is_kernel(trained[place]) for place in turned)
    # What such a model trains by is not known.
    if not has_kernel or type(of.model).train_step is not keras.Model.train_step:
        return HeldBack()
    closed = closed_activations(of)
    seen, layers = seen_weights(of), seen_layers(of)
    changes: list[Change] = [_turned, *map(_redrawn, range(_DRAWS))]
    # First with the weights as they are.
    ways: list[Sequence[Change]] = [(), *((change,) for change in changes)]
    with of.changed(), contextlib.ExitStack() as stack:
        for weight in trained:
            if weight.name not in _OFFSETS and not backend.has_nonzero(weight.value):
                stack.enter_context(changed_weight(weight, opened_zeros))
        stack.enter_context(opened(closed, of))
        for way in ways:
            with contextlib.ExitStack() as others:
                for place, change in itertools.product(turned, way):
                    others.enter_context(changed_weight(trained[place], change))
                for training in (True, False):
                    norms = of.norms(training)
                    without = [place for place in without if norms[place] == 0]
                    if not any(is_kernel(trained[place]) for place in without):
                        return HeldBack()
        held = [trained[place] for place in without]
        still = _layers_of([seen[id(weight)] for weight in held])
        used = [weight for weight in held if is_kernel(weight) and _is_used(weight, changes, of)]
        cut_off = [layer for layer in still if _has_any(layer, used)]
        learning = [layer for layer in layers if layer.learns]
        stopped, fed = _behind(cut_off, learning, of)
        others_held = [layer for layer in still if layer not in cut_off]
        leading = _leading(others_held, of)
    idle = []
    for layer in others_held:
        if layer in leading or _is_not_chosen(layer, learning):
            idle.append(layer)
    inside: set[int] = set()
    for part in list_sublayers(of.model):
        if isinstance(part, keras.Model):
            inside.update(id(weight) for weight in part.weights)
    return HeldBack(
        cut_off=cut_off,
        stopped=stopped,
        fed=fed,
        idle=idle,
        unused=[layer for layer in others_held if layer not in idle],
        inside=[layer for layer in still if _has_any_id(layer, inside)],
        learning=learning,
    )


@fact
def idle_alone_read(of: Diagnosis) -> bool:
    """Whether nothing reads the inputs but idle layers: the outputs are the same for all examples.

    An addition, or a layer of a module inside, may read them too.
    """
    idle, layers, differ = held_back(of).idle, seen_layers(of), last_differences(of)
    if not idle or not all(layer in idle for layer in layers if layer.is_first):
        return False
    return not any(differ.get(layer.layer, 0.0) > 0 for layer in layers if layer.makes_output)


def _layers_of(held: Sequence[SeenWeight]) -> list[SeenLayer]:
    """Return the layers with a kernel of which all weights that are trained are held back."""
    found = []
    for layer in dict.fromkeys(weight.layer for weight in held if is_kernel(weight.own.variable)):
        trained = [one for one in layer.weights if one.report.gradient is not None]
        if all(one in held for one in trained):
            found.append(layer)
    return found


def _has_any(layer: SeenLayer, variables: Collection[keras.Variable]) -> bool:
    return _has_any_id(layer, {id(variable) for variable in variables})


def _has_any_id(layer: SeenLayer, ids: Collection[int]) -> bool:
    return any(id(weight.own.variable) in ids for weight in layer.weights)


def _is_used(weight: keras.Variable, changes: Sequence[Change], of: Diagnosis) -> bool:
    """Return whether the loss is another one with a weight changed, and no other."""
    before = of.inference_loss()
    for change in changes:
        with changed_weight(weight, change):
            after = of.inference_loss()
        if not abs(after - before) <= _ROUNDING * abs(before):
            return True
    return False


def _leading(layers: Sequence[SeenLayer], of: Diagnosis) -> list[SeenLayer]:
    """Return the layers of which the loss is computed, also where that is multiplied by 0."""
    variables = []
    for layer in layers:
        variables += [one.own.variable for one in layer.weights if one.report.gradient is not None]
    if not variables:
        return []
    values = of.gradient_values(variables)
    pairs = zip(variables, values, strict=True)
    leading = {id(variable) for variable, gradient in pairs if gradient is not None}
    return [layer for layer in layers if _has_any_id(layer, leading)]


def _is_not_chosen(layer: SeenLayer, learning: Sequence[SeenLayer]) -> bool:
    """Return whether a layer is not called, but one that stands beside it and is alike learns.

    So it is with experts, of which a batch may call some.
    """
    if layer.shape is not None:
        return False
    for other in learning:
        pairs = list(zip(layer.path.split("/"), other.path.split("/"), strict=False))
        differing = sum(one != another for one, another in pairs)
        is_beside = layer.path.count("/") == other.path.count("/") and differing == 1
        if is_beside and _form_of(layer) == _form_of(other):
            return True
    return False


def _form_of(layer: SeenLayer) -> object:
    return layer.kind, tuple(weight.report.shape for weight in layer.weights)


# ---------------------------------------------------------------- what is behind


def _behind(
    cut_off: Sequence[SeenLayer], learning: Sequence[SeenLayer], of: Diagnosis
) -> tuple[list[SeenLayer], list[SeenLayer]]:
    """Return which layers `keras.ops.stop_gradient` is behind, and which learn of their outputs.

    These are the ones that get something else where the weights of `cut_off` are other ones.
    """
    if not cut_off:
        return [], []
    before, stops = _inputs_of(learning, of)
    with contextlib.ExitStack() as stack:
        for layer in cut_off:
            for weight in layer.weights:
                if weight.report.gradient is not None:
                    stack.enter_context(changed_weight(weight.own.variable, _redrawn(0)))
        after, _ = _inputs_of(learning, of)
    fed = [layer for layer in learning if before.get(layer.layer) != after.get(layer.layer)]
    return [layer for layer in cut_off if layer.layer in stops], fed


def _inputs_of(
    layers: Sequence[SeenLayer], of: Diagnosis
) -> tuple[dict[keras.Layer, list[int]], set[keras.Layer]]:
    """Return checksums of what some layers get, and the layers before each `stop_gradient`."""
    watch = Watch(of.inventory)
    recorder = _InputRecorder(watch, {layer.layer for layer in layers})
    watch.observe(of.x, recorder, training=False)
    return recorder.inputs, recorder.stopped


class _InputRecorder(Watcher):
    """Records what some layers get, and whose outputs `keras.ops.stop_gradient` gets.

    Attributes:
        inputs: Dict from each of the layers to a checksum for each of its calls.
        stopped: The layers that make what `stop_gradient` gets.
    """

    def __init__(self, watch: Watch, layers: Collection[keras.Layer]) -> None:
        self.inputs: dict[keras.Layer, list[int]] = {}
        self.stopped: set[keras.Layer] = set()
        self._watch = watch
        self._layers = layers

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.get_ident()
        function = keras.ops.stop_gradient

        def watched(variable: Tensor) -> Tensor:
            if threading.get_ident() == thread:
                self._see(variable)
            return function(variable)

        with replace_attribute(keras.ops, "stop_gradient", watched):
            yield

    def before(self, call: Call) -> None:
        # The operation of a functional model.
        if type(call.operation).__name__ == "StopGradient" and call.inputs:
            self._see(call.inputs[0])
        values = first_float(call.arguments)
        if call.operation in self._layers and values is not None:
            checksum = zlib.crc32(np.ascontiguousarray(to_array(values)).data)
            self.inputs.setdefault(call.operation, []).append(checksum)

    def _see(self, tensor: Any) -> None:
        origin = self._watch.graph.origin(tensor)
        if origin is not None:
            self.stopped.add(origin)


# ---------------------------------------------------------------- zeros


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
                stack.enter_context(changed_weight(trained[place], opened_zeros))
            moving = with_gradient(least=0)
            held = [place for place in held if place not in moving]
            if not moving:
                break
        for place in held:
            stack.enter_context(changed_weight(trained[place], opened_zeros))
        found = [trained[place] for place in with_gradient(least=_ROUNDING)]
    return frozenset(seen_weights(of)[id(weight)] for weight in found)


# ---------------------------------------------------------------- other values


@contextlib.contextmanager
def changed_weight(weight: keras.Variable, change: Change) -> Iterator[None]:
    """Change the values of `weight` for the duration of the block."""

    def changed(region: object, values: Array) -> Array:
        return np.asarray(change(values), values.dtype)

    with preserve_variables([weight]):
        weight.assign(backend.changed_in_parts(weight.value, changed))
        yield


def opened_zeros(values: Array) -> Array:
    """Return small random numbers in the place of zeros."""
    size = math.sqrt(max(math.prod(values.shape[:-1]), 1))
    numbers: Array = np.random.default_rng(0).normal(size=values.shape) / size
    return numbers


def _turned(values: Array) -> Array:
    """Return values that bring units back from limits, and from 0."""
    return -values / 8


def _redrawn(seed: int) -> Change:
    """Return a change to other signs and sizes.

    If all weights are turned, two odd layers, one after the other, give what they gave.
    """

    def redrawn(values: Array) -> Array:
        entropy = (seed, zlib.crc32(np.ascontiguousarray(values).tobytes()))
        factors: Array = np.random.default_rng(entropy).normal(size=values.shape) / 4
        return values * factors

    return redrawn
