"""Follow the calls of a model, to find along which axes torch has another order of values.

A model is called once with symbolic tensors. `LayoutWalk` follows these calls: for each kind of
operation a method `_follow_...` finds the layouts of its outputs (see `_axis_orders.py`), and notes
the tensors that its weights read and the order that the layers before it need:

    Conv2D(8) -> Flatten -> Dense(4)    the kernel of `Dense` reads 8 channels of each pixel
    Dense(32) -> Reshape -> Conv2D      the units of `Dense` need the order of an image

If an operation is not known, the orders after it are `UNKNOWN`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx.inspection._kernels import (
    ALL_CONVOLUTIONS,
    CONVOLUTIONS,
    DEPTHWISE,
    TRANSPOSED,
    normalizes,
)
from keras_initx.inspection._names import list_own_weights, list_sublayers
from keras_initx.inspection._symbolic import SymbolicCall, record_calls
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
# Each value is computed from those at the same position of the inputs.
_ELEMENTWISE_LAYERS = (
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
# Further operations like these, next to the universal functions of NumPy and Keras' activations.
_ELEMENTWISE_OPERATIONS = ("Clip", "Erf", "NanToNum", "Rsqrt", "StopGradient", "Where")
_CONVOLVING = ("Conv", "ConvTranspose", "DepthwiseConv", "SeparableConv")
_RESHAPING = ("ExpandDims", "Flatten", "Ravel", "Reshape", "Squeeze")
_SHUFFLING = ("DepthToSpace", "SpaceToDepth", "ExtractPatches")


def find_unit_axes(layer: keras.Layer) -> dict[str, tuple[int, ...]]:
    """Find the axes of the units in the weights of a layer, by name.

    It is empty for other layers, such as an LSTM.
    """
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
    return None if is_known else UNKNOWN


def _new_axis(axes: Iterable[Axis], length: Length) -> Axis:
    # Next to axes of an image, a new axis may have its channels.
    for axis in axes:
        if axis.kind != "same":
            return Axis(length, "channels")
    return Axis(length)


class _Call(NamedTuple):
    """A call in the model.

    Attributes:
        operation: The layer or operation.
        args: Its arguments, also those by keyword.
        inputs: The tensors among them.
        outputs: The tensors that it returns.
        rule: Function of the call that returns the layouts of the outputs, a `_follow_...`.
    """

    operation: keras.Operation
    args: list[Any]
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]
    rule: Callable[["_Call"], Sequence[Layout]]

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables among the arguments."""
        return [value for value in self.args if isinstance(value, keras.Variable)]


class _Read(NamedTuple):
    """How a weight reads a tensor.

    Attributes:
        axes: The axes of the weight that meet the axes of the tensor.
        order: The index in torch of each value along them.
    """

    axes: tuple[int, ...]
    order: Order


class LayoutWalk:
    """The calls in a model, and the layouts and orders that follow from them.

    The layouts go forward, from inputs to outputs. Needs go back: if a convolution reads an axis as
    channels of an image, the layer that made this axis must have another order of units. That
    changes the layouts after this layer, so the walk is repeated until nothing changes.

    Args:
        model: A built model.

    Attributes:
        reads: How each weight reads a tensor, by the ids of variables.
        needs: The orders that layers must have whose outputs become an image, or are added to one.
        has_image: Whether a tensor is an image.
    """

    def __init__(self, model: keras.Model) -> None:
        self.reads: dict[int, _Read] = {}
        self.needs: dict[keras.Operation, Order] = {}
        self.has_image: bool = False
        self._calls: list[_Call] = []
        self._layouts: dict[int, Layout] = {}
        root = record_calls(model)
        # The ids of inputs, and of those that a convolution reads.
        self._inputs: set[int] = {id(tensor) for tensor in root.inputs}
        self._images: set[int] = set()
        # An input with three axes may be one, even if no operation shows it.
        self.has_image |= any(len(plain_layout(tensor.shape).long) > 2 for tensor in root.inputs)
        self._record_inner(root)
        # This keeps the tensors alive as long as their ids are used.
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
                    layouts = self._follow_unknown(call)
                for tensor, layout in zip(call.outputs, layouts, strict=True):
                    self._layouts[id(tensor)] = layout
                    self.has_image |= layout.is_image
            is_same = self.needs.keys() == before.keys() and self._images == images
            if is_same and all(is_same_order(self.needs[maker], before[maker]) for maker in before):
                break
        self._note_unread()

    # Record the calls.

    def _record_inner(self, call: SymbolicCall) -> None:
        for inner in call.inside or ():
            self._record(inner)

    def _record(self, call: SymbolicCall) -> None:
        operation = call.operation
        if isinstance(operation, keras.layers.TimeDistributed):
            self._record_steps(call)
        elif isinstance(operation, keras.layers.SpectralNormalization):
            self._calls.append(_Call(operation, [], [], [], self._note_no_reads))
            self._record_inner(call)
        elif call.inside is not None:
            self._record_inner(call)
        else:
            rule = self._find_rule(operation)
            self._calls.append(
                _Call(operation, call.arguments, call.inputs, call.output_tensors, rule)
            )

    def _record_steps(self, call: SymbolicCall) -> None:
        """Record a layer that is called for each step, between taking a step and stacking them."""
        operation = call.operation
        (inner,) = call.inside or []
        whole = call.inputs[0]
        (step,) = inner.inputs
        (result,) = inner.output_tensors

        def follow_step(call: _Call) -> list[Layout]:
            layout = self._get_layout(whole)
            is_certain = layout.is_certain and layout.axes[1].kind == "same"
            axes = [layout.axes[0], *layout.axes[2:]]
            if isinstance(layout.axes[1].order, str | np.ndarray):
                axes[-1] = Axis(axes[-1].length, order=UNKNOWN)
            return [make_layout(axes, is_certain=is_certain, splits=layout.splits)]

        def follow_steps(call: _Call) -> list[Layout]:
            layout = self._get_layout(result)
            axes = [layout.axes[0], Axis(whole.shape[1]), *layout.axes[1:]]
            return [make_layout(axes, is_certain=layout.is_certain, splits=layout.splits)]

        self._calls.append(_Call(operation, [], call.inputs, [step], follow_step))
        self._record_inner(call)
        self._calls.append(_Call(operation, [], [result], call.output_tensors, follow_steps))

    def _find_rule(self, operation: keras.Operation) -> Callable[[_Call], Sequence[Layout]]:
        """Find the `_follow_...` for the calls of a layer or an operation."""
        name = type(operation).__name__
        if isinstance(operation, keras.Layer):
            for kinds, rule in self._list_layer_rules():
                if isinstance(operation, kinds):
                    return rule
            if normalizes(operation) or isinstance(operation, keras.layers.Normalization):
                return self._follow_normalization
        elif operation_rule := self._list_operation_rules().get(name):
            return operation_rule
        elif _is_elementwise(name):
            return self._follow_elementwise
        elif getattr(operation, "axis", ...) is not ... and hasattr(operation, "keepdims"):
            return self._follow_reduction
        if name in _RESHAPING:
            return self._follow_reshaping
        if hasattr(operation, "data_format") and name not in _SHUFFLING:
            return self._follow_pooling
        return self._follow_unknown

    def _list_layer_rules(self) -> list[tuple[Any, Callable[[_Call], Sequence[Layout]]]]:
        kinds = keras.layers
        return [
            (ALL_CONVOLUTIONS, self._follow_convolution),
            (kinds.Dense, self._follow_dense),
            (kinds.EinsumDense, self._follow_einsum_dense),
            (kinds.Embedding, self._follow_embedding),
            ((kinds.RNN, kinds.Bidirectional), self._follow_recurrent),
            (_ATTENTION, self._follow_attention),
            (kinds.Concatenate, self._follow_concatenation),
            (_ELEMENTWISE_LAYERS, self._follow_elementwise),
            (kinds.Permute, self._follow_transposition),
            (kinds.RepeatVector, self._follow_repetition),
            (kinds.TorchModuleWrapper, self._follow_torch_module),
        ]

    def _list_operation_rules(self) -> dict[str, Callable[[_Call], Sequence[Layout]]]:
        return {
            **dict.fromkeys(_CONVOLVING, self._follow_convolution),
            **dict.fromkeys(("Transpose", "Swapaxes", "Moveaxis"), self._follow_transposition),
            **dict.fromkeys(("Matmul", "Dot"), self._follow_product),
            **dict.fromkeys(("ArraySplit", "Split", "Unstack"), self._follow_splitting),
            "Concatenate": self._follow_concatenation,
            "Einsum": self._follow_einsum,
            "GetItem": self._follow_slicing,
            "Pad": self._follow_padding,
            "Stack": self._follow_stacking,
        }

    # Look up and note what is known.

    def _get_layout(self, tensor: keras.KerasTensor) -> Layout:
        layout = self._layouts.get(id(tensor))
        if layout is None:
            layout = plain_layout(tensor.shape)
            # An input with three axes may be an image.
            if len(layout.long) > 2 or id(tensor) in self._images:
                layout = make_layout(image_axes(tensor.shape, -1), is_certain=False)
            self._layouts[id(tensor)] = layout
            self.has_image |= layout.is_image
        return layout

    def _get_input_layouts(self, call: _Call) -> list[Layout]:
        return [self._get_layout(tensor) for tensor in call.inputs]

    def _note_read(self, weight: keras.Variable, axes: tuple[int, ...], order: Order) -> None:
        order = simplify(order)
        before = self.reads.get(id(weight))
        # A weight that is called twice may read two orders.
        if before is not None and not is_same_known_order(before.order, order):
            order = UNKNOWN
        self.reads[id(weight)] = _Read(axes, order)

    def _note_layer_reads(self, layer: keras.Operation, order: Order) -> None:
        if isinstance(layer, keras.Layer):
            for weight in layer.weights:
                is_bias = weight.name == "bias"
                self._note_read(weight, (0,), None if is_bias else order)

    def _note_kernel_reads(self, layer: keras.Layer, axes: tuple[int, ...], order: Order) -> None:
        for weight in list_own_weights(layer):
            self._note_read(weight, axes, order if weight.name == "kernel" else None)

    def _note_no_reads(self, call: _Call) -> list[Layout]:
        for weight in list_own_weights(call.operation):
            self._note_read(weight, (0,), None)
        return [self._get_layout(tensor) for tensor in call.outputs]

    def _note_need(self, maker: keras.Operation, order: Order) -> None:
        before = self.needs.get(maker)
        if before is None:
            self.needs[maker] = order
        elif not is_same_order(before, order):
            self.needs[maker] = UNKNOWN

    def _make_unit_axis(self, maker: keras.Operation, axis: Axis) -> Axis:
        order = self.needs.get(maker)
        if isinstance(order, str) or not find_unit_axes(maker):
            order = None
        return Axis(
            axis.length, axis.kind, axis.index_in_space, simplify(order), makers=frozenset({maker})
        )

    def _find_scale_order(self, axis: Axis) -> Order:
        """Find the order of a weight with one value for each along an axis, such as a scale.

        It is `UNKNOWN` if the layer that made the axis needs an order that is not known.
        """
        if any(isinstance(self.needs.get(maker), str) for maker in axis.makers):
            return UNKNOWN
        return axis.order

    def _note_image(self, layout: Layout, channels: int) -> None:
        """Note that a tensor is an image, for which layers before it need an order."""
        for split in layout.splits:
            # The axes of a split are those of an example.
            for maker, order in split.orders(0 if channels == 1 else -1, len(layout.axes) - 1):
                self._note_need(maker, order)

    # Follow a call: find the layouts of its outputs.

    def _follow_convolution(self, call: _Call) -> list[Layout]:
        tensor = call.inputs[0]
        if id(tensor) in self._inputs:
            self._images.add(id(tensor))
        layout = self._get_layout(tensor)
        operation = call.operation
        channels = _find_channel_axis(operation, layout)
        order: Order = layout.axes[channels].order
        rest = [axis for index, axis in enumerate(layout.axes) if index != channels]
        if any(axis.order is not None for axis in rest[1:]):
            order = UNKNOWN
        is_single = isinstance(operation, TRANSPOSED) or getattr(operation, "groups", 2) == 1
        if order is not None and (isinstance(operation, DEPTHWISE) or not is_single):
            order = UNKNOWN
        self._note_image(layout, channels)
        if isinstance(operation, keras.Layer):
            for weight in list_own_weights(operation):
                if weight.name.endswith("kernel"):
                    # The last axes are inputs and units, and the reverse if transposed.
                    rows = len(weight.shape) - (1 if isinstance(operation, TRANSPOSED) else 2)
                    self._note_read(weight, (rows,), order)
        else:
            for weight in call.variables:
                self._note_read(weight, (0,), _unknown_unless(order is None))
        (output,) = call.outputs
        axes = image_axes(output.shape, channels)
        axes[channels] = self._make_unit_axis(operation, axes[channels])
        if isinstance(operation, DEPTHWISE) and order is not None:
            axes[channels] = Axis(axes[channels].length, "channels", order=UNKNOWN)
        return [make_layout(axes)]

    def _follow_pooling(self, call: _Call) -> list[Layout]:
        """Follow what pools, pads or resizes an image, and keeps its channels."""
        layout = self._get_input_layouts(call)[0]
        channels = _find_channel_axis(call.operation, layout)
        (output,) = call.outputs
        if len(call.inputs) > 1 or len(layout.axes) < 3:
            return self._follow_unknown(call)
        axis_before = layout.axes[channels]
        if layout.splits:
            self._note_image(layout, channels)
        if len(output.shape) == 2:
            return [make_layout([Axis(output.shape[0]), axis_before])]
        if len(output.shape) != len(layout.axes):
            return self._follow_unknown(call)
        axes = image_axes(output.shape, channels)
        order: Order = axis_before.order
        if any(axis.order is not None for axis in layout.axes) and order is None:
            order = UNKNOWN
            # Neighbours are no neighbours in torch, along the axis of a single channel too.
            axes = [axes[0], *(replace(axis, order=UNKNOWN) for axis in axes[1:])]
        if axis_before.length != output.shape[channels]:
            order = UNKNOWN
        makers = axis_before.makers if order is axis_before.order else frozenset()
        axes[channels] = Axis(output.shape[channels], "channels", order=order, makers=makers)
        return [make_layout(axes, is_certain=layout.is_image or bool(layout.splits))]

    def _follow_dense(self, call: _Call) -> list[Layout]:
        layout = self._get_input_layouts(call)[0]
        order = UNKNOWN if layout.is_unknown else layout.axes[-1].order
        self._note_kernel_reads(call.operation, (0,), order)
        return [self._append_units(call, layout, [*range(len(layout.axes) - 1)])]

    def _append_units(self, call: _Call, layout: Layout, kept: Sequence[int]) -> Layout:
        """Make the layout of an output with some axes of the input, and an axis of units."""
        axes = []
        for index in kept:
            axis = layout.axes[index]
            if isinstance(axis.order, str):
                axis = Axis(axis.length, "space", (index,))
            axes.append(axis)
        units = _new_axis(axes, call.outputs[0].shape[-1])
        return make_layout([*axes, self._make_unit_axis(call.operation, units)], is_certain=False)

    def _follow_einsum_dense(self, call: _Call) -> list[Layout]:
        layout = self._get_input_layouts(call)[0]
        operation = call.operation
        inputs, kernel, outputs = re.split(",|->", operation.equation)
        inputs = _spell_axes(inputs, len(layout.axes))
        outputs = _spell_axes(outputs, len(call.outputs[0].shape))
        summed = [letter for letter in inputs if letter in kernel and letter not in outputs]
        units = [letter for letter in outputs if letter in kernel and letter not in inputs]
        if len(summed) + len(units) != len(kernel):
            return self._follow_unknown(call)
        axes = [layout.axes[inputs.index(letter)] for letter in summed]
        order = UNKNOWN if layout.is_unknown else layout.merge(axes).order
        rows = tuple(map(kernel.index, summed))
        self._note_kernel_reads(operation, rows, order)
        kept = [inputs.index(letter) for letter in outputs if letter in inputs]
        if len(units) == 1 and outputs[-1] == units[0]:
            return [self._append_units(call, layout, kept)]
        shape = call.outputs[0].shape
        if kept == [0] and outputs[0] == inputs[0]:
            size = int(np.prod(shape[1:]))
            flat = Layout((Axis(shape[0]), self._make_unit_axis(operation, Axis(size))))
            return [flat.reshape(shape)]
        return [plain_layout(shape) if layout.is_plain else layout.forget_orders(shape)]

    def _follow_embedding(self, call: _Call) -> list[Layout]:
        (output,) = call.outputs
        self._note_layer_reads(call.operation, None)
        axes = plain_layout(output.shape).axes
        return [Layout((*axes[:-1], self._make_unit_axis(call.operation, axes[-1])))]

    def _follow_recurrent(self, call: _Call) -> list[Layout]:
        layout, *states = self._get_input_layouts(call)
        layer: Any = call.operation
        order = UNKNOWN if layout.is_unknown else layout.axes[-1].order
        is_known = all(state.is_plain for state in states)
        # The steps may be in another order, which no order of weights makes up for.
        is_known &= all(axis.order is None for axis in layout.axes[:-1])
        directions = [layer]
        if isinstance(layer, keras.layers.Bidirectional):
            directions = [layer.forward_layer, layer.backward_layer]
        kernels = []
        for direction in directions:
            cell = getattr(direction, "cell", direction)
            cell = getattr(cell, "cells", [cell])[0]
            is_known &= order is None or isinstance(cell, _CELLS)
            kernels += [weight for weight in cell.weights if weight.name == "kernel"]
        if not is_known:
            self._note_layer_reads(layer, UNKNOWN)
        for weight in layer.weights if is_known else ():
            # Only the kernels of the first cells read the inputs.
            reads_inputs = any(weight is kernel for kernel in kernels)
            self._note_read(weight, (0,), order if reads_inputs else None)
        layouts = []
        for output in call.outputs:
            shape = output.shape
            if len(shape) > 3:
                is_certain = len(shape) < len(layout.axes)
                layouts.append(make_layout(image_axes(shape, -1), is_certain=is_certain))
                continue
            axes = plain_layout(shape).axes
            layouts.append(Layout((*axes[:-1], self._make_unit_axis(layer, axes[-1]))))
        return layouts

    def _follow_attention(self, call: _Call) -> list[Layout]:
        before = self._get_input_layouts(call)
        is_known = all(layout.axes[-1].order is None and not layout.is_unknown for layout in before)
        self._note_layer_reads(call.operation, _unknown_unless(is_known))
        layouts = []
        for output in call.outputs:
            shape = output.shape
            axes = plain_layout(shape).axes if len(shape) < 4 else image_axes(shape, -1)
            axes = [*axes[:-1], self._make_unit_axis(call.operation, axes[-1])]
            layouts.append(make_layout(axes, is_certain=False))
        return layouts

    def _follow_normalization(self, call: _Call) -> list[Layout]:
        layout = self._get_input_layouts(call)[0]
        operation: Any = call.operation
        axis = getattr(operation, "axis", -1)
        along = [axis] if isinstance(axis, int) else list(axis or ())
        axes = [layout.axes[index] for index in along]
        order: Order = UNKNOWN if layout.is_unknown else None
        if len(axes) == 1 and order is None:
            order = self._find_scale_order(axes[0])
        elif {"space", "channels"} <= {axis.kind for axis in axes}:
            order = UNKNOWN
        for weight in list_own_weights(operation):
            self._note_read(weight, (0,), order if weight.shape else None)
        by_channels = keras.layers.BatchNormalization | keras.layers.GroupNormalization
        is_certain = layout.is_certain
        if not isinstance(operation, by_channels) and {axis.kind for axis in axes} == {"channels"}:
            is_certain = False  # torch normalizes the last axes
        return [make_layout(layout.axes, is_certain=is_certain, splits=layout.splits)]

    def _follow_elementwise(self, call: _Call) -> list[Layout]:
        (output,) = call.outputs
        layout = self._join_inputs(call, output.shape)
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
                order = self._find_scale_order(axes[0])
            elif any(self._find_scale_order(axis) is not None for axis in axes):
                order = UNKNOWN
            self._note_read(weight, (len(weight.shape) - 1,), order)
        return [layout]

    def _join_inputs(
        self, call: _Call, shape: Sequence[int | None], along: int | None = None
    ) -> Layout:
        layout, needs = join_layouts(self._get_input_layouts(call), shape, along)
        for maker, order in needs.items():
            self._note_need(maker, order)
        return layout

    def _follow_concatenation(self, call: _Call) -> list[Layout]:
        (output,) = call.outputs
        rank = len(output.shape)
        axis = call.operation.axis
        if axis is None:
            return self._follow_unknown(call)
        return [self._join_inputs(call, output.shape, axis % rank)]

    def _follow_reshaping(self, call: _Call) -> list[Layout]:
        layout = self._get_input_layouts(call)[0]
        (output,) = call.outputs
        is_flatten = isinstance(call.operation, keras.layers.Flatten)
        rank = len(layout.axes)
        if is_flatten and call.operation.data_format == "channels_first" and rank > 2:
            axes = [0, *range(2, rank), 1]
            size = output.shape[-1]
            if layout.is_plain and size is not None:
                lengths = [axis.length or 0 for axis in layout.axes[1:]]
                positions = np.moveaxis(np.arange(size).reshape(lengths), 0, -1)
                return [Layout((layout.axes[0], Axis(size, order=simplify(positions.reshape(-1)))))]
            layout = layout.transpose(axes, is_kept_in_torch=True)
        reshaped = layout.reshape(output.shape)
        unknown = [axis for axis in reshaped.axes if isinstance(axis.order, str)]
        # Some channels become pixels, in torch perhaps by `PixelShuffle`, which has another order.
        is_shuffled = [axis.kind for axis in layout.axes].count("channels") > 1
        for axis in unknown if is_shuffled or len(unknown) > 1 else ():
            for maker in axis.mixed_makers:
                self._note_need(maker, UNKNOWN)
        return [reshaped]

    def _follow_transposition(self, call: _Call) -> list[Layout]:
        layout = self._get_input_layouts(call)[0]
        operation: Any = call.operation
        # An array that takes no memory, in whose shape each length is 1 more than its axis.
        numbered = np.broadcast_to(np.int8(0), range(1, len(layout.axes) + 1))
        name = type(operation).__name__
        if name == "Permute":
            numbered = numbered.transpose(0, *operation.dims)
        elif name == "Swapaxes":
            numbered = numbered.swapaxes(operation.axis1, operation.axis2)
        elif name == "Moveaxis":
            numbered = np.moveaxis(numbered, operation.source, operation.destination)
        else:
            numbered = numbered.transpose(operation.axes)
        return [layout.transpose([length - 1 for length in numbered.shape])]

    def _follow_repetition(self, call: _Call) -> list[Layout]:
        layout = self._get_input_layouts(call)[0]
        (output,) = call.outputs
        first, last = layout.axes
        return [Layout((first, Axis(output.shape[1]), last))]

    def _follow_reduction(self, call: _Call) -> list[Layout]:
        layout, *more_inputs = self._get_input_layouts(call)
        (output, *more_outputs) = call.outputs
        operation: Any = call.operation
        rank = len(layout.axes)
        axes = operation.axis
        if axes is None:
            axes = range(rank)
        elif isinstance(axes, int):
            axes = [axes]
        gone = {axis % rank for axis in axes}
        left = []
        for index, axis in enumerate(layout.axes):
            if index not in gone:
                left.append(axis)
            elif operation.keepdims:
                left.append(Axis(1))
        is_single = not more_inputs and not more_outputs
        if not is_single or [axis.length for axis in left] != list(output.shape):
            return self._follow_unknown(call)
        if layout.splits and gone:
            self._note_image(layout, -1)
        return [make_layout(left, is_certain=layout.is_certain)]

    def _follow_slicing(self, call: _Call) -> list[Layout]:
        layout = self._get_input_layouts(call)[0]
        (output,) = call.outputs
        rest = list(layout.axes)
        axes: list[Axis] = []
        key = [value for value in call.args if not isinstance(value, keras.KerasTensor)]
        missing = len(rest) - sum(item is not None and item is not ... for item in key)
        for item in key:
            if item is None:
                axes.append(Axis(1))
            elif item is ...:
                axes += [rest.pop(0) for _ in range(missing)]
            elif isinstance(item, int) and rest:
                rest.pop(0)
            elif isinstance(item, slice) and rest:
                axes.append(rest.pop(0))
            else:
                return self._follow_unknown(call)
        axes += rest
        if len(axes) != len(output.shape):
            return self._follow_unknown(call)
        return [_resize_axes(axes, output.shape, layout)]

    def _follow_padding(self, call: _Call) -> list[Layout]:
        """Follow what adds values at the ends of axes, and moves no other value."""
        layout = self._get_input_layouts(call)[0]
        (output,) = call.outputs
        padded = _resize_axes(layout.axes, output.shape, layout)
        makers: set[keras.Operation] = set()
        for axis in layout.axes:
            makers |= axis.makers | axis.mixed_makers
        convolves = any(isinstance(maker, ALL_CONVOLUTIONS) for maker in makers)
        if convolves and len(padded.long) > len(layout.long):
            # An image of one pixel is the same in torch, and one of several pixels is not.
            unknown = [replace(axis, order=UNKNOWN) for axis in padded.axes[1:]]
            return [make_layout([padded.axes[0], *unknown])]
        return [padded]

    def _follow_splitting(self, call: _Call) -> list[Layout]:
        layout = self._get_input_layouts(call)[0]
        axes = list(layout.axes)
        if len(call.outputs[0].shape) < len(axes):
            del axes[call.operation.axis]
        return [_resize_axes(axes, output.shape, layout) for output in call.outputs]

    def _follow_stacking(self, call: _Call) -> list[Layout]:
        (output,) = call.outputs
        index = call.operation.axis % len(output.shape)
        shape = list(output.shape)
        length = shape.pop(index)
        layout = self._join_inputs(call, shape)
        axes = [*layout.axes[:index], Axis(length), *layout.axes[index:]]
        return [make_layout(axes, is_certain=layout.is_certain)]

    def _follow_product(self, call: _Call) -> list[Layout]:
        (output,) = call.outputs
        layouts = self._get_input_layouts(call)
        variables = call.variables
        layout = layouts[0]
        if len(layouts) == 1 and len(variables) == 1 and call.inputs[0] is call.args[0]:
            order = UNKNOWN if layout.is_unknown else layout.axes[-1].order
            self._note_read(variables[0], (0,), order)
            return [self._append_units(call, layout, [*range(len(layout.axes) - 1)])]
        if len(layouts) != 2 or len(layouts[0].axes) != len(output.shape):
            return self._follow_unknown(call)
        axes = [*layouts[0].axes[:-1], layouts[1].axes[-1]]
        return [make_layout(axes, is_certain=False)]

    def _follow_einsum(self, call: _Call) -> list[Layout]:
        (output,) = call.outputs
        operands, result = call.operation.subscripts.replace(" ", "").split("->")
        values = [value for value in call.args if hasattr(value, "shape")]
        axes_by_letter: dict[str, Axis] = {}
        tensors = zip(operands.split(","), values, strict=True)
        named = [(_spell_axes(letters, len(value.shape)), value) for letters, value in tensors]
        for letters, value in named:
            if isinstance(value, keras.KerasTensor):
                for letter, axis in zip(letters, self._get_layout(value).axes, strict=True):
                    if letter not in axes_by_letter or axis.order is not None:
                        axes_by_letter[letter] = axis
        for letters, value in named:
            if isinstance(value, keras.Variable):
                shared = [axes_by_letter[letter] for letter in letters if letter in axes_by_letter]
                is_known = all(axis.order is None for axis in shared)
                self._note_read(value, (0,), _unknown_unless(is_known))
        axes = []
        for letter, length in zip(
            _spell_axes(result, len(output.shape)), output.shape, strict=True
        ):
            axes.append(axes_by_letter.get(letter) or _new_axis(axes_by_letter.values(), length))
        return [make_layout(axes, is_certain=False)]

    def _follow_torch_module(self, call: _Call) -> list[Layout]:
        # A module of torch has the axes of torch.
        is_known = all(layout.has_torch_orders for layout in self._get_input_layouts(call))
        self._note_layer_reads(call.operation, _unknown_unless(is_known))
        layouts = []
        for output in call.outputs:
            layout = plain_layout(output.shape)
            if len(layout.axes) > 3:
                layout = make_layout(image_axes(output.shape, 1))
            layouts.append(layout)
        return layouts

    def _follow_unknown(self, call: _Call) -> list[Layout]:
        """Follow what computes in a way that is not known."""
        before = self._get_input_layouts(call)
        operation = call.operation
        sublayers = list_sublayers(operation) if isinstance(operation, keras.Layer) else []
        convolves = any(isinstance(layer, ALL_CONVOLUTIONS) for layer in sublayers)
        variables = call.variables
        if all(layout.is_plain for layout in before) and not convolves:
            self._note_layer_reads(operation, None)
            for weight in variables:
                self._note_read(weight, (0,), None)
            return [plain_layout(output.shape) for output in call.outputs]
        if isinstance(operation, keras.Layer) and not sublayers:
            self._note_layer_reads(operation, UNKNOWN)
        for weight in variables:
            self._note_read(weight, (0,), UNKNOWN)
        # If channels become pixels, or the reverse, the units of the layers that made them may have
        # another order too.
        shapes = {tuple(output.shape) for output in call.outputs}
        moved = [layout for layout in before if not layout.is_plain]
        for layout in before:
            if layout.is_image and layout.shape not in shapes:
                for axis in layout.axes:
                    for maker in axis.makers:
                        self._note_need(maker, UNKNOWN)
        layouts = []
        for output in call.outputs:
            shape = output.shape
            of_equal_rank = [layout for layout in moved if len(layout.axes) == len(shape)]
            if of_equal_rank:
                layout = of_equal_rank[0].forget_orders(shape)
            elif convolves and len(shape) > 3:
                layout = make_layout(image_axes(shape, -1), is_certain=False)
            elif shape:
                axes = plain_layout(shape).axes
                layout = make_layout([*axes[:-1], Axis(shape[-1], order=UNKNOWN)])
            else:
                layout = plain_layout(shape)
            layouts.append(layout)
        return layouts

    def _note_unread(self) -> None:
        """Note layers whose outputs may have become an image that no convolution reads."""
        for layout in self._layouts.values():
            for split in layout.splits:
                positions = split.positions
                if positions is None or not split.is_whole_example:
                    continue
                if sum(length > 1 for length in positions.shape) < 3:
                    continue
                for maker, order in split.orders(-1, positions.ndim):
                    if maker not in self.needs and simplify(order) is not None:
                        self.needs[maker] = UNKNOWN


_CELLS = (keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell)


def _resize_axes(axes: Sequence[Axis], shape: Sequence[int | None], layout: Layout) -> Layout:
    """Make the layout of a part of a tensor, or of a tensor with added values at the ends of axes.

    Args:
        axes: The axes of the result, with their lengths before.
        shape: The shape of the result.
        layout: The layout before.
    """
    resized = []
    for axis, length in zip(axes, shape, strict=True):
        if axis.length == length:
            resized.append(axis)
        else:
            order: Order = None if axis.order is None else UNKNOWN
            makers = axis.makers | axis.mixed_makers
            resized.append(Axis(length, axis.kind, axis.index_in_space, order, mixed_makers=makers))
    return make_layout(resized, is_certain=layout.is_certain)


def is_same_order(order: Order, other: Order) -> bool:
    return is_same_known_order(order, other) or (isinstance(order, str) and isinstance(other, str))


def _find_channel_axis(operation: Any, layout: Layout) -> int:
    chosen = operation.data_format or keras.config.image_data_format()
    return 1 if chosen == "channels_first" else len(layout.axes) - 1


def _is_elementwise(name: str) -> bool:
    # `LogicalNot` of Keras is `logical_not` of NumPy.
    in_snake_case = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    function = getattr(np, in_snake_case, None)
    is_universal = isinstance(function, np.ufunc) and function.signature is None
    is_activation = hasattr(keras.activations, in_snake_case)
    return is_universal or is_activation or name in _ELEMENTWISE_OPERATIONS


def _spell_axes(letters: str, rank: int) -> str:
    # `"...ab"` of a tensor with four axes is `"01ab"`.
    missing = rank - len(letters.replace("...", ""))
    return letters.replace("...", "0123456789"[:missing])
