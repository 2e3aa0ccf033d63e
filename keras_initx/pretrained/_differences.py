"""What a model computes otherwise than its counterpart in torch with the same weights."""

import functools
import math

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.arrays._lazy import LazyArray
from keras_initx.pretrained._row_orders import MovedAxes, RowOrders, row_orders_of
from keras_initx.structure._kernels import ALL_CONVOLUTIONS, NORMALIZATIONS, TRANSPOSED
from keras_initx.structure._weights import ModelWeight

# That of torch's normalizations, but for `RMSNorm`.
_EPSILON = 1e-5


class Differences:
    """The differences between a model and torch that weights show or make up for."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._checked: set[keras.Layer] = set()

    @functools.cached_property
    def _orders(self) -> RowOrders:
        return row_orders_of(self._model)

    def considered(self, weight: ModelWeight, array: LazyArray) -> LazyArray:
        """Return the array of a weight, with the order of a flattened image and with notes."""
        layer = weight.layer
        moved = self._orders.of(weight)
        unknown = [one.what for one in moved if isinstance(one.order, str)]
        if unknown:
            array = array.noted(f"the order of the {' and '.join(unknown)} is not known")
        else:
            for one in moved:
                array = _in_order(array, one)
        if _may_pad_otherwise(weight):
            array = array.noted("check padding: with strides torch pads both sides alike")
        if isinstance(layer, NORMALIZATIONS) and layer not in self._checked:
            self._checked.add(layer)
            is_rms = isinstance(layer, keras.layers.RMSNormalization)
            if not is_rms and layer.epsilon != _EPSILON:
                note = f"check epsilon: {layer.epsilon:g}, in torch {_EPSILON:g} by default"
                array = array.noted(note)
        return array

    def reordered_axes(self, weight: ModelWeight) -> set[int]:
        """Return the axes of a weight along which torch has another order, or an unknown one."""
        axes: set[int] = set()
        for moved in self._orders.of(weight):
            axes.update(moved.axes)
        return axes


def _may_pad_otherwise(weight: ModelWeight) -> bool:
    """Return whether this is the kernel of a convolution that may pad more on one side.

    Keras does with strides and `"same"`; torch, which has no such padding for strides, never does.
    """
    layer = weight.layer
    if not isinstance(layer, ALL_CONVOLUTIONS) or not weight.name.endswith("kernel"):
        return False
    rank = len(layer.kernel_size)
    strides = _by_axis(layer.strides, rank)
    if layer.padding != "same" or max(strides) == 1:
        return False
    shape = (layer.get_build_config() or {}).get("input_shape", ())
    lengths = shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
    if isinstance(layer, TRANSPOSED) or len(lengths) != rank or None in lengths:
        return True
    dilations = _by_axis(layer.dilation_rate, rank)
    added = []
    for length, size, stride, dilation in zip(
        lengths, layer.kernel_size, strides, dilations, strict=True
    ):
        outputs = math.ceil(length / stride)
        window = dilation * (size - 1) + 1
        added.append(max((outputs - 1) * stride + window - length, 0))
    return any(count % 2 for count in added)


def _by_axis(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _in_order(array: LazyArray, moved: MovedAxes) -> LazyArray:
    """Return an array with the order of Keras along some of its axes."""
    front = tuple(range(len(moved.axes)))

    def reordered(values: Array) -> Array:
        values = np.moveaxis(values, moved.axes, front)
        flat = values.reshape(-1, *values.shape[len(front) :])
        return np.moveaxis(flat[moved.order].reshape(values.shape), front, moved.axes)

    return array.changed(reordered, array.shape, f"{moved.what} reordered from channels first")
