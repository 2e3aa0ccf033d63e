"""What a model computes differently from its counterpart in torch with the same weights.

Some differences are made up for when weights are loaded: rows and units that stand before or after
an image (`_row_orders.py`). Others are only noted, because the weights cannot show them: the
epsilon of a normalization, and the padding of a convolution with strides.
"""

import functools
import math

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.files._lazy import LazyArray
from keras_initx.inspection._kernels import ALL_CONVOLUTIONS, NORMALIZATIONS, TRANSPOSED
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.load_pretrained._row_orders import MovedAxes, RowOrders, find_row_orders

# The default of torch's normalizations, except for `RMSNorm`.
_TORCH_EPSILON = 1e-5


class Differences:
    """The differences between a model and torch that weights show or make up for."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._checked: set[keras.Layer] = set()

    @functools.cached_property
    def _orders(self) -> RowOrders:
        return find_row_orders(self._model)

    def reorder_and_note(self, weight: ModelWeight, array: LazyArray) -> LazyArray:
        """Reorder the array of a weight for a flattened image, and add notes on the differences."""
        layer = weight.layer
        moved = self._orders.find_moved_axes(weight)
        unknown = self.list_unknown_orders(weight)
        if unknown:
            array = array.noted(f"the order of the {' and '.join(unknown)} is not known")
        else:
            for axes in moved:
                array = _reorder(array, axes)
        if _may_pad_differently(weight):
            array = array.noted("check padding: with strides torch pads both sides equally")
        if isinstance(layer, NORMALIZATIONS) and layer not in self._checked:
            self._checked.add(layer)
            is_rms = isinstance(layer, keras.layers.RMSNormalization)
            if not is_rms and layer.epsilon != _TORCH_EPSILON:
                note = f"check epsilon: {layer.epsilon:g}, in torch {_TORCH_EPSILON:g} by default"
                array = array.noted(note)
        return array

    def list_unknown_orders(self, weight: ModelWeight) -> list[str]:
        """List the kinds of axes with an unknown order in a weight: `"rows"`, `"units"`."""
        return [
            moved.what
            for moved in self._orders.find_moved_axes(weight)
            if isinstance(moved.order, str)
        ]

    def list_reordered_axes(self, weight: ModelWeight) -> set[int]:
        """List the axes of a weight along which torch has another order, or an unknown one."""
        axes: set[int] = set()
        for moved in self._orders.find_moved_axes(weight):
            axes.update(moved.axes)
        return axes


def _may_pad_differently(weight: ModelWeight) -> bool:
    """Return whether this is the kernel of a convolution that may pad more on one side.

    Keras does so with strides and `"same"`. torch has no such padding for strides, and pads both
    sides equally.
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
        # An odd number of values to add is uneven: 3 outputs of a window of 3 at stride 2 cover 7
        # values, so 6 values get 1 at the end, and none at the beginning.
        added.append(max((outputs - 1) * stride + window - length, 0))
    return any(count % 2 for count in added)


def _repeat_by_axis(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _reorder(array: LazyArray, moved: MovedAxes) -> LazyArray:
    """Bring an array in the order of Keras along some of its axes."""
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
