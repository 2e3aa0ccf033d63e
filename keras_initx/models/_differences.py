"""What a model computes otherwise than its counterpart in torch with the same weights."""

import functools

import keras

from keras_initx._lazy import LazyArray
from keras_initx._typing import Array
from keras_initx.structure import (
    ALL_CONVOLUTIONS,
    NORMALIZATIONS,
    Architecture,
    ModelWeight,
    architecture_of,
    parts_of,
)

# That of torch's normalizations, but for `RMSNorm`.
_EPSILON = 1e-5


class Differences:
    """The differences between a model and torch that weights show or make up for."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._checked: set[keras.Layer] = set()

    @functools.cached_property
    def _architecture(self) -> Architecture | None:
        """The parts of the model, `None` if there is no convolution among them."""
        if any(isinstance(part, ALL_CONVOLUTIONS) for part in parts_of(self._model)):
            return architecture_of(self._model)
        return None

    def considered(self, weight: ModelWeight, array: LazyArray) -> LazyArray:
        """Return the array of a weight, with the order of a flattened image and with notes."""
        layer = weight.layer
        is_kernel = isinstance(layer, keras.layers.Dense) and weight.name == "kernel"
        is_norm = isinstance(layer, NORMALIZATIONS)
        if (is_kernel or is_norm) and self._architecture is not None:
            array = _in_order(array, layer, self._architecture)
        if is_norm and layer not in self._checked:
            self._checked.add(layer)
            is_rms = isinstance(layer, keras.layers.RMSNormalization)
            if not is_rms and layer.epsilon != _EPSILON:
                note = f"check epsilon: {layer.epsilon:g}, in torch {_EPSILON:g} by default"
                array = array.noted(note)
        return array


def _in_order(array: LazyArray, layer: keras.Layer, architecture: Architecture) -> LazyArray:
    """Return an array with the rows of a layer in the order of its inputs, a flattened image."""
    flattened = architecture.flattened
    order = flattened.orders.get(layer)
    if order is not None and array.shape[:1] == order.shape:

        def reordered(values: Array) -> Array:
            return values[order]

        return array.changed(reordered, array.shape, "rows reordered from channels first")
    is_hidden = bool(architecture.hidden) and isinstance(layer, keras.layers.Dense)
    if layer in flattened.unknown or is_hidden:
        return array.noted("check the order of rows: torch flattens channels first")
    return array
