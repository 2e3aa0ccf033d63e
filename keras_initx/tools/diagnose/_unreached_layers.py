"""Layers that get no gradient with any values of weights, and zeros that block gradients.

- *Cut off*: the loss depends on the layer, but no gradient passes, for example because of
  `stop_gradient`.
- *Idle*: the loss is computed from the layer, but multiplies its output by 0 or selects another.
- *Unused*: the model drops the output.
- *Blocked by zeros*: two factors of a product are 0, so that neither gets a gradient.

The first three words are for a single kernel, too, if other weights of its layer get a gradient.
"""

import contextlib
import math
import re
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
from keras_initx.inspection._training import has_own_train_step
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.tools.diagnose._dead_ends import closed_activations, open_activations
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._kernel_inputs import last_kernel_differences
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    MeasuredWeight,
    list_weights,
    measured_layers,
    measured_weights,
)
from keras_initx.tools.diagnose.losses.probes import gradient_norms

# Takes the values of a weight, and returns others.
Change: TypeAlias = Callable[[Array], Array]

# Relative difference of two losses, or relative size of a gradient, that may be rounding.
_ROUNDING = 1e-6
# How often other weights are drawn in the place of those without a gradient.
_DRAWS = 3
# Weights that are added, which are zeros at the start.
OFFSETS = ("beta", "bias")
# By how much a few steps may move a weight, relative to the size of usual weights of its shape.
_STEP = 0.01
# The name of the kernels that multiply the state of the step before.
_RECURRENT = "recurrent_kernel"


@dataclass(frozen=True)
class UnreachedKernels:
    """Kernels that get no gradient, whatever values weights have, in layers that learn otherwise.

    Attributes:
        cut_off: The kernels that the loss depends on.
        stopped: The kernels of `cut_off` that get a gradient without `keras.ops.stop_gradient`.
        idle: The kernels that the loss is computed from without an effect, or would be for other
            examples.
        unused: All others: their layers do not use them, or drop what they give.
    """

    cut_off: list[MeasuredWeight] = field(default_factory=list)
    stopped: list[MeasuredWeight] = field(default_factory=list)
    idle: list[MeasuredWeight] = field(default_factory=list)
    unused: list[MeasuredWeight] = field(default_factory=list)


@dataclass(frozen=True)
class UnreachedLayers:
    """The layers whose weights get no gradient, whatever their values are.

    Attributes:
        cut_off: The unreached layers that the loss depends on.
        stopped: The layers of `cut_off` whose outputs `keras.ops.stop_gradient` gets.
        learning: The layers that learn.
        fed: The layers of `learning` that get outputs of `cut_off`.
        idle: The unreached layers that the loss is computed from, or would be for other examples,
            without an effect of their weights. The loss multiplies their outputs by 0, or selects
            other ones.
        unused: All other unreached layers: their outputs are dropped.
        inside: The unreached layers that belong to a model inside the model.
        kernels: The unreached kernels of all other layers.
    """

    cut_off: list[MeasuredLayer] = field(default_factory=list)
    stopped: list[MeasuredLayer] = field(default_factory=list)
    learning: list[MeasuredLayer] = field(default_factory=list)
    fed: list[MeasuredLayer] = field(default_factory=list)
    idle: list[MeasuredLayer] = field(default_factory=list)
    unused: list[MeasuredLayer] = field(default_factory=list)
    inside: list[MeasuredLayer] = field(default_factory=list)
    kernels: UnreachedKernels = field(default_factory=UnreachedKernels)

    @property
    def layers(self) -> list[MeasuredLayer]:
        """All unreached layers."""
        return [*self.cut_off, *self.idle, *self.unused]

    @property
    def is_apart(self) -> bool:
        """Whether cut-off layers have their own path to the loss, such as a target network."""
        forms = set(map(_describe_form, self.learning))
        are_copies = forms.issuperset(map(_describe_form, self.cut_off))
        return bool(forms) and not self.fed and (bool(self.stopped) or are_copies)


@fact
def unreached_layers(diagnosis: Diagnosis) -> UnreachedLayers:
    """The layers and kernels that get no gradient with other values either.

    A gradient may be 0 because of values: zeros at the start, for example at the end of a branch,
    activations at their limits, or a branch that is dropped in this step. So it is computed again
    with zeros replaced, activations opened, and in inference mode. If it was 0, it is also computed
    several times with other weights, and after a small step of all weights. All weights are
    restored.
    """
    trained, norms = diagnosis.trained, list(gradient_norms(diagnosis).values())
    start_zero = [index for index, norm in enumerate(norms) if norm == 0]
    still_zero = list(start_zero)
    has_kernel = any(is_kernel(trained[index]) for index in start_zero)
    # A `train_step` of one's own may train by something else than the loss.
    if not has_kernel or has_own_train_step(diagnosis.model):
        return UnreachedLayers()
    closed = closed_activations(diagnosis)
    weights, layers = measured_weights(diagnosis), measured_layers(diagnosis)
    changes: list[Change] = [_flip_and_shrink, *map(_make_redraw, range(_DRAWS))]
    # First with the weights as they are. The last attempt frees what waits for an offset, or for a
    # part of another kernel that is 0.
    attempts: list[list[tuple[int, Change]]] = [[]]
    attempts += [[(index, change) for index in start_zero] for change in changes]
    attempts.append([(index, _take_small_step) for index in range(len(trained))])
    with diagnosis.changed(), contextlib.ExitStack() as stack:
        for variable in trained:
            if variable.name not in OFFSETS and not backend.has_nonzero(variable.value):
                stack.enter_context(change_weight(variable, draw_small))
        stack.enter_context(open_activations(closed, diagnosis))
        for attempt in attempts:
            with contextlib.ExitStack() as changed_weights:
                for index, change in attempt:
                    changed_weights.enter_context(change_weight(trained[index], change))
                for training in (True, False):
                    norms = diagnosis.norms(training)
                    still_zero = [index for index in still_zero if norms[index] == 0]
                    if not any(is_kernel(trained[index]) for index in still_zero):
                        return UnreachedLayers()
        without_gradient = [weights[id(trained[index])] for index in still_zero]
        unreached = _select_unreached(without_gradient)
        used = set()
        for weight in without_gradient:
            variable = weight.own.variable
            if is_kernel(variable) and _is_used(variable, changes, diagnosis):
                used.add(id(variable))
        cut_off = [layer for layer in unreached if _has_any(layer, used)]
        learning = [layer for layer in layers if layer.learns]
        stopped, fed = _trace_outputs(cut_off, learning, diagnosis)
        without_effect = [layer for layer in unreached if layer not in cut_off]
        connected = _find_connected(list_weights(without_effect), diagnosis)
        kernels = [
            weight
            for weight in without_gradient
            if is_kernel(weight.own.variable) and weight.layer not in unreached
        ]
        unreached_kernels = _sort_kernels(kernels, used, diagnosis)
    idle = []
    for layer in without_effect:
        if _has_any(layer, connected) or _is_not_selected(layer, learning):
            idle.append(layer)
    inside: set[int] = set()
    for sublayer in list_sublayers(diagnosis.model):
        if isinstance(sublayer, keras.Model):
            inside.update(id(variable) for variable in sublayer.weights)
    return UnreachedLayers(
        cut_off=cut_off,
        stopped=stopped,
        fed=fed,
        idle=idle,
        unused=[layer for layer in without_effect if layer not in idle],
        inside=[layer for layer in unreached if _has_any(layer, inside)],
        learning=learning,
        kernels=unreached_kernels,
    )


@fact
def only_idle_layers_read(diagnosis: Diagnosis) -> bool:
    """Whether only idle layers read the inputs, so that outputs are the same for all examples.

    An addition, or a layer of a module inside, may read them too.
    """
    idle, layers = unreached_layers(diagnosis).idle, measured_layers(diagnosis)
    if not idle or not all(layer in idle for layer in layers if layer.is_first):
        return False
    differences = last_kernel_differences(diagnosis)
    ends = [layer.layer for layer in layers if layer.makes_output]
    return not any(differences.get(end, 0.0) > 0 for end in ends)


def _select_unreached(without_gradient: Sequence[MeasuredWeight]) -> list[MeasuredLayer]:
    # A layer counts if it has a kernel, and none of its trained weights gets a gradient.
    kernels = [weight for weight in without_gradient if is_kernel(weight.own.variable)]
    layers = []
    for layer in dict.fromkeys(kernel.layer for kernel in kernels):
        trained = [weight for weight in layer.weights if weight.report.gradient is not None]
        if all(weight in without_gradient for weight in trained):
            layers.append(layer)
    return layers


def _has_any(layer: MeasuredLayer, ids: Collection[int]) -> bool:
    return any(id(weight.own.variable) in ids for weight in layer.weights)


def _is_used(variable: keras.Variable, changes: Sequence[Change], diagnosis: Diagnosis) -> bool:
    # Whether the loss changes if this weight changes, and no other.
    before = diagnosis.inference_loss()
    for change in changes:
        with change_weight(variable, change):
            after = diagnosis.inference_loss()
        if not abs(after - before) <= _ROUNDING * abs(before):  # true for NaN
            return True
    return False


def _find_connected(weights: Sequence[MeasuredWeight], diagnosis: Diagnosis) -> set[int]:
    """Return the ids of the trained weights that the loss is computed from, even times 0."""
    variables = []
    for weight in weights:
        if weight.report.gradient is not None:
            variables.append(weight.own.variable)
    if not variables:
        return set()
    # A gradient is `None`, not 0, if the loss is not computed from a weight.
    gradient_pairs = zip(variables, diagnosis.gradient_values(variables), strict=True)
    return {id(variable) for variable, gradient in gradient_pairs if gradient is not None}


def _sort_kernels(
    kernels: Sequence[MeasuredWeight], used: Collection[int], diagnosis: Diagnosis
) -> UnreachedKernels:
    """Sort kernels without a gradient by the reason, see `UnreachedKernels`.

    Args:
        kernels: The kernels.
        used: The ids of the weights that the loss depends on.
        diagnosis: The diagnosis.
    """
    cut_off, without_effect = [], []
    for kernel in kernels:
        if id(kernel.own.variable) not in used:
            without_effect.append(kernel)
        elif not _is_target(kernel):
            cut_off.append(kernel)
    connected = _find_connected(without_effect, diagnosis)
    idle, unused = [], []
    for kernel in without_effect:
        if kernel.name == _RECURRENT and id(kernel.own.variable) in connected:
            # Of a single time step: it multiplies the first state, which is 0.
            continue
        if id(kernel.own.variable) in connected or _is_other_expert(kernel):
            idle.append(kernel)
        else:
            unused.append(kernel)
    return UnreachedKernels(cut_off, _select_stopped(cut_off, diagnosis), idle, unused)


def _list_learning_copies(kernel: MeasuredWeight) -> list[MeasuredWeight]:
    """Return the weights of the same layer and shape that learn."""
    copies = []
    for other in kernel.layer.weights:
        if other.report.gradient and other.report.shape == kernel.report.shape:
            copies.append(other)
    return copies


def _is_target(kernel: MeasuredWeight) -> bool:
    # The weights of a target network start as those of the network that learns.
    copies = _list_learning_copies(kernel)
    return any(np.array_equal(other.values, kernel.values) for other in copies)


def _is_other_expert(kernel: MeasuredWeight) -> bool:
    """Return whether a weight learns whose path differs in a number, such as `expert_2/kernel`."""
    paths = {_drop_digits(other.own.shown) for other in _list_learning_copies(kernel)}
    return _drop_digits(kernel.own.shown) in paths


def _drop_digits(path: str) -> str:
    return re.sub(r"\d+", "", path)


def _select_stopped(
    kernels: Sequence[MeasuredWeight], diagnosis: Diagnosis
) -> list[MeasuredWeight]:
    """Return the kernels that get a gradient if `keras.ops.stop_gradient` passes all on."""
    if not kernels:
        return []
    variables = [kernel.own.variable for kernel in kernels]
    with replace_attribute(keras.ops, "stop_gradient", lambda tensor: tensor):
        gradients = diagnosis.gradient_values(variables)
    stopped = []
    for kernel, gradient in zip(kernels, gradients, strict=True):
        if gradient is not None and gradient.any():
            stopped.append(kernel)
    return stopped


def _is_not_selected(layer: MeasuredLayer, learning: Sequence[MeasuredLayer]) -> bool:
    """Return whether a layer was not called, but a sibling of the same form learns.

    The experts of a mixture are such siblings: a batch may call only some of them. Siblings have
    paths that differ in one part: `moe/expert_1/dense` and `moe/expert_2/dense`.
    """
    if layer.shape is not None:  # it was called
        return False
    for other in learning:
        names = zip(layer.path.split("/"), other.path.split("/"), strict=False)
        differing = sum(name != other_name for name, other_name in names)
        is_sibling = layer.path.count("/") == other.path.count("/") and differing == 1
        if is_sibling and _describe_form(layer) == _describe_form(other):
            return True
    return False


def _describe_form(layer: MeasuredLayer) -> object:
    return layer.kind, tuple(weight.report.shape for weight in layer.weights)


# ---------------------------------------------------------------- what gets the outputs


def _trace_outputs(
    cut_off: Sequence[MeasuredLayer], learning: Sequence[MeasuredLayer], diagnosis: Diagnosis
) -> tuple[list[MeasuredLayer], list[MeasuredLayer]]:
    """Return the cut-off layers before a `stop_gradient`, and the layers that learn from them.

    The latter get other inputs if the weights of `cut_off` change.
    """
    if not cut_off:
        return [], []
    before = _record_inputs(learning, diagnosis)
    with contextlib.ExitStack() as stack:
        for layer in cut_off:
            for weight in layer.weights:
                if weight.report.gradient is not None:
                    stack.enter_context(change_weight(weight.own.variable, _make_redraw(0)))
        after = _record_inputs(learning, diagnosis)
    fed = []
    for layer in learning:
        if before.checksums.get(layer.layer) != after.checksums.get(layer.layer):
            fed.append(layer)
    return [layer for layer in cut_off if layer.layer in before.stopped], fed


def _record_inputs(layers: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> "_InputRecorder":
    watch = Watch(diagnosis.inventory)
    recorder = _InputRecorder(watch, {layer.layer for layer in layers})
    watch.observe(diagnosis.x, recorder, training=False)
    return recorder


class _InputRecorder(Watcher):
    """Records the inputs of some layers, and the layers before `keras.ops.stop_gradient`.

    Attributes:
        checksums: Dict from each of the layers to a checksum of its inputs for each call.
        stopped: The layers whose outputs `stop_gradient` gets.
    """

    def __init__(self, watch: Watch, layers: Collection[keras.Layer]) -> None:
        self.checksums: dict[keras.Layer, list[int]] = {}
        self.stopped: set[keras.Layer] = set()
        self._watch = watch
        self._layers = layers

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.get_ident()
        function = keras.ops.stop_gradient

        def watched(tensor: Tensor) -> Tensor:
            if threading.get_ident() == thread:
                self._note_stopped(tensor)
            return function(tensor)

        with replace_attribute(keras.ops, "stop_gradient", watched):
            yield

    def before(self, call: Call) -> None:
        # The operation of a functional model.
        if type(call.operation).__name__ == "StopGradient" and call.inputs:
            self._note_stopped(call.inputs[0])
        values = first_float(call.arguments)
        if call.operation in self._layers and values is not None:
            checksum = zlib.crc32(np.ascontiguousarray(to_array(values)).data)
            self.checksums.setdefault(call.operation, []).append(checksum)

    def _note_stopped(self, tensor: Any) -> None:
        origin = self._watch.graph.origin(tensor)
        if origin is not None:
            self.stopped.add(origin)


# ---------------------------------------------------------------- zeros


@fact
def weights_blocked_by_zeros(diagnosis: Diagnosis) -> frozenset[MeasuredWeight]:
    """The weights of zeros that get no gradient because of each other, so that all stay 0.

    The gradient of a product is 0 for both factors if both are 0. If one factor is 0, this factor
    gets a gradient, and the other one does once this factor has changed. So zeros with a gradient
    are replaced by other numbers, until no further weight gets a gradient. Then all other zeros are
    replaced. A weight that has a gradient now was blocked by zeros. A weight without a gradient has
    another problem. All weights are restored.
    """
    trained, norms = diagnosis.trained, list(gradient_norms(diagnosis).values())
    moving: list[int] = []
    blocked: list[int] = []
    for index, norm in enumerate(norms):
        variable = trained[index]
        if variable.name not in OFFSETS and not backend.has_nonzero(variable.value):
            (blocked if norm == 0 else moving).append(index)
    # A `train_step` of one's own may train by something else than the loss.
    if not blocked or has_own_train_step(diagnosis.model):
        return frozenset()

    def select_reached(least: float) -> list[int]:
        # A gradient counts in training or in inference mode, relative to the largest of that mode.
        modes = [diagnosis.norms(training) for training in (True, False)]
        return [
            index for index in blocked if any(norms[index] > least * max(norms) for norms in modes)
        ]

    with diagnosis.changed(), contextlib.ExitStack() as stack:
        while True:
            for index in moving:
                stack.enter_context(change_weight(trained[index], draw_small))
            moving = select_reached(least=0)
            blocked = [index for index in blocked if index not in moving]
            if not moving:
                break
        for index in blocked:
            stack.enter_context(change_weight(trained[index], draw_small))
        released = [trained[index] for index in select_reached(least=_ROUNDING)]
    return frozenset(measured_weights(diagnosis)[id(variable)] for variable in released)


# ---------------------------------------------------------------- other values


@contextlib.contextmanager
def change_weight(variable: keras.Variable, change: Change) -> Iterator[None]:
    """Change the values of a weight for the duration of the block."""

    def change_region(region: object, values: Array) -> Array:
        return np.asarray(change(values), values.dtype)

    with preserve_variables([variable]):
        variable.assign(backend.changed_in_parts(variable.value, change_region))
        yield


def draw_small(values: Array) -> Array:
    """Return random numbers of the shape of `values`, whose deviation is one over sqrt(fan-in)."""
    root_of_fan_in = math.sqrt(max(math.prod(values.shape[:-1]), 1))
    numbers: Array = np.random.default_rng(0).normal(size=values.shape) / root_of_fan_in
    return numbers


def _flip_and_shrink(values: Array) -> Array:
    # Brings units back from limits, and from 0.
    return -values / 8


def _take_small_step(values: Array) -> Array:
    """Return `values`, each a little changed."""
    if not values.size:
        return values
    size = max(float(values.std()), float(draw_small(values).std()))
    entropy = zlib.crc32(np.ascontiguousarray(values).tobytes())
    numbers = np.random.default_rng(entropy).normal(size=values.shape)
    changed: Array = values + _STEP * size * numbers
    return changed


def _make_redraw(seed: int) -> Change:
    """Return a change to other signs and sizes.

    If the signs of all weights are flipped, two odd layers, one after the other, have the same
    outputs as before. So `_flip_and_shrink` alone does not suffice.
    """

    def redraw(values: Array) -> Array:
        entropy = (seed, zlib.crc32(np.ascontiguousarray(values).tobytes()))
        factors: Array = np.random.default_rng(entropy).normal(size=values.shape) / 4
        return values * factors

    return redraw
