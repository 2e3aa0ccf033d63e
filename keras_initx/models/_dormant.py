"""Reset the units of a trained model that do nothing."""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._checks import check_flag, check_not_negative, check_type
from keras_initx._seeds import root_seed
from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics import Recorder, Thresholds
from keras_initx.models._assign import undone_after_error
from keras_initx.models._forward import kernels_of
from keras_initx.models._initial_state import slots
from keras_initx.models._initialize import Step, draw, planned
from keras_initx.models._rules import Rules
from keras_initx.rendering import Column, Tabular
from keras_initx.structure import (
    CONVOLUTIONS,
    TRANSPOSED,
    Batch,
    activation_of,
    array_of,
    check_data,
    check_model,
    ensure_built,
    find_weights,
    first_examples,
    kernel_axes,
    named_layers,
    own_weights,
    parts_of,
    tensors_in,
)

__all__ = ["DormantLayer", "DormantUnits", "reset_dormant"]


@dataclass(frozen=True)
class DormantLayer:
    """The result of `reset_dormant` for one layer.

    Attributes:
        path: Path of the layer in the model, see `ModelWeight`.
        units: Number of its units, `None` if that is unknown.
        dormant: Number of those that were dormant, `None` if the layer is left.
        reason: Why the layer is left unchanged, otherwise empty.
    """

    path: str
    units: int | None
    dormant: int | None
    reason: str = ""


@dataclass(frozen=True, repr=False)
class DormantUnits(Tabular[DormantLayer]):
    """The result of `reset_dormant`, shown as a table by `print` and in notebooks.

    Attributes:
        layers: A `DormantLayer` for each layer with a kernel.
        seed: The seed, given or drawn.
        dry_run: Whether the model was left unchanged.
    """

    layers: Sequence[DormantLayer]
    seed: int
    dry_run: bool

    @property
    def share(self) -> float:
        """The share of the units that were dormant, in the layers that are not left; NaN if all are."""
        measured = [layer for layer in self.layers if layer.dormant is not None]
        units = sum(layer.units or 0 for layer in measured)
        return sum(layer.dormant or 0 for layer in measured) / units if units else float("nan")

    def _rows(self) -> Sequence[DormantLayer]:
        return self.layers

    def _columns(self) -> list[Column[DormantLayer]]:
        return [
            Column("layer", lambda row: row.path, is_text=True),
            Column("units", lambda row: "" if row.units is None else row.units),
            Column("dormant", lambda row: "" if row.dormant is None else row.dormant),
            Column("left because", lambda row: row.reason, is_text=True),
        ]

    def _headline(self) -> str:
        left = sum(bool(layer.reason) for layer in self.layers)
        would = "to be reset" if self.dry_run else "reset"
        return f" of {len(self.layers)} layers: {self.share:.1%} of units {would}, {left} left, seed {self.seed}"


def reset_dormant(
    model: keras.Model,
    x: Batch,
    rules: Rules | None = None,
    *,
    threshold: float = 0.1,
    seed: int | None = None,
    batch_size: int = 1024,
    reset: bool = True,
    atomic: bool = True,
    dry_run: bool = False,
) -> DormantUnits:
    """Reset the units of a trained model that contribute next to nothing, in place: recycled dormant units (ReDo).

    The score of a unit is the mean absolute value of its output on a batch, divided by the mean of
    these over the units of its layer. A unit with a score of at most `threshold` is dormant, such
    as a ReLU that is 0 for all examples. Its kernel and bias get the values that `initialize` with
    the same `rules` and `seed` gives, and the weights by which the next layers multiply its output
    become 0. So the outputs of the model change by no more than what dormant units contributed:
    with a threshold of 0, not at all. The moments of all these weights in the optimizer start anew.

    Layers are dense layers and convolutions, and einsum layers with matrices as kernels, whose
    outputs reach the kernels of others, through nothing but activations, dropout, pooling,
    flattening and batch normalization, which is reset with its units. Outputs are measured as the
    next kernel receives them, without dropout. All other layers are left: those whose output is
    added to another, or is that of the model, recurrent, quantized, frozen layers, and convolutions
    in groups or with channels first. So are layers with an activation that mixes units, such as
    softmax, or that is not one of Keras' functions, and subclasses with a `call` of their own,
    which may mix them too. In the `call` of a subclassed model, only what layers do is
    seen: a layer whose output is used there by an operation as well must not be there.

    The same seed gives the same values on every backend. Which units are dormant is measured, and
    a unit at the threshold may differ. Only a share of each weight changes, and compiled functions
    stay valid.

    Args:
        model: A built model.
        x: Inputs of `model`: an array, or a list or dict of arrays.
        rules: See `initialize`.
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
        A `DormantUnits` with a row for each layer that has a kernel.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `threshold` is negative, `x` has no examples, or as `initialize`; or if
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
        >>> units = reset_dormant(model, x, threshold=0, seed=0)
        >>> units
        <DormantUnits of 2 layers: 75.0% of units reset, 1 left, seed 0>
        >>> bool(keras.ops.any(model.layers[0].bias))
        False

    Reference:
        Sokar, Agarwal, Castro and Evci, "The dormant neuron phenomenon in deep reinforcement
        learning", ICML 2023.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_data(x, None, batch_size)
    check_not_negative("threshold", threshold)
    for name, flag in (("reset", reset), ("atomic", atomic), ("dry_run", dry_run)):
        check_flag(name, flag)
    root = root_seed(seed)
    x = first_examples(x, batch_size)
    ensure_built(model, x)
    steps = {
        id(step.weight.variable): step for step in planned(check_model("model", model), rules, root)
    }
    if reset:
        slots(model)  # for its errors, before anything is changed
    flow = _Flow(model)
    with flow.recording(), backend.preserve_state([model, *parts_of(model)]):
        flow.graph.add_consumer(model, tensors_in(model(x, training=False)))
    weights = find_weights(model)
    paths = {
        layer: path
        for weight in weights
        for layer, path in zip(weight.layers, weight.layer_paths, strict=True)
    }
    rows, fresh, zeroed = [], _Masks(), _Masks()
    for layer, name in named_layers(model).items():
        if kernels_of(layer) is None:
            continue
        path = paths.get(layer, name)  # a layer with no weights but those of another has none
        try:
            units, own, outgoing, output = _unit_weights(flow, layer, steps)
        except _LeftError as left:
            rows.append(DormantLayer(path, None, None, str(left)))
            continue
        is_dormant = output <= threshold * output.mean()
        rows.append(DormantLayer(path, units, int(is_dormant.sum())))
        for variable, axis in own:
            fresh.add(variable, axis, is_dormant)
        for variable, axis in outgoing:
            zeroed.add(variable, axis, is_dormant)
    if dry_run:
        return DormantUnits(rows, root, dry_run)
    with undone_after_error(atomic) as assign:
        for key, (variable, mask) in fresh.items():
            weight, initializer, row = steps[key]
            value, _ = draw(weight, initializer, row, root if seed is None else None)
            assign(variable, keras.ops.where(mask, value, variable.value))
        for variable, mask in zeroed.values():
            assign(variable, keras.ops.where(mask, 0, variable.value))
        for slot in slots(model) if reset else []:
            for masks in (fresh, zeroed):
                if id(slot.weight) in masks:
                    mask = masks[id(slot.weight)][1]
                    assign(slot.variable, keras.ops.where(mask, slot.start, slot.variable.value))
    return DormantUnits(rows, root, dry_run)


class _Masks(dict[int, tuple[keras.Variable, Array]]):
    """The weights of which a part changes, by id, each with a mask that is true there."""

    def add(self, variable: keras.Variable, axis: int, is_dormant: Array) -> None:
        """Add the entries of dormant units along `axis`, which may hold the units several times, one after another."""
        shape = [1] * len(variable.shape)
        shape[axis] = variable.shape[axis]
        if is_dormant.any():
            self[id(variable)] = variable, np.resize(is_dormant, shape[axis]).reshape(shape)


# Layers that multiply their inputs by a kernel, and do nothing else with them.
_MULTIPLYING = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.RNN,
    *CONVOLUTIONS,
    *TRANSPOSED,
)
# Layers that treat each unit by itself. Flattening puts the units of all positions side by side.
_UNITWISE = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.Flatten,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    *(
        getattr(keras.layers, f"{kind}Pooling{axes}D")
        for kind in ("Average", "GlobalAverage", "GlobalMax", "Max")
        for axes in (1, 2, 3)
    ),
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


class _Flow(Recorder):
    """A recorder of what each kernel receives, instead of what each layer puts out.

    Attributes:
        received: Dict from a layer to the mean absolute value of each of its inputs, summed over
            its calls.
        inputs: The number of inputs that each layer gets in all its calls.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(model, Thresholds())
        self.received: dict[keras.layers.Layer, Array] = {}
        self.inputs: Counter[keras.layers.Layer] = Counter()

    def _record_inputs(self, layer: keras.layers.Layer, tensor: Tensor | None, count: int) -> None:
        self.inputs[layer] += count
        if tensor is not None and len(tensor.shape):
            values = abs(array_of(tensor))
            values = values.reshape(-1, values.shape[-1]).mean(axis=0, dtype="float64")
            self.received[layer] = values + self.received.get(layer, 0.0)

    def _record_after(self, layer: keras.layers.Layer, tensor: Tensor) -> None:
        pass

    _record_before = _record_projection = _record_after


class _LeftError(Exception):
    """Says why a layer is left."""


_OWN_CALL = "its `call` is not Keras' own"
_MIXES = "its activation mixes units"
_OTHER_AXIS = "its units are not along the last axis"


_Place = tuple[keras.Variable, int]


def _unit_weights(
    flow: _Flow, layer: keras.layers.Layer, steps: dict[int, Step]
) -> tuple[int, list[_Place], list[_Place], Array]:
    """Return the number of units of `layer`, the weights that make their outputs and those that use them, and these.

    Returns:
        The number; pairs of a weight and its axis of units, twice; and the mean absolute output of
        each unit.
    """
    kernel, _, axis = _kernel(layer)
    obstacle = _activation_obstacle(layer)
    if obstacle:
        raise _LeftError(obstacle)
    units = kernel.shape[axis]
    passed, users = [layer], list[keras.Operation]()
    for part in passed:
        outputs = flow.graph.consumers(part)
        if len(outputs) != 1:
            raise _LeftError(f"{part.name} is not called once")
        if not outputs[0]:
            raise _LeftError(f"no layer uses the output of {part.name}")
        for user in outputs[0]:
            if not isinstance(user, _UNITWISE):
                users.append(user)
                continue
            obstacle = _unit_obstacle(user)
            if obstacle:
                raise _LeftError(f"used by {user.name}: {obstacle}")
            passed.append(user)
    outgoing, output = [], np.zeros(units)
    for user in users:
        if user is next(iter(flow.facts)):
            raise _LeftError("an output of the model")
        if user not in flow.received or flow.inputs[user] != 1:
            raise _LeftError(f"used by {user.name}")
        try:
            variable, inputs, _ = _kernel(user, may_be_recurrent=True)
        except _LeftError as left:
            raise _LeftError(f"used by {user.name}: {left}") from None
        if variable.shape[inputs] % units or len(flow.received[user]) != variable.shape[inputs]:
            raise _LeftError(f"used by {user.name}")
        outgoing.append((variable, inputs))
        output += flow.received[user].reshape(-1, units).mean(axis=0)
    if not np.isfinite(output).all():
        raise _LeftError("its output is not finite")
    own = [(kernel, axis)]
    for part in passed:
        vectors = [weight for weight in own_weights(part) if weight is not kernel]
        # A vector may be frozen by itself. Moving averages are never trained.
        trained = [weight for weight in vectors if not weight.name.startswith("moving_")]
        if vectors and not (part.trainable and all(weight.trainable for weight in trained)):
            raise _LeftError(f"{part.name} is frozen")
        own += [(weight, len(weight.shape) - 1) for weight in vectors]
    for weight, place in own:
        if steps[id(weight)].initializer is None:
            raise _LeftError(steps[id(weight)].row.reason)
        if weight.shape[place : place + 1] != (units,):
            raise _LeftError(f"{weight.name} has other units")
    for weight, _ in [*own, *outgoing]:
        around = steps[id(weight)].weight.layers
        others = (
            one
            for one in flow.facts
            if one not in around and any(each is weight for each in one.weights)
        )
        if other := next(others, None):
            raise _LeftError(f"{other.name} uses its {weight.name} too")
    return units, own, outgoing, output


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
    modules = (keras.activations, keras.ops)
    return any(activation is getattr(module, name, None) for module in modules for name in names)


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
    if kernels is None or kernels.reason:
        raise _LeftError(kernels.reason if kernels else "no kernel")
    if isinstance(layer, keras.layers.RNN):
        if not may_be_recurrent:
            raise _LeftError("recurrent")
        if type(layer.cell) not in (
            keras.layers.GRUCell,
            keras.layers.LSTMCell,
            keras.layers.SimpleRNNCell,
        ):
            raise _LeftError("a cell of its own")
    (kernel, *others) = kernels.free
    inputs, outputs = map(set, kernel_axes(layer, kernel))
    is_plain = not others and len(inputs - outputs) == len(outputs - inputs) == 1
    if not (is_plain and isinstance(layer, _MULTIPLYING)):
        raise _LeftError("not a dense layer or a convolution")
    if not _has_call_of_keras(layer):
        raise _LeftError(_OWN_CALL)
    if getattr(layer, "groups", 1) > 1 or not _units_are_last(layer):
        raise _LeftError("in groups or with channels first")
    of_inputs, of_units = *(inputs - outputs), *(outputs - inputs)
    if isinstance(layer, keras.layers.EinsumDense):
        given, names, made = layer.equation.replace("->", ",").split(",")
        if (given[-1], made[-1]) != (names[of_inputs], names[of_units]):
            raise _LeftError(_OTHER_AXIS)
    return kernel, of_inputs, of_units
