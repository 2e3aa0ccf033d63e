"""In which order torch has the rows and units of the weights that are around an image.

torch flattens channels first, so what a weight reads from a flattened image, and what becomes one,
are in another order there. A model is called once with symbolic tensors. Of each tensor is noted
what is known of its axes; where nothing is known, that is the result.
"""

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.files._lazy import LazyArray
from keras_initx.inspection._kernels import (
    ALL_CONVOLUTIONS,
    CONVOLUTIONS,
    DEPTHWISE,
    NORMALIZATIONS,
    TRANSPOSED,
    normalizes,
)
from keras_initx.inspection._names import list_own_weights, list_sublayers
from keras_initx.inspection._symbolic import SymbolicCall, record_calls
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.load_pretrained._axis_orders import (
    UNKNOWN,
    Axis,
    Layout,
    Length,
    Order,
    image_axes,
    is_same_known_order,
    join_layouts,
    make_layout,
    plain_layout,
    simplify,
)

_ATTENTION = (
    keras.layers.AdditiveAttention,
    keras.layers.Attention,
    keras.layers.GroupQueryAttention,
    keras.layers.MultiHeadAttention,
)
# What computes each value from one, or from those at the same place, and may have no other weights.
_BY_VALUE = (
    keras.layers.Activation,
    keras.layers.ActivityRegularization,
    keras.layers.Add,
    keras.layers.AlphaDropout,
    keras.layers.Average,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.LeakyReLU,
    keras.layers.Masking,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Rescaling,
    keras.layers.Softmax,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.Subtract,
    keras.layers.UnitNormalization,
)
# The same of operations, beside the universal functions of NumPy and Keras' activations.
_OPERATIONS_BY_VALUE = ("Clip", "Erf", "NanToNum", "Rsqrt", "StopGradient", "Where")
_CONVOLVING = ("Conv", "ConvTranspose", "DepthwiseConv", "SeparableConv")
_RESHAPING = ("ExpandDims", "Flatten", "Ravel", "Reshape", "Squeeze")
_SHUFFLING = ("DepthToSpace", "SpaceToDepth", "ExtractPatches")


@dataclass(frozen=True, eq=False)
class MovedAxes:
    """Axes of a weight along which torch has another order.

    Attributes:
        axes: The axes, which are moved as one.
        order: Where torch has the values along them; a text if that is not known.
        what: `"rows"` or `"units"`.
    """

    axes: tuple[int, ...]
    order: Array | str
    what: str


class RowOrders:
    """What is known of the orders of the weights of a model.

    Args:
        walk: The calls in the model.
        has_image: Whether there is an image in it.
    """

    def __init__(self, walk: "_Walk", *, has_image: bool) -> None:
        self._reads = walk.reads
        self._units: dict[int, MovedAxes] = {}
        self._has_image = has_image
        for maker, order in walk.needs.items():
            order = simplify(order)
            if order is None or not isinstance(maker, keras.Layer):
                continue
            axes = _find_unit_axes(maker)
            for weight in maker.weights:
                if weight.name in axes:
                    self._units[id(weight)] = MovedAxes(axes[weight.name], order, "units")
                elif not axes:
                    self._units[id(weight)] = MovedAxes((0,), UNKNOWN, "units")

    def of(self, weight: ModelWeight) -> list[MovedAxes]:
        """Return the axes of a weight along which torch has another order, or an unknown one."""
        key = id(weight.variable)
        found = []
        if key in self._reads:
            axes, order = self._reads[key]
            order = simplify(order)
            if order is not None:
                found.append(MovedAxes(axes, order, "rows"))
        elif self._has_image and _may_read_rows(weight):
            # It was never called.
            found.append(MovedAxes((0,), UNKNOWN, "rows"))
        if key in self._units:
            found.append(self._units[key])
        return found


def find_row_orders(model: keras.Model) -> RowOrders:
    """Return what is known of the orders of the weights of a built model."""
    walk = _Walk(model)
    walk.solve()
    convolves = any(isinstance(part, ALL_CONVOLUTIONS) for part in list_sublayers(model))
    return RowOrders(walk, has_image=convolves or walk.has_image)


def _may_read_rows(weight: ModelWeight) -> bool:
    """Return whether a weight that was never called may read a flattened image."""
    layer = weight.layer
    if isinstance(layer, NORMALIZATIONS):
        shape = layer.get_build_config() or {}
        return len(shape.get("input_shape") or ()) == 2
    kinds = (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.GRUCell,
        keras.layers.LSTMCell,
        keras.layers.SimpleRNNCell,
    )
    return isinstance(layer, kinds) and weight.name == "kernel"


def _find_unit_axes(layer: keras.Layer) -> dict[str, tuple[int, ...]]:
    """Return the axes of the units in the weights of a layer, by name; none if it has more."""
    if isinstance(layer, keras.layers.Dense):
        return {"kernel": (1,), "bias": (0,)}
    if isinstance(layer, keras.layers.Embedding):
        return {"embeddings": (1,)}
    if isinstance(layer, keras.layers.EinsumDense):
        kernel, outputs = layer.equation.split(",")[1].split("->")
        units = [letter for letter in outputs if letter in kernel]
        bias = tuple(range(len(units))) if layer.bias is not None else ()
        return {"kernel": tuple(map(kernel.index, units)), "bias": bias}
    if isinstance(layer, TRANSPOSED):
        return {"kernel": (len(layer.kernel_size),), "bias": (0,)}
    if isinstance(layer, CONVOLUTIONS) and layer.groups == 1:
        return {"kernel": (len(layer.kernel_size) + 1,), "bias": (0,)}
    return {}


def _unknown_unless(is_known: bool) -> Order:
    """Return the usual order, or that none is known."""
    return None if is_known else UNKNOWN


def _new_axis(axes: Iterable[Axis], length: Length) -> Axis:
    """Return an axis that is made beside others: of channels if these are those of an image."""
    for axis in axes:
        if axis.kind != "same":
            return Axis(length, "channels")
    return Axis(length)


class _LayerCall(NamedTuple):
    """A call in the model.

    Attributes:
        operation: The layer or operation.
        args: Its arguments, also those by keyword.
        inputs: The tensors among them.
        outputs: The tensors that it returns.
        rule: Function of the call that returns the layouts of the outputs.
    """

    operation: keras.Operation
    args: list[Any]
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]
    rule: Callable[["_LayerCall"], Sequence[Layout]]

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables among the arguments."""
        return [value for value in self.args if isinstance(value, keras.Variable)]


class _Walk:
    """The calls in a model, and what follows from them.

    Args:
        model: A built model.

    Attributes:
        reads: By the ids of weights, the axes along which they read a tensor, and the order there.
        needs: The orders of the outputs of layers that become an image, or are added to one.
        has_image: Whether a tensor is an image.
    """

    def __init__(self, model: keras.Model) -> None:
        self.reads: dict[int, tuple[tuple[int, ...], Order]] = {}
        self.needs: dict[keras.Operation, Order] = {}
        self.has_image: bool = False
        self._calls: list[_LayerCall] = []
        self._layouts: dict[int, Layout] = {}
        root = record_calls(model)
        # The ids of inputs, and of those that a convolution reads.
        self._inputs: set[int] = {id(tensor) for tensor in root.inputs}
        self._images: set[int] = set()
        # Also if nothing else is seen.
        self.has_image |= any(len(plain_layout(one.shape).long) > 2 for one in root.inputs)
        self._take_all(root)
        # The tensors, as long as their ids are used.
        self._root = root

    def solve(self) -> None:
        """Find the layouts of all tensors, until no layer needs another order."""
        while True:
            before = dict(self.needs)
            images = set(self._images)
            self._layouts.clear()
            self.reads.clear()
            for call in self._calls:
                try:
                    layouts = call.rule(call)
                except Exception:  # an operation may have other arguments than it seems
                    layouts = self._other(call)
                for tensor, layout in zip(call.outputs, layouts, strict=True):
                    self._layouts[id(tensor)] = layout
                    self.has_image |= layout.is_image
            same = self.needs.keys() == before.keys() and self._images == images
            if same and all(is_same_order(self.needs[one], before[one]) for one in before):
                break
        self._note_unread()

    # The calls.

    def _take_all(self, call: SymbolicCall) -> None:
        """Note the calls in a call."""
        for inner in call.inside or ():
            self._take(inner)

    def _take(self, call: SymbolicCall) -> None:
        """Note a call, or the calls in it."""
        operation = call.operation
        if isinstance(operation, keras.layers.TimeDistributed):
            self._take_steps(call)
        elif isinstance(operation, keras.layers.SpectralNormalization):
            self._calls.append(_LayerCall(operation, [], [], [], self._read_nothing))
            self._take_all(call)
        elif call.inside is not None:
            self._take_all(call)
        else:
            rule = self._rule(operation)
            self._calls.append(_LayerCall(operation, call.given, call.inputs, call.made, rule))

    def _take_steps(self, call: SymbolicCall) -> None:
        """Note the call of a layer for each step."""
        operation = call.operation
        (inner,) = call.inside or []
        whole = call.inputs[0]
        (step,) = inner.inputs
        (result,) = inner.made

        def of_step(call: _LayerCall) -> list[Layout]:
            layout = self._of(whole)
            is_certain = layout.is_certain and layout.axes[1].kind == "same"
            axes = [layout.axes[0], *layout.axes[2:]]
            if isinstance(layout.axes[1].order, str | np.ndarray):
                axes[-1] = Axis(axes[-1].length, order=UNKNOWN)
            return [make_layout(axes, is_certain=is_certain, made=layout.made)]

        def of_steps(call: _LayerCall) -> list[Layout]:
            layout = self._of(result)
            axes = [layout.axes[0], Axis(whole.shape[1]), *layout.axes[1:]]
            return [make_layout(axes, is_certain=layout.is_certain, made=layout.made)]

        self._calls.append(_LayerCall(operation, [], call.inputs, [step], of_step))
        self._take_all(call)
        self._calls.append(_LayerCall(operation, [], [result], call.made, of_steps))

    def _rule(self, operation: keras.Operation) -> Callable[[_LayerCall], Sequence[Layout]]:
        """Return what to do with the calls of a layer or an operation."""
        name = type(operation).__name__
        if isinstance(operation, keras.Layer):
            for kinds, rule in self._rules_of_layers():
                if isinstance(operation, kinds):
                    return rule
            if normalizes(operation) or isinstance(operation, keras.layers.Normalization):
                return self._normalization
        elif of_operation := self._rules_of_operations().get(name):
            return of_operation
        elif _is_by_value(name):
            return self._by_value
        elif getattr(operation, "axis", ...) is not ... and hasattr(operation, "keepdims"):
            return self._reduction
        if name in _RESHAPING:
            return self._reshaping
        if hasattr(operation, "data_format") and name not in _SHUFFLING:
            return self._spatial
        return self._other

    def _rules_of_layers(self) -> list[tuple[Any, Callable[[_LayerCall], Sequence[Layout]]]]:
        kinds = keras.layers
        return [
            (ALL_CONVOLUTIONS, self._convolution),
            (kinds.Dense, self._dense),
            (kinds.EinsumDense, self._einsum),
            (kinds.Embedding, self._embedding),
            ((kinds.RNN, kinds.Bidirectional), self._recurrent),
            (_ATTENTION, self._attention),
            (kinds.Concatenate, self._concatenation),
            (_BY_VALUE, self._by_value),
            (kinds.Permute, self._transposition),
            (kinds.RepeatVector, self._repetition),
            (kinds.TorchModuleWrapper, self._module),
        ]

    def _rules_of_operations(self) -> dict[str, Callable[[_LayerCall], Sequence[Layout]]]:
        return {
            **dict.fromkeys(_CONVOLVING, self._convolution),
            **dict.fromkeys(("Transpose", "Swapaxes", "Moveaxis"), self._transposition),
            **dict.fromkeys(("Matmul", "Dot"), self._product),
            **dict.fromkeys(("ArraySplit", "Split", "Unstack"), self._parts),
            "Concatenate": self._concatenation,
            "Einsum": self._einsum_of_tensors,
            "GetItem": self._item,
            "Stack": self._stack,
        }

    # What is known.

    def _of(self, tensor: keras.KerasTensor) -> Layout:
        """Return the layout of a tensor. An input with three axes may be an image."""
        found = self._layouts.get(id(tensor))
        if found is None:
            found = plain_layout(tensor.shape)
            if len(found.long) > 2 or id(tensor) in self._images:
                found = make_layout(image_axes(tensor.shape, -1), is_certain=False)
            self._layouts[id(tensor)] = found
            self.has_image |= found.is_image
        return found

    def _given(self, call: _LayerCall) -> list[Layout]:
        return [self._of(tensor) for tensor in call.inputs]

    def _read(self, weight: keras.Variable, axes: tuple[int, ...], order: Order) -> None:
        """Note that a weight reads a tensor along these axes, in this order."""
        order = simplify(order)
        before = self.reads.get(id(weight))
        if before is not None and not is_same_known_order(before[1], order):
            order = UNKNOWN
        self.reads[id(weight)] = axes, order

    def _read_all(self, layer: keras.Operation, order: Order) -> None:
        """Note that the weights of a layer read a tensor in this order, if they read any."""
        if isinstance(layer, keras.Layer):
            for weight in layer.weights:
                is_bias = weight.name == "bias"
                self._read(weight, (0,), None if is_bias else order)

    def _read_kernel(self, layer: keras.Layer, axes: tuple[int, ...], order: Order) -> None:
        """Note that the kernel of a layer reads a tensor in this order, and no other weight."""
        for weight in list_own_weights(layer):
            own = order if weight.name == "kernel" else None
            self._read(weight, axes, own)

    def _read_nothing(self, call: _LayerCall) -> list[Layout]:
        for weight in list_own_weights(call.operation):
            self._read(weight, (0,), None)
        return [self._of(tensor) for tensor in call.outputs]

    def _need(self, maker: keras.Operation, order: Order) -> None:
        """Note that the outputs of a layer must have an order."""
        before = self.needs.get(maker)
        if before is None:
            self.needs[maker] = order
        elif not is_same_order(before, order):
            self.needs[maker] = UNKNOWN

    def _units(self, maker: keras.Operation, axis: Axis) -> Axis:
        """Return the axis of the units of a layer, in the order that they must have."""
        order = self.needs.get(maker)
        if isinstance(order, str) or not _find_unit_axes(maker):
            order = None
        return Axis(axis.length, axis.kind, axis.place, simplify(order), makers=frozenset({maker}))

    def _order_along(self, axis: Axis) -> Order:
        """Return the order that a weight for each value along an axis has, such as a scale.

        It is not known where that of the units is not known that are along the axis.
        """
        if any(isinstance(self.needs.get(maker), str) for maker in axis.makers):
            return UNKNOWN
        return axis.order

    def _made_image(self, layout: Layout, channels: int) -> None:
        """Note that a tensor is an image, in which case layers before it need an order."""
        for made in layout.made:
            # Without the axis of examples.
            for maker, order in made.orders(0 if channels == 1 else -1, len(layout.axes) - 1):
                self._need(maker, order)

    # The rules.

    def _convolution(self, call: _LayerCall) -> list[Layout]:
        given = call.inputs[0]
        if id(given) in self._inputs:
            self._images.add(id(given))
        layout = self._of(given)
        operation = call.operation
        channels = _find_channel_axis(operation, layout)
        order: Order = layout.axes[channels].order
        rest = [axis for place, axis in enumerate(layout.axes) if place != channels]
        if any(axis.order is not None for axis in rest[1:]):
            order = UNKNOWN
        is_single = isinstance(operation, TRANSPOSED) or getattr(operation, "groups", 2) == 1
        if order is not None and (isinstance(operation, DEPTHWISE) or not is_single):
            order = UNKNOWN
        self._made_image(layout, channels)
        if isinstance(operation, keras.Layer):
            for weight in list_own_weights(operation):
                if weight.name.endswith("kernel"):
                    place = len(weight.shape) - (1 if isinstance(operation, TRANSPOSED) else 2)
                    self._read(weight, (place,), order)
        else:
            for weight in call.variables:
                self._read(weight, (0,), _unknown_unless(order is None))
        (output,) = call.outputs
        axes = image_axes(output.shape, channels)
        axes[channels] = self._units(operation, axes[channels])
        if isinstance(operation, DEPTHWISE) and order is not None:
            axes[channels] = Axis(axes[channels].length, "channels", order=UNKNOWN)
        return [make_layout(axes)]

    def _spatial(self, call: _LayerCall) -> list[Layout]:
        """Return the layout of what pools, pads or resizes an image, and keeps its channels."""
        layout = self._given(call)[0]
        channels = _find_channel_axis(call.operation, layout)
        (output,) = call.outputs
        if len(call.inputs) > 1 or len(layout.axes) < 3:
            return self._other(call)
        given = layout.axes[channels]
        if layout.made:
            self._made_image(layout, channels)
        if len(output.shape) == 2:
            return [make_layout([Axis(output.shape[0]), given])]
        if len(output.shape) != len(layout.axes):
            return self._other(call)
        axes = image_axes(output.shape, channels)
        order: Order = given.order
        if any(axis.order is not None for axis in layout.axes) and order is None:
            order = UNKNOWN
            # What lies side by side does not in torch, along the axis of a single channel too.
            axes = [axes[0], *(replace(axis, order=UNKNOWN) for axis in axes[1:])]
        if given.length != output.shape[channels]:
            order = UNKNOWN
        makers = given.makers if order is given.order else frozenset()
        axes[channels] = Axis(output.shape[channels], "channels", order=order, makers=makers)
        return [make_layout(axes, is_certain=layout.is_image or bool(layout.made))]

    def _dense(self, call: _LayerCall) -> list[Layout]:
        layout = self._given(call)[0]
        order = UNKNOWN if layout.is_unknown else layout.axes[-1].order
        self._read_kernel(call.operation, (0,), order)
        return [self._with_units(call, layout, [*range(len(layout.axes) - 1)])]

    def _with_units(self, call: _LayerCall, layout: Layout, kept: Sequence[int]) -> Layout:
        """Return the layout of an output with some axes of the input, and one of units."""
        axes = []
        for place in kept:
            axis = layout.axes[place]
            if isinstance(axis.order, str):
                axis = Axis(axis.length, "space", (place,))
            axes.append(axis)
        units = _new_axis(axes, call.outputs[0].shape[-1])
        return make_layout([*axes, self._units(call.operation, units)], is_certain=False)

    def _einsum(self, call: _LayerCall) -> list[Layout]:
        layout = self._given(call)[0]
        operation = call.operation
        inputs, kernel, outputs = re.split(",|->", operation.equation)
        inputs = _spell_axes(inputs, len(layout.axes))
        outputs = _spell_axes(outputs, len(call.outputs[0].shape))
        summed = [letter for letter in inputs if letter in kernel and letter not in outputs]
        units = [letter for letter in outputs if letter in kernel and letter not in inputs]
        if len(summed) + len(units) != len(kernel):
            return self._other(call)
        axes = [layout.axes[inputs.index(letter)] for letter in summed]
        order = UNKNOWN if layout.is_unknown else layout.merged(axes).order
        rows = tuple(map(kernel.index, summed))
        self._read_kernel(operation, rows, order)
        kept = [inputs.index(letter) for letter in outputs if letter in inputs]
        if len(units) == 1 and outputs[-1] == units[0]:
            return [self._with_units(call, layout, kept)]
        shape = call.outputs[0].shape
        if kept == [0] and outputs[0] == inputs[0]:
            size = int(np.prod(shape[1:]))
            flat = Layout((Axis(shape[0]), self._units(operation, Axis(size))))
            return [flat.reshaped(shape)]
        return [plain_layout(shape) if layout.is_plain else layout.lost(shape)]

    def _embedding(self, call: _LayerCall) -> list[Layout]:
        (output,) = call.outputs
        self._read_all(call.operation, None)
        axes = plain_layout(output.shape).axes
        return [Layout((*axes[:-1], self._units(call.operation, axes[-1])))]

    def _recurrent(self, call: _LayerCall) -> list[Layout]:
        layout, *others = self._given(call)
        layer: Any = call.operation
        order = UNKNOWN if layout.is_unknown else layout.axes[-1].order
        is_known = all(other.is_plain for other in others)
        # The steps may be in another order, which no order of weights makes up for.
        is_known &= all(axis.order is None for axis in layout.axes[:-1])
        both = isinstance(layer, keras.layers.Bidirectional)
        first = []
        for one in (layer.forward_layer, layer.backward_layer) if both else (layer,):
            cell = getattr(one, "cell", one)
            cell = getattr(cell, "cells", [cell])[0]
            is_known &= order is None or isinstance(cell, _CELLS)
            first += [weight for weight in cell.weights if weight.name == "kernel"]
        if not is_known:
            self._read_all(layer, UNKNOWN)
        for weight in layer.weights if is_known else ():
            is_first = any(weight is one for one in first)
            self._read(weight, (0,), order if is_first else None)
        found = []
        for output in call.outputs:
            shape = output.shape
            if len(shape) > 3:
                found.append(
                    make_layout(image_axes(shape, -1), is_certain=len(shape) < len(layout.axes))
                )
                continue
            axes = plain_layout(shape).axes
            found.append(Layout((*axes[:-1], self._units(layer, axes[-1]))))
        return found

    def _attention(self, call: _LayerCall) -> list[Layout]:
        given = self._given(call)
        is_known = all(one.axes[-1].order is None and not one.is_unknown for one in given)
        self._read_all(call.operation, _unknown_unless(is_known))
        found = []
        for output in call.outputs:
            shape = output.shape
            axes = plain_layout(shape).axes if len(shape) < 4 else image_axes(shape, -1)
            axes = [*axes[:-1], self._units(call.operation, axes[-1])]
            found.append(make_layout(axes, is_certain=False))
        return found

    def _normalization(self, call: _LayerCall) -> list[Layout]:
        layout = self._given(call)[0]
        operation: Any = call.operation
        axis = getattr(operation, "axis", -1)
        along = [axis] if isinstance(axis, int) else list(axis or ())
        axes = [layout.axes[one] for one in along]
        order: Order = UNKNOWN if layout.is_unknown else None
        if len(axes) == 1 and order is None:
            order = self._order_along(axes[0])
        elif {"space", "channels"} <= {one.kind for one in axes}:
            order = UNKNOWN
        for weight in list_own_weights(operation):
            self._read(weight, (0,), order if weight.shape else None)
        by_channels = keras.layers.BatchNormalization | keras.layers.GroupNormalization
        is_certain = layout.is_certain
        if not isinstance(operation, by_channels) and {one.kind for one in axes} == {"channels"}:
            is_certain = False  # torch normalizes the last axes
        return [make_layout(layout.axes, is_certain=is_certain, made=layout.made)]

    def _by_value(self, call: _LayerCall) -> list[Layout]:
        (output,) = call.outputs
        layout = self._joined(call, output.shape)
        variables = call.variables
        if isinstance(call.operation, keras.Layer):
            variables += list_own_weights(call.operation)
        for weight in variables:
            axes = [
                axis
                for axis, length in zip(layout.axes[::-1], weight.shape[::-1], strict=False)
                if length != 1
            ]
            order: Order = None
            if len(axes) == 1:
                order = self._order_along(axes[0])
            elif any(self._order_along(axis) is not None for axis in axes):
                order = UNKNOWN
            self._read(weight, (len(weight.shape) - 1,), order)
        return [layout]

    def _joined(
        self, call: _LayerCall, shape: Sequence[int | None], along: int | None = None
    ) -> Layout:
        layout, needs = join_layouts(self._given(call), shape, along)
        for maker, order in needs.items():
            self._need(maker, order)
        return layout

    def _concatenation(self, call: _LayerCall) -> list[Layout]:
        (output,) = call.outputs
        rank = len(output.shape)
        axis = call.operation.axis
        if axis is None:
            return self._other(call)
        return [self._joined(call, output.shape, axis % rank)]

    def _reshaping(self, call: _LayerCall) -> list[Layout]:
        layout = self._given(call)[0]
        (output,) = call.outputs
        is_flatten = isinstance(call.operation, keras.layers.Flatten)
        rank = len(layout.axes)
        if is_flatten and call.operation.data_format == "channels_first" and rank > 2:
            axes = [0, *range(2, rank), 1]
            size = output.shape[-1]
            if layout.is_plain and size is not None:
                lengths = [axis.length or 0 for axis in layout.axes[1:]]
                places = np.moveaxis(np.arange(size).reshape(lengths), 0, -1)
                return [Layout((layout.axes[0], Axis(size, order=simplify(places.reshape(-1)))))]
            layout = layout.moved(axes, keeps_torch=True)
        reshaped = layout.reshaped(output.shape)
        unknown = [axis for axis in reshaped.axes if isinstance(axis.order, str)]
        # Some channels become places: pixels are shuffled, in torch perhaps by `PixelShuffle`.
        is_shuffled = [axis.kind for axis in layout.axes].count("channels") > 1
        for axis in unknown if is_shuffled or len(unknown) > 1 else ():
            for maker in axis.others:
                self._need(maker, UNKNOWN)
        return [reshaped]

    def _transposition(self, call: _LayerCall) -> list[Layout]:
        layout = self._given(call)[0]
        operation: Any = call.operation
        # An array that takes no memory, in whose shape each length is the place of its axis.
        places = np.broadcast_to(np.int8(0), range(1, len(layout.axes) + 1))
        name = type(operation).__name__
        if name == "Permute":
            places = places.transpose(0, *operation.dims)
        elif name == "Swapaxes":
            places = places.swapaxes(operation.axis1, operation.axis2)
        elif name == "Moveaxis":
            places = np.moveaxis(places, operation.source, operation.destination)
        else:
            places = places.transpose(operation.axes)
        return [layout.moved([length - 1 for length in places.shape])]

    def _repetition(self, call: _LayerCall) -> list[Layout]:
        layout = self._given(call)[0]
        (output,) = call.outputs
        first, last = layout.axes
        return [Layout((first, Axis(output.shape[1]), last))]

    def _reduction(self, call: _LayerCall) -> list[Layout]:
        layout, *others = self._given(call)
        (output, *more) = call.outputs
        operation: Any = call.operation
        rank = len(layout.axes)
        axes = operation.axis
        if axes is None:
            axes = range(rank)
        elif isinstance(axes, int):
            axes = [axes]
        gone = {axis % rank for axis in axes}
        left = []
        for place, axis in enumerate(layout.axes):
            if place not in gone:
                left.append(axis)
            elif operation.keepdims:
                left.append(Axis(1))
        if others or more or [axis.length for axis in left] != list(output.shape):
            return self._other(call)
        if layout.made and gone:
            self._made_image(layout, -1)
        return [make_layout(left, is_certain=layout.is_certain)]

    def _item(self, call: _LayerCall) -> list[Layout]:
        layout = self._given(call)[0]
        (output,) = call.outputs
        rest = list(layout.axes)
        axes: list[Axis] = []
        key = [value for value in call.args if not isinstance(value, keras.KerasTensor)]
        missing = len(rest) - sum(part is not None and part is not ... for part in key)
        for part in key:
            if part is None:
                axes.append(Axis(1))
            elif part is ...:
                axes += [rest.pop(0) for _ in range(missing)]
            elif isinstance(part, int) and rest:
                rest.pop(0)
            elif isinstance(part, slice) and rest:
                axes.append(rest.pop(0))
            else:
                return self._other(call)
        axes += rest
        if len(axes) != len(output.shape):
            return self._other(call)
        return [_cut_axes(axes, output.shape, layout)]

    def _parts(self, call: _LayerCall) -> list[Layout]:
        layout = self._given(call)[0]
        axes = list(layout.axes)
        if len(call.outputs[0].shape) < len(axes):
            del axes[call.operation.axis]
        return [_cut_axes(axes, output.shape, layout) for output in call.outputs]

    def _stack(self, call: _LayerCall) -> list[Layout]:
        (output,) = call.outputs
        place = call.operation.axis % len(output.shape)
        shape = list(output.shape)
        length = shape.pop(place)
        layout = self._joined(call, shape)
        axes = [*layout.axes[:place], Axis(length), *layout.axes[place:]]
        return [make_layout(axes, is_certain=layout.is_certain)]

    def _product(self, call: _LayerCall) -> list[Layout]:
        (output,) = call.outputs
        given = self._given(call)
        variables = call.variables
        layout = given[0]
        if len(given) == 1 and len(variables) == 1 and call.inputs[0] is call.args[0]:
            order = UNKNOWN if layout.is_unknown else layout.axes[-1].order
            self._read(variables[0], (0,), order)
            return [self._with_units(call, layout, [*range(len(layout.axes) - 1)])]
        if len(given) != 2 or len(given[0].axes) != len(output.shape):
            return self._other(call)
        axes = [*given[0].axes[:-1], given[1].axes[-1]]
        return [make_layout(axes, is_certain=False)]

    def _einsum_of_tensors(self, call: _LayerCall) -> list[Layout]:
        (output,) = call.outputs
        operands, result = call.operation.subscripts.replace(" ", "").split("->")
        values = [value for value in call.args if hasattr(value, "shape")]
        found: dict[str, Axis] = {}
        tensors = zip(operands.split(","), values, strict=True)
        named = [(_spell_axes(letters, len(value.shape)), value) for letters, value in tensors]
        for letters, value in named:
            if isinstance(value, keras.KerasTensor):
                for letter, axis in zip(letters, self._of(value).axes, strict=True):
                    if letter not in found or axis.order is not None:
                        found[letter] = axis
        for letters, value in named:
            if isinstance(value, keras.Variable):
                shared = [found[letter] for letter in letters if letter in found]
                is_known = all(axis.order is None for axis in shared)
                self._read(value, (0,), _unknown_unless(is_known))
        axes = []
        for letter, length in zip(
            _spell_axes(result, len(output.shape)), output.shape, strict=True
        ):
            axes.append(found.get(letter) or _new_axis(found.values(), length))
        return [make_layout(axes, is_certain=False)]

    def _module(self, call: _LayerCall) -> list[Layout]:
        """Return the layouts of what a module of torch makes, which has the axes of torch."""
        given = self._given(call)
        is_known = all(one.has_usual_orders for one in given)
        self._read_all(call.operation, _unknown_unless(is_known))
        found = []
        for output in call.outputs:
            layout = plain_layout(output.shape)
            if len(layout.axes) > 3:
                layout = make_layout(image_axes(output.shape, 1))
            found.append(layout)
        return found

    def _other(self, call: _LayerCall) -> list[Layout]:
        """Return the layouts of what is made in a way that is not known."""
        given = self._given(call)
        operation = call.operation
        parts = list_sublayers(operation) if isinstance(operation, keras.Layer) else []
        convolves = any(isinstance(part, ALL_CONVOLUTIONS) for part in parts)
        variables = call.variables
        if all(one.is_plain for one in given) and not convolves:
            self._read_all(operation, None)
            for weight in variables:
                self._read(weight, (0,), None)
            return [plain_layout(output.shape) for output in call.outputs]
        if isinstance(operation, keras.Layer) and not parts:
            self._read_all(operation, UNKNOWN)
        for weight in variables:
            self._read(weight, (0,), UNKNOWN)
        # Channels that become places, and the reverse, are in another order for those that made
        # them too.
        shapes = {tuple(output.shape) for output in call.outputs}
        moved = [one for one in given if not one.is_plain]
        for layout in given:
            if layout.is_image and layout.shape not in shapes:
                for axis in layout.axes:
                    for maker in axis.makers:
                        self._need(maker, UNKNOWN)
        found = []
        for output in call.outputs:
            shape = output.shape
            alike = [one for one in moved if len(one.axes) == len(shape)]
            if alike:
                layout = alike[0].lost(shape)
            elif convolves and len(shape) > 3:
                layout = make_layout(image_axes(shape, -1), is_certain=False)
            elif shape:
                axes = plain_layout(shape).axes
                layout = make_layout([*axes[:-1], Axis(shape[-1], order=UNKNOWN)])
            else:
                layout = plain_layout(shape)
            found.append(layout)
        return found

    def _note_unread(self) -> None:
        """Note what may have become an image of which no layer shows it."""
        for layout in self._layouts.values():
            for made in layout.made:
                places = made.places
                if not made.is_all or places is None or len([n for n in places.shape if n > 1]) < 3:
                    continue
                for maker, order in made.orders(-1, places.ndim):
                    if maker not in self.needs and simplify(order) is not None:
                        self.needs[maker] = UNKNOWN


_CELLS = (keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell)


def _cut_axes(axes: Sequence[Axis], shape: Sequence[int | None], layout: Layout) -> Layout:
    """Return the layout of a part of a tensor, of which these axes are left."""
    cut = []
    for axis, length in zip(axes, shape, strict=True):
        if axis.length == length:
            cut.append(axis)
        else:
            order: Order = None if axis.order is None else UNKNOWN
            others = axis.makers | axis.others
            cut.append(Axis(length, axis.kind, axis.place, order, others=others))
    return make_layout(cut, is_certain=layout.is_certain)


def is_same_order(order: Order, other: Order) -> bool:
    """Return whether two orders are the same, or both not known."""
    return is_same_known_order(order, other) or (isinstance(order, str) and isinstance(other, str))


def _find_channel_axis(operation: Any, layout: Layout) -> int:
    """Return the axis of the channels in what an operation gets."""
    chosen = operation.data_format or keras.config.image_data_format()
    return 1 if chosen == "channels_first" else len(layout.axes) - 1


def _is_by_value(name: str) -> bool:
    """Return whether an operation of this name computes each value from one at the same place."""
    own = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    function = getattr(np, own, None)
    is_universal = isinstance(function, np.ufunc) and function.signature is None
    return is_universal or hasattr(keras.activations, own) or name in _OPERATIONS_BY_VALUE


def _spell_axes(letters: str, rank: int) -> str:
    """Return the letters of all axes, of which an equation may leave some out."""
    missing = rank - len(letters.replace("...", ""))
    return letters.replace("...", "0123456789"[:missing])


# What a model computes otherwise than its counterpart in torch with the same weights.


# That of torch's normalizations, but for `RMSNorm`.
_TORCH_EPSILON = 1e-5


class Differences:
    """The differences between a model and torch that weights show or make up for."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._checked: set[keras.Layer] = set()

    @functools.cached_property
    def _orders(self) -> RowOrders:
        return find_row_orders(self._model)

    def considered(self, weight: ModelWeight, array: LazyArray) -> LazyArray:
        """Return the array of a weight, with the order of a flattened image and with notes."""
        layer = weight.layer
        moved = self._orders.of(weight)
        unknown = self.unknown_orders(weight)
        if unknown:
            array = array.noted(f"the order of the {' and '.join(unknown)} is not known")
        else:
            for one in moved:
                array = _reorder(array, one)
        if _may_pad_differently(weight):
            array = array.noted("check padding: with strides torch pads both sides alike")
        if isinstance(layer, NORMALIZATIONS) and layer not in self._checked:
            self._checked.add(layer)
            is_rms = isinstance(layer, keras.layers.RMSNormalization)
            if not is_rms and layer.epsilon != _TORCH_EPSILON:
                note = f"check epsilon: {layer.epsilon:g}, in torch {_TORCH_EPSILON:g} by default"
                array = array.noted(note)
        return array

    def unknown_orders(self, weight: ModelWeight) -> list[str]:
        """Return what has an order that is not known: the rows of a weight, its units."""
        return [moved.what for moved in self._orders.of(weight) if isinstance(moved.order, str)]

    def reordered_axes(self, weight: ModelWeight) -> set[int]:
        """Return the axes of a weight along which torch has another order, or an unknown one."""
        axes: set[int] = set()
        for moved in self._orders.of(weight):
            axes.update(moved.axes)
        return axes


def _may_pad_differently(weight: ModelWeight) -> bool:
    """Return whether this is the kernel of a convolution that may pad more on one side.

    Keras does with strides and `"same"`; torch, which has no such padding for strides, never does.
    """
    layer = weight.layer
    if not isinstance(layer, ALL_CONVOLUTIONS) or not weight.name.endswith("kernel"):
        return False
    rank = len(layer.kernel_size)
    strides = _repeat_by_axis(layer.strides, rank)
    if layer.padding != "same" or max(strides) == 1:
        return False
    shape = (layer.get_build_config() or {}).get("input_shape", ())
    lengths = shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
    if isinstance(layer, TRANSPOSED) or len(lengths) != rank or None in lengths:
        return True
    dilations = _repeat_by_axis(layer.dilation_rate, rank)
    added = []
    for length, size, stride, dilation in zip(
        lengths, layer.kernel_size, strides, dilations, strict=True
    ):
        outputs = math.ceil(length / stride)
        window = dilation * (size - 1) + 1
        added.append(max((outputs - 1) * stride + window - length, 0))
    return any(count % 2 for count in added)


def _repeat_by_axis(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _reorder(array: LazyArray, moved: MovedAxes) -> LazyArray:
    """Return an array with the order of Keras along some of its axes."""
    front = tuple(range(len(moved.axes)))
    order = moved.order
    assert not isinstance(order, str)

    def reordered(values: Array) -> Array:
        if len(moved.axes) == 1:
            # In the order of memory this takes a fraction of the time.
            axes = sorted(range(values.ndim), key=lambda axis: -values.strides[axis])
            rows = np.take(values.transpose(axes), order, axes.index(moved.axes[0]))
            return rows.transpose(np.argsort(axes))
        values = np.moveaxis(values, moved.axes, front)
        flat = values.reshape(-1, *values.shape[len(front) :])
        return np.moveaxis(flat[order].reshape(values.shape), front, moved.axes)

    return array.changed(reordered, array.shape, f"{moved.what} reordered from channels first")
