"""The order of axes and gates in other layouts: weights of Keras from arrays of torch.

layer                  Keras                               torch
Dense                  (inputs, units)                     (units, inputs)
Conv2D                 (height, width, inputs, units)      (units, inputs, height, width)
Conv2DTranspose        (height, width, units, inputs)      (inputs, units, height, width)
DepthwiseConv2D        (height, width, channels, k)        (channels * k, 1, height, width)
LSTM                   (inputs, gates: i f c o)            (gates: i f g o, inputs)
GRU                    (inputs, gates: z r h)              (gates: r z n, inputs)
BatchNormalization     (channels,)                         (channels,)
"""

import math
from collections.abc import Sequence

import keras
import numpy as np

from keras_initx._typing import Shape
from keras_initx.checkpoints._sources import LAYOUTS, LayoutName
from keras_initx.files._lazy import LazyArray, join_lazily, stack_lazily, sum_lazily
from keras_initx.inspection._kernels import (
    ALL_CONVOLUTIONS,
    NORMALIZATIONS,
    TRANSPOSED,
    is_depthwise,
    is_kernel,
    knows_axes,
)
from keras_initx.inspection._weights import ModelWeight

# The note on an array that has the order of axes of its weight, because no other order fits.
BY_SHAPE = "in its own order, because no other fits the shape"

CELLS = (keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell)


class UnknownOrderError(ValueError):
    """Raised if the order of the axes of a layer in torch is not known."""


def find_fitting_layouts(weight: ModelWeight, arrays: Sequence[LazyArray]) -> list[LayoutName]:
    """Find the layouts that the arrays of a weight may have, by their shapes.

    The list is empty if shapes show nothing: if both layouts are the same, or one is not known.
    """
    conversions: dict[LayoutName, tuple[str, ...]] = {}
    for layout in LAYOUTS:
        convert = convert_from_torch if layout == "torch" else convert_from_keras
        try:
            how = convert(weight, arrays).how
            conversions[layout] = tuple(note for note in how if note != BY_SHAPE)
        except UnknownOrderError:
            return []
        except ValueError:
            continue
    if conversions.get("torch") == conversions.get("keras"):
        return []
    return list(conversions)


def convert_from_keras(
    weight: ModelWeight, arrays: Sequence[LazyArray], shape: Shape | None = None
) -> LazyArray:
    """Convert an array of Keras to a weight. It may have flat inputs and units.

    Args:
        weight: The weight.
        arrays: The array.
        shape: The shape of the result, by default the shape of the weight.

    Raises:
        ValueError: If it has neither this shape nor the shape of such a matrix.
    """
    (array,) = arrays
    shape = weight.shape if shape is None else shape
    # The order of the axes of an array with as many of them as the weight is kept.
    # Other weights of the layer are scales of a quantized kernel, or factors of LoRA.
    if isinstance(weight.layer, keras.layers.EinsumDense) and array.shape != shape:
        if weight.name == "bias":
            return array.expect(shape, (math.prod(shape),)).reshaped(shape)
        axes = _split_einsum_axes(weight.layer)
        if weight.name == "kernel" and len(shape) > 2 and axes is not None:
            inputs, units = axes
            return _unflatten_matrix(array, shape, inputs, units)
    return array.expect(shape)


def convert_from_torch(
    weight: ModelWeight, arrays: Sequence[LazyArray], shape: Shape | None = None
) -> LazyArray:
    """Convert arrays of torch to a weight: units, then inputs, then the window.

    Args:
        weight: The weight.
        arrays: The arrays.
        shape: The shape of the result, by default the shape of the weight.

    Raises:
        ValueError: If the layer has other shapes in torch, or its order of axes there is not known.
    """
    layer = weight.layer
    name = weight.name
    shape = weight.shape if shape is None else shape
    array = arrays[0]
    flat = (math.prod(shape),)
    if isinstance(layer, CELLS):
        return _convert_recurrent(weight, arrays)
    if isinstance(layer, keras.layers.EinsumDense) and name == "bias":
        return array.expect(shape, flat).reshaped(shape)
    if isinstance(layer, keras.layers.EinsumDense) and name == "kernel":
        axes = _split_einsum_axes(layer)
        if axes is not None:
            inputs, units = axes
            return _unflatten_matrix(array, shape, units, inputs)
    if isinstance(layer, keras.layers.Dense) and name == "kernel":
        return array.expect(shape[::-1]).transposed(1, 0)
    if name != "bias" and is_depthwise(layer, name):
        *window, channels, multiplier = shape
        array = array.expect((channels * multiplier, 1, *window))
        array = array.reshaped((channels, multiplier, *window))
        return array.transposed(*range(2, len(shape)), 0, 1)
    if name.endswith("kernel") and isinstance(layer, ALL_CONVOLUTIONS):
        # The kernel of a transposed convolution has its two channel axes swapped, in both
        # frameworks.
        array = array.expect((shape[-1], shape[-2], *shape[:-2]))
        return array.transposed(*range(2, len(shape)), 1, 0)
    # A normalized image has its channels first in torch.
    is_flat_norm = isinstance(layer, NORMALIZATIONS) and len(shape) < 3
    if isinstance(layer, keras.layers.TorchModuleWrapper) or name == "embeddings" or is_flat_norm:
        return array.expect(shape)
    # Only the last axis counts, as in the slopes of a `PReLU`, whose others are shared.
    is_matrix = len(shape) > 1 and is_kernel(weight.variable)
    if not is_matrix and all(length == 1 for length in shape[:-1]):
        return array.expect(shape, flat).reshaped(shape)
    # Axes that only a layer of Keras has, such as those of `PReLU`, are elsewhere in torch.
    if not knows_axes(layer) and array.shape == shape and len(set(shape)) == len(shape):
        return array.noted(BY_SHAPE)
    raise _unknown_order_error(layer)


def join_units(weight: ModelWeight, arrays: Sequence[LazyArray], layout: LayoutName) -> LazyArray:
    """Join arrays side by side along the units that they have in a layout.

    Raises:
        ValueError: If that axis is not known, or the arrays do not fit together.
    """
    first = arrays[0]
    axis = _find_units_axis(weight, first, layout)
    for array in arrays[1:]:
        others = [list(each.shape) for each in (first, array)]
        if len(array.shape) == len(first.shape):
            for lengths in others:
                del lengths[axis]
        if others[0] != others[1] or array.dtype != first.dtype:
            raise ValueError(
                f"{first.dtype} of shape {first.shape} and {array.dtype} of shape {array.shape} do "
                "not fit side by side along the units"
            )
    return join_lazily(arrays, (f"{len(arrays)} arrays side by side",), axis)


def _find_units_axis(weight: ModelWeight, array: LazyArray, layout: LayoutName) -> int:
    layer = weight.layer
    if len(array.shape) == 1 and len(weight.shape) == 1:
        return 0
    inputs, outputs = weight.axes or ((), ())
    units = [axis for axis in outputs if axis not in inputs]  # without the window
    # With several axes of units, arrays may also lie side by side within each head.
    is_known = knows_axes(layer) and len(units) == 1 and weight.groups == (1, 1)
    if not is_known or is_depthwise(layer, weight.name) or not array.shape:
        raise UnknownOrderError(
            f"the axis of the units in the {weight.name} of a {type(layer).__name__} is unknown: "
            "pass one array, joined as the layer has them"
        )
    if layout == "keras":
        return units[0] if len(array.shape) == len(weight.shape) else len(array.shape) - 1
    if isinstance(layer, keras.layers.Embedding):
        return len(array.shape) - 1
    return 1 if isinstance(layer, TRANSPOSED) else 0


def _unknown_order_error(layer: keras.Layer) -> UnknownOrderError:
    return UnknownOrderError(
        f"the order of axes of a {type(layer).__name__} in torch is unknown; pass a function of "
        "the array, as in `(name, function)`"
    )


def _convert_recurrent(weight: ModelWeight, arrays: Sequence[LazyArray]) -> LazyArray:
    """Convert a kernel, or the two biases of torch to the one of Keras."""
    cell = weight.layer
    shape = weight.shape
    is_bias = weight.name == "bias"
    if not isinstance(cell, keras.layers.GRUCell):
        if not is_bias:
            return arrays[0].expect(shape[::-1]).transposed(1, 0)
        # The bias of Keras is their sum.
        parts = [array.expect(shape) for array in arrays]
        return sum_lazily(parts) if len(parts) > 1 else parts[0]
    if not cell.reset_after:
        raise UnknownOrderError(
            "torch has no GRU with `reset_after=False`: make the layer with `reset_after=True`"
        )
    units = 3 * cell.units
    if not is_bias:
        return _reorder_gates(arrays[0].expect((units, shape[0]))).transposed(1, 0)
    if len(arrays) < 2:
        raise ValueError(
            f"torch has two biases of shape ({units},) for a GRU, but the source has one array of "
            f"shape {arrays[0].shape}"
        )
    return stack_lazily([_reorder_gates(array.expect((units,))) for array in arrays])


def _reorder_gates(array: LazyArray) -> LazyArray:
    units = array.shape[0] // 3
    reset, update, new = (array.part(np.s_[gate * units : (gate + 1) * units]) for gate in range(3))
    return join_lazily([update, reset, new], (*array.how, "gates reordered"))


def _split_einsum_axes(layer: keras.layers.EinsumDense) -> tuple[Shape, Shape] | None:
    """Find the axes of inputs and of units in a kernel; `None` for a batch of matrices.

    They are `(0,), (1, 2)` for `abc,cde->abde`. Flattened, inputs and units have the order of the
    layer's inputs and outputs, and the kernel may have another one.
    """
    equation = layer.equation.replace("->", ",").replace("...", "")
    inputs, kernel, output = equation.split(",")
    summed_axes = [letter for letter in inputs if letter in kernel and letter not in output]
    units = [letter for letter in output if letter in kernel and letter not in inputs]
    if len(summed_axes) + len(units) != len(kernel):
        return None
    return tuple(map(kernel.index, summed_axes)), tuple(map(kernel.index, units))


def _unflatten_matrix(array: LazyArray, shape: Shape, rows: Shape, columns: Shape) -> LazyArray:
    # A kernel from a matrix whose rows and columns are these of its axes, flattened.
    order = (*rows, *columns)
    split = tuple(shape[axis] for axis in order)
    array = array.expect((math.prod(split[: len(rows)]), math.prod(split[len(rows) :])))
    return array.reshaped(split).transposed(*np.argsort(order).tolist())
