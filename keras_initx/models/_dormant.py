"""Reset the units of a trained model that do nothing."""

import functools
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._checks import check_count, check_flag, check_not_negative, check_type
from keras_initx._seeds import root_seed
from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.models._assign import undone_after_error
from keras_initx.models._changes import Change, Changes
from keras_initx.models._forward import kernels_of
from keras_initx.models._initial_state import Slot, slots
from keras_initx.models._initialize import Step, draw, planned
from keras_initx.models._rules import RulesOrRecipe, rules_for
from keras_initx.rendering import counted
from keras_initx.structure import (
    CONVOLUTIONS,
    TRANSPOSED,
    Call,
    Data,
    ForwardGraph,
    Probe,
    Watch,
    activation_of,
    array_of,
    batch_of,
    check_finite,
    check_model,
    ensure_built,
    find_weights,
    first_examples,
    first_float,
    kernel_axes,
    named_layers,
    own_weights,
    parts_of,
    tensors_in,
)

__all__ = ["reset_dormant"]


def reset_dormant(
    model: keras.Model,
    x: Data,
    rules: RulesOrRecipe | None = None,
    *,
    threshold: float = 0.1,
    seed: int | None = None,
    batch_size: int = 1024,
    reset: bool = True,
    atomic: bool = True,
    dry_run: bool = False,
) -> Changes:
    """Reset the units of a trained model that contribute next to nothing, in place.

    This recycles dormant units (ReDo). The score of a unit is the mean absolute value of its output
    on a batch, divided by the mean of these over the units of its layer. A unit with a score of at
    most `threshold` is dormant, such as a ReLU that is 0 for all examples. Its kernel and bias get
    the values that `initialize` with the same `rules` and `seed` gives, and the weights by which
    the next layers multiply its output become 0. So the outputs of the model change by no more than
    what dormant units contributed: with a threshold of 0, not at all. The moments of all these
    weights in the optimizer start anew.

    Layers are dense layers and convolutions, and einsum layers with matrices as kernels, whose
    outputs reach the kernels of others, through nothing but activations, dropout, pooling,
    flattening and batch normalization, which is reset with its units. Outputs are measured as the
    next kernel receives them, without dropout. All other layers are left: those whose output is
    added to another, is that of the model, or goes elsewhere in training, recurrent, quantized,
    frozen layers, and convolutions in groups or with channels first. So are layers with an
    activation that mixes units, such as softmax, or that is not one of Keras' functions, and
    subclasses with a `call` of their own, which may mix them too. In the `call` of a subclassed
    model, only what layers do is seen: a layer whose output is used there by an operation as well
    must not be there.

    The same seed gives the same values on every backend. Which units are dormant is measured, and
    a unit at the threshold may differ. Only a share of each weight changes, and compiled functions
    stay valid.

    Args:
        model: A built model.
        x: Inputs of `model`, or a batch or dataset with them, see `diagnose`.
        rules: See `initialize`, without plans.
        threshold: The largest score of a dormant unit, a number from 0. The paper has 0.1 for most
            of its experiments.
        seed: See `initialize`.
        batch_size: Number of examples to use, taken from the start of `x`.
        reset: Whether to reset the moments of the changed weights. The step count of the optimizer
            is kept, so with Adam's defaults the first step of a changed weight is up to 3.2 times
            as large as that of a new optimizer.
        atomic: See `initialize`.
        dry_run: If true, only measure and do not change the model.

    Returns:
        `Changes` with a row for each layer that has a kernel: `size` is the number of its units,
        and `changed` that of the dormant ones. `share` is the share of these in all layers that
        are not left.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `threshold` is negative, `x` has no examples, does not fit to the inputs of
            `model` or is not finite, or as `initialize`; or if
            `reset` is true and the optimizer keeps anything but variables of the shapes of the
            weights, as Adafactor does.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(8, "relu", name="hidden"),
        ...     keras.layers.Dense(2, name="logits"),
        ... ])
        >>> bias = model.layers[0].bias.assign([-100] * 6 + [0] * 2)
        >>> x = keras.random.normal((64, 4), seed=0)
        >>> changes = reset_dormant(model, x, threshold=0, seed=0)
        >>> changes
        <Changes: 75.0% of the units of 2 layers reset, 1 left, seed 0>
        >>> bool(model.layers[0].bias.numpy().any())
        False

    Reference:
        Sokar, Agarwal, Castro and Evci, "The dormant neuron phenomenon in deep reinforcement
        learning", ICML 2023.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_count("batch_size", batch_size)
    check_not_negative("threshold", threshold)
    check_flag("reset", reset)
    check_flag("atomic", atomic)
    check_flag("dry_run", dry_run)
    root = root_seed(seed)
    x = first_examples(batch_of(model, x).x, batch_size)
    ensure_built(model, x)
    check_model("model", model)
    given = rules_for(model, rules)
    steps = {id(step.weight.variable): step for step in planned(model, given, root)}
    if reset:
        slots(model)  # for its errors, before anything is changed
    flow = _recorded(model, x, training=False)
    if not all(np.isfinite(sizes).all() for sizes in flow.received.values()):
        check_finite(x)
    in_training = _recorded(model, x, training=True)
    paths: dict[keras.layers.Layer, str] = {}
    for weight in find_weights(model):
        paths.update(zip(weight.layers, weight.layer_paths, strict=True))
    rows = []
    fresh = _Masks()
    zeroed = _Masks()
    for layer, name in named_layers(model).items():
        if kernels_of(layer) is None:
            continue
        path = paths.get(layer, name)  # a layer with no weights but those of another has none
        try:
            found = _units_of(flow, layer, steps)
            _check_no_other_use(in_training, layer, found)
        except _LeftError as left:
            rows.append(Change(path, "left", str(left)))
            continue
        is_dormant = found.output <= threshold * found.output.mean()
        rows.append(
            Change(
                path,
                "reset" if is_dormant.any() else "active",
                size=len(found.output),
                changed=int(is_dormant.sum()),
            )
        )
        for variable, axis in found.own:
            fresh.add(variable, axis, is_dormant)
        for variable, axis in found.outgoing:
            zeroed.add(variable, axis, is_dormant)
    if not dry_run:
        drawn_root = root if seed is None else None
        with undone_after_error(atomic) as assign:
            _assign_weights(assign, fresh, zeroed, steps, drawn_root)
            if reset:
                _assign_slots(assign, fresh, zeroed, slots(model))
    changes = Changes(rows, "", seed=root, dry_run=dry_run)
    would = "to be reset" if dry_run else "reset"
    summary = f"{changes.share:.1%} of the units of {counted(len(rows), 'layer')} {would}"
    return replace(changes, summary=f"{summary}, {len(changes.left)} left, seed {root}.")


# Assigns a value to a variable.
_Assign: TypeAlias = Callable[[keras.Variable, Tensor], None]


class _Masks(dict[int, tuple[keras.Variable, Array]]):
    """The weights of which a part changes, by id, each with a mask that is true there."""

    def add(self, variable: keras.Variable, axis: int, is_dormant: Array) -> None:
        """Add the entries of dormant units along `axis`.

        The axis may hold the units several times, one after another.
        """
        if not is_dormant.any():
            return
        shape = [1] * len(variable.shape)
        shape[axis] = variable.shape[axis]
        mask = np.resize(is_dormant, shape[axis]).reshape(shape)
        self[id(variable)] = variable, mask


def _assign_weights(
    assign: _Assign,
    fresh: _Masks,
    zeroed: _Masks,
    steps: dict[int, Step],
    drawn_root: int | None,
) -> None:
    """Draw the weights of `fresh` where their masks are true, and set those of `zeroed` to 0."""
    for key, (variable, mask) in fresh.items():
        weight, source, row = steps[key]
        assert source is not None  # or its layer is left
        value, _ = draw(weight, source.initializer, row, drawn_root)
        value = keras.ops.where(mask, value, variable.value)
        assign(variable, value)
        del value  # which the next one would come beside
    for variable, mask in zeroed.values():
        assign(variable, keras.ops.where(mask, 0, variable.value))


def _assign_slots(
    assign: _Assign, fresh: _Masks, zeroed: _Masks, optimizer_slots: Sequence[Slot]
) -> None:
    """Start the slots of the optimizer anew where the masks of their weights are true."""
    for slot in optimizer_slots:
        for masks in (fresh, zeroed):
            if id(slot.weight) in masks:
                _, mask = masks[id(slot.weight)]
                assign(slot.variable, keras.ops.where(mask, slot.start, slot.variable.value))


# Layers that multiply their inputs by a kernel, and do nothing else with them.
_MULTIPLYING = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.RNN,
    *CONVOLUTIONS,
    *TRANSPOSED,
)
# Cells that use their inputs for nothing but the product with their kernel.
_CELLS = (keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell)
_POOLINGS = tuple(
    getattr(keras.layers, f"{kind}Pooling{axes}D")
    for kind in ("Average", "GlobalAverage", "GlobalMax", "Max")
    for axes in (1, 2, 3)
)
# Layers that treat each unit by itself. Flattening puts the units of all positions side by side.
_UNITWISE = (
    keras.layers.Activation,
    keras.layers.AlphaDropout,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.Flatten,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    *_POOLINGS,
)
# Keras' activations that treat each unit by itself, as functions of `keras.activations` or
# `keras.ops`. Of another function, only its author knows.
_UNITWISE_ACTIVATIONS = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "squareplus",
    "tanh",
    "tanh_shrink",
    "threshold",
)
# Those that mix units.
_MIXING_ACTIVATIONS = ("glu", "log_softmax", "softmax", "sparsemax")


class _Received(Probe):
    """Measures what each kernel receives.

    Args:
        watch: The watch of the pass.

    Attributes:
        sizes: Dict from a layer to the mean absolute value of each of its inputs, summed over its
            calls.
        inputs: The number of inputs that each layer gets in all its calls.
    """

    def __init__(self, watch: Watch) -> None:
        self.sizes: dict[keras.Layer, Array] = {}
        self.inputs: Counter[keras.Layer] = Counter()
        self._with_kernel = watch.with_kernel

    def before(self, call: Call) -> None:
        """Add the inputs of a kernel."""
        layer = call.operation
        if layer not in self._with_kernel:
            return
        # Without masks.
        self.inputs[layer] += sum(first_float(tensor) is not None for tensor in call.inputs)
        tensor = call.kernel_input
        if tensor is not None and len(tensor.shape):
            values = abs(array_of(tensor))
            values = values.reshape(-1, values.shape[-1]).mean(axis=0, dtype="float64")
            self.sizes[layer] = values + self.sizes.get(layer, 0.0)


class _Flow(NamedTuple):
    """A forward pass: its graph, and what its kernels received."""

    layers: Mapping[keras.Layer, str]
    graph: ForwardGraph
    received: Mapping[keras.Layer, Array]
    inputs: Mapping[keras.Layer, int]


def _recorded(model: keras.Model, x: Data, *, training: bool) -> _Flow:
    """Return the record of a forward pass that changes nothing."""
    watch = Watch(model)
    received = _Received(watch)
    with watch.watching(received), backend.preserve_state([model, *parts_of(model)]):
        watch.graph.add_consumer(model, tensors_in(model(x, training=training)))
    return _Flow(watch.layers, watch.graph, received.sizes, received.inputs)


class _LeftError(Exception):
    """Says why a layer is left."""


_OWN_CALL = "its `call` is not Keras' own"
_MIXES = "its activation mixes units"
_OTHER_AXIS = "its units are not along the last axis"


# A weight and its axis of units.
_Place: TypeAlias = tuple[keras.Variable, int]


class _Units(NamedTuple):
    """The units of a layer.

    Attributes:
        own: The weights that make their outputs.
        outgoing: The weights by which the next layers multiply their outputs.
        output: The mean absolute output of each unit.
        layers: The layer, those through which its outputs pass, and the next ones.
    """

    own: list[_Place]
    outgoing: list[_Place]
    output: Array
    layers: list[keras.Operation]


def _units_of(flow: _Flow, layer: keras.layers.Layer, steps: dict[int, Step]) -> _Units:
    """Return the units of `layer`, or raise `_LeftError`."""
    kernel, _, axis = _kernel(layer)
    obstacle = _activation_obstacle(layer)
    if obstacle:
        raise _LeftError(obstacle)
    units = kernel.shape[axis]
    passed, users = _reached(flow, layer)
    outgoing = []
    output = np.zeros(units)
    for user in users:
        place = _outgoing(flow, user, units)
        outgoing.append(place)
        output += flow.received[user].reshape(-1, units).mean(axis=0)
    if not np.isfinite(output).all():
        raise _LeftError("its output is not finite")
    own = [(kernel, axis)]
    for part in passed:
        own += _vectors(part, kernel)
    for weight, unit_axis in own:
        step = steps[id(weight)]
        if step.source is None:
            raise _LeftError(step.row.reason)
        if weight.shape[unit_axis : unit_axis + 1] != (units,):
            raise _LeftError(f"{weight.name} has other units")
    for weight, _ in [*own, *outgoing]:
        _check_not_shared(flow, weight, steps[id(weight)].weight.layers)
    return _Units(own, outgoing, output, [*passed, *users])


def _check_no_other_use(in_training: _Flow, layer: keras.layers.Layer, units: _Units) -> None:
    """Raise `_LeftError` if only training uses the outputs of `layer` somewhere, as an extra loss.

    Args:
        in_training: The record of a pass in training mode, with dropout.
        layer: A layer.
        units: Its units by a pass without.
    """
    passed, users = _reached(in_training, layer)
    others = [part for part in passed if own_weights(part)]
    for user in [*others, *users]:
        if user not in units.layers:
            raise _LeftError(f"used by {user.name} in training")


def _reached(
    flow: _Flow, layer: keras.layers.Layer
) -> tuple[list[keras.layers.Layer], list[keras.Operation]]:
    """Follow the outputs of `layer` through the layers that treat each unit by itself.

    Returns:
        The layer and these layers; and those that use the outputs.
    """
    passed = []
    users = []
    waiting = deque([layer])
    while waiting:
        part = waiting.popleft()
        passed.append(part)
        calls = flow.graph.consumers(part)
        if len(calls) != 1:
            raise _LeftError(f"{part.name} is not called once")
        if not calls[0]:
            raise _LeftError(f"no layer uses the output of {part.name}")
        for user in calls[0]:
            if not isinstance(user, _UNITWISE):
                users.append(user)
                continue
            obstacle = _unit_obstacle(user)
            if obstacle:
                raise _LeftError(f"used by {user.name}: {obstacle}")
            waiting.append(user)
    return passed, users


def _outgoing(flow: _Flow, user: keras.Operation, units: int) -> _Place:
    """Return the kernel by which `user` multiplies the outputs of units, and its axis of inputs."""
    model = next(iter(flow.layers))
    if user is model:
        raise _LeftError("an output of the model")
    if user not in flow.received or flow.inputs[user] != 1:
        raise _LeftError(f"used by {user.name}")
    try:
        kernel, axis, _ = _kernel(user, may_be_recurrent=True)
    except _LeftError as left:
        raise _LeftError(f"used by {user.name}: {left}") from None
    count = kernel.shape[axis]
    if count % units or len(flow.received[user]) != count:
        raise _LeftError(f"used by {user.name}")
    return kernel, axis


def _vectors(layer: keras.layers.Layer, kernel: keras.Variable) -> list[_Place]:
    """Return the weights of a layer but for `kernel`, each with its axis of units, the last."""
    vectors = [weight for weight in own_weights(layer) if weight is not kernel]
    # A vector may be frozen by itself. Moving averages are never trained.
    trained = [weight for weight in vectors if not weight.name.startswith("moving_")]
    is_trained = layer.trainable and all(weight.trainable for weight in trained)
    if vectors and not is_trained:
        raise _LeftError(f"{layer.name} is frozen")
    return [(weight, len(weight.shape) - 1) for weight in vectors]


def _check_not_shared(
    flow: _Flow, weight: keras.Variable, around: Sequence[keras.layers.Layer]
) -> None:
    """Raise `_LeftError` if a layer uses `weight` that is not one of those `around` it."""
    for layer in flow.layers:
        if layer in around:
            continue
        if any(other is weight for other in layer.weights):
            raise _LeftError(f"{layer.name} uses its {weight.name} too")


def _unit_obstacle(layer: keras.layers.Layer) -> str:
    """Return why a layer of a type in `_UNITWISE` may mix units, empty if it does not."""
    if not _has_call_of_keras(layer):
        return _OWN_CALL
    if not _units_are_last(layer):
        return _OTHER_AXIS
    return _activation_obstacle(layer)


def _activation_obstacle(layer: keras.layers.Layer) -> str:
    """Return why the activation of a layer may mix units, empty if it does not."""
    activation = activation_of(layer)
    while isinstance(activation, functools.partial):
        activation = activation.func
    if activation is None or _is_of_keras(activation, _UNITWISE_ACTIVATIONS):
        return ""
    if isinstance(activation, keras.layers.Softmax):
        return _MIXES
    if _is_of_keras(activation, _MIXING_ACTIVATIONS):
        return _MIXES
    if isinstance(activation, _UNITWISE) and _unit_obstacle(activation) in ("", _MIXES):
        return _unit_obstacle(activation)
    return "its activation is not known to treat each unit by itself"


def _is_of_keras(activation: Any, names: Sequence[str]) -> bool:
    """Return whether an activation is a function of Keras with one of `names`.

    A user's may have the same name.
    """
    for module in (keras.activations, keras.ops):
        if any(activation is getattr(module, name, None) for name in names):
            return True
    return False


def _has_call_of_keras(layer: keras.layers.Layer) -> bool:
    """Return whether the `call` of a layer is Keras' own. A user's may do anything with units."""
    return str(getattr(layer.call, "__module__", None)).startswith("keras.")


def _units_are_last(layer: keras.layers.Layer) -> bool:
    """Return whether a layer takes the last axis for that of units or channels."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.axis in (-1, layer.input_spec.ndim - 1)
    return getattr(layer, "data_format", "") != "channels_first"


def _kernel(
    layer: keras.layers.Layer, *, may_be_recurrent: bool = False
) -> tuple[keras.Variable, int, int]:
    """Return the only kernel of `layer`, its axis of inputs and its axis of units."""
    kernels = kernels_of(layer)
    if kernels is None:
        raise _LeftError("no kernel")
    if kernels.reason:
        raise _LeftError(kernels.reason)
    if isinstance(layer, keras.layers.RNN):
        if not may_be_recurrent:
            raise _LeftError("recurrent")
        if type(layer.cell) not in _CELLS:
            raise _LeftError("a cell of its own")
    kernel = kernels.free[0]
    inputs, units = kernel_axes(layer, kernel)
    # The axes of a window are among both.
    input_axes = [axis for axis in inputs if axis not in units]
    unit_axes = [axis for axis in units if axis not in inputs]
    is_matrix = len(kernels.free) == len(input_axes) == len(unit_axes) == 1
    if not is_matrix or not isinstance(layer, _MULTIPLYING):
        raise _LeftError("not a dense layer or a convolution")
    if not _has_call_of_keras(layer):
        raise _LeftError(_OWN_CALL)
    if getattr(layer, "groups", 1) > 1 or not _units_are_last(layer):
        raise _LeftError("in groups or with channels first")
    (input_axis,) = input_axes
    (unit_axis,) = unit_axes
    if isinstance(layer, keras.layers.EinsumDense):
        given, names, made = layer.equation.replace("->", ",").split(",")
        if given[-1] != names[input_axis] or made[-1] != names[unit_axis]:
            raise _LeftError(_OTHER_AXIS)
    return kernel, input_axis, unit_axis
