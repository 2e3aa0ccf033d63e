"""What a model computes otherwise than its counterpart in torch with the same weights."""

import functools

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.arrays._lazy import LazyArray
from keras_initx.pretrained._row_orders import MovedAxes, RowOrders, row_orders_of
from keras_initx.structure._kernels import NORMALIZATIONS
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
        if any(isinstance(one.order, str) for one in moved):
            array = array.noted("the order of the rows is not known")
        else:
            for one in moved:
                array = _in_order(array, one)
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


def _in_order(array: LazyArray, moved: MovedAxes) -> LazyArray:
    """Return an array with the order of Keras along some of its axes."""
    front = tuple(range(len(moved.axes)))

    def reordered(values: Array) -> Array:
        values = np.moveaxis(values, moved.axes, front)
        flat = values.reshape(-1, *values.shape[len(front) :])
        return np.moveaxis(flat[moved.order].reshape(values.shape), front, moved.axes)

    return array.changed(reordered, array.shape, f"{moved.what} reordered from channels first")
