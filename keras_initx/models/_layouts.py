"""Convert arrays of torch, and flattened arrays of Keras, to a weight: the order of axes and gates."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.diagnostics._layers import NORMALIZATIONS
from keras_initx.diagnostics._weights import is_depthwise, is_kernel
from keras_initx.models._weights import ModelWeight

Layout: TypeAlias = Literal["keras", "torch"]

_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
CELLS = (keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell)
# torch: reset, update, new. Keras: update, reset, new.
_GRU_GATES = (1, 0, 2)


@dataclass(frozen=True)
class Arrangement:
    """A conversion from one array, or from two biases, to a weight.

    Attributes:
        source: The required shape of an array.
        split: The shape that it is reshaped to.
        axes: The order to transpose these axes to.
        gates: The order of the gates along the first axis, if it differs.
        combined: How two arrays are combined.
    """

    source: Shape
    split: Shape
    axes: Shape
    gates: Sequence[int] = ()
    combined: Literal["summed", "stacked", ""] = ""

    def fits(self, shapes: Sequence[Shape]) -> bool:
        """Return whether arrays of these shapes can be converted."""
        count = {"": (1,), "summed": (1, 2), "stacked": (2,)}[self.combined]
        return len(shapes) in count and all(shape == self.source for shape in shapes)

    def apply(self, arrays: Sequence[Array], shape: Shape) -> Array:
        """Return the weight, with this shape."""
        parts = [array.reshape(self.split) for array in arrays]
        if self.gates:
            parts = [part[list(self.gates)] for part in parts]
        parts = [part.transpose(self.axes) for part in parts]
        whole: Array = np.stack(parts) if self.combined == "stacked" else functools.reduce(np.add, parts)
        return whole.reshape(shape)

    def description(self, shapes: Sequence[Shape], shape: Shape) -> str:
        """Describe the conversion of arrays of these shapes to a weight of this shape; empty if nothing changes."""
        combined = self.combined if len(shapes) > 1 else ""
        steps = {
            "transposed": self.axes != tuple(range(len(self.axes))),
            "reshaped": not combined and len(shapes[0]) != len(shape),
            "gates reordered": bool(self.gates),
            combined: bool(combined),
        }
        return ", ".join(step for step, is_done in steps.items() if is_done)


def arrangements(weight: ModelWeight, layout: Layout) -> list[Arrangement]:
    """Return the possible conversions of arrays in a layout to `weight`, empty if none is known."""
    layer, shape = weight.layer, weight.shape
    same = Arrangement(shape, shape, tuple(range(len(shape))))
    flat = Arrangement((math.prod(shape),), shape, same.axes)
    if isinstance(layer, keras.layers.EinsumDense) and weight.name == "bias":
        return [same, flat]
    if layout == "torch":
        if found := _of_torch(weight):
            return [found]
        if isinstance(layer, CELLS):
            return []
        return [same] if _is_table(weight) else [same, flat] if _is_vector(weight) else []
    # The order of the axes of an array with as many of them as the weight is kept.
    # Other weights of the layer are scales of a quantized kernel, or factors of LoRA.
    if isinstance(layer, keras.layers.EinsumDense) and weight.name == "kernel" and len(shape) > 2:
        matrix = _einsum(weight, layout)
        return [same, matrix] if matrix else [same]
    return [same]


def _of_torch(weight: ModelWeight) -> Arrangement | None:
    layer, name, shape = weight.layer, weight.name, weight.shape
    if isinstance(layer, keras.layers.GRUCell):
        return _gru(layer, name, shape) if layer.reset_after else None
    if isinstance(layer, CELLS):
        return _matrix(shape, (0,), (1,), "torch") if len(shape) > 1 else Arrangement(shape, shape, (0,), (), "summed")
    if isinstance(layer, keras.layers.Dense) and name == "kernel":
        return _matrix(shape, (0,), (1,), "torch")
    if isinstance(layer, keras.layers.EinsumDense) and name == "kernel":
        return _einsum(weight, "torch")
    if name != "bias" and is_depthwise(layer, name):
        *window, channels, multiplier = shape
        axes = (*range(2, len(shape)), 0, 1)
        return Arrangement((channels * multiplier, 1, *window), (channels, multiplier, *window), axes)
    if name.endswith("kernel") and isinstance(layer, _CONVOLUTIONS):
        # The kernel of a transposed convolution has its two channel axes swapped, in both frameworks.
        source = (shape[-1], shape[-2], *shape[:-2])
        return Arrangement(source, source, (*range(2, len(shape)), 1, 0))
    return None


def _is_vector(weight: ModelWeight) -> bool:
    """Return whether only the last axis counts, as in the slopes of a `PReLU`, whose others are shared."""
    is_matrix = len(weight.shape) > 1 and is_kernel(weight.variable)
    return not is_matrix and all(length == 1 for length in weight.shape[:-1])


def _is_table(weight: ModelWeight) -> bool:
    """Return whether torch has the axes in the same order. Those of a normalized image it has channels first."""
    is_scale = isinstance(weight.layer, NORMALIZATIONS) and len(weight.shape) < 3
    return weight.name == "embeddings" or is_scale


def _gru(cell: keras.layers.GRUCell, name: str, shape: Shape) -> Arrangement:
    whole, units = 3 * cell.units, cell.units
    if name == "bias":
        return Arrangement((whole,), (3, units), (0, 1), _GRU_GATES, "stacked")
    return Arrangement((whole, shape[0]), (3, units, shape[0]), (2, 0, 1), _GRU_GATES)


def _einsum(weight: ModelWeight, layout: Layout) -> Arrangement | None:
    """Return the conversion of a matrix to the kernel of an `EinsumDense`, or `None` for a batch of matrices."""
    inputs, kernel, output = weight.layer.equation.replace("->", ",").replace("...", "").split(",")
    # Flattened, inputs and units are in the order of the layer's inputs and outputs, which may not be the kernel's.
    summed = tuple(kernel.index(letter) for letter in inputs if letter in kernel and letter not in output)
    units = tuple(kernel.index(letter) for letter in output if letter in kernel and letter not in inputs)
    return _matrix(weight.shape, summed, units, layout) if len(summed) + len(units) == len(kernel) else None


def _matrix(shape: Shape, inputs: Shape, outputs: Shape, layout: Layout) -> Arrangement:
    order = (outputs, inputs) if layout == "torch" else (inputs, outputs)
    lengths = [[shape[axis] for axis in axes] for axes in order]
    place = [*order[0], *order[1]]
    return Arrangement(
        tuple(math.prod(group) for group in lengths),
        (*lengths[0], *lengths[1]),
        tuple(place.index(axis) for axis in range(len(shape))),
    )
