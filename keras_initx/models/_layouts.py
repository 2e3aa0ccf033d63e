"""The layouts of weights in a source: the names of their arrays, and the order of axes and gates.

A layout is a class, listed in `LayoutName` and `LAYOUTS` at the end.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Literal, TypeAlias

import keras
import numpy as np

from keras_initx._array_files import Region
from keras_initx._typing import Array, Shape
from keras_initx.structure import (
    CONVOLUTIONS,
    DEPTHWISE,
    NORMALIZATIONS,
    TRANSPOSED,
    ModelWeight,
    is_depthwise,
    is_kernel,
)

# An index from `numpy.s_`, or a function that maps the array to the weight.
Index: TypeAlias = int | slice | EllipsisType | tuple[int | slice | EllipsisType | None, ...]
Part: TypeAlias = Index | Callable[[Array], Any]

# Names that other frameworks use for a Keras weight. They are tried in every layout.
OTHER_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "embeddings": "weight",
    "gamma": "weight",
    "beta": "bias",
    "scale": "weight",
    "alpha": "weight",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_CELLS = (keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell)
_CONVOLUTIONS = (*CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE)


@dataclass(frozen=True)
class Candidate:
    """Arrays that a weight may be built from. All of them must exist.

    Attributes:
        names: Their names, usually one.
        part: The index of the part to use, or a function that maps the array to the weight.
        third: Which third of the first axis to use, or `None` for the whole array.
    """

    names: tuple[str, ...]
    part: Part | None = None
    third: int | None = None


def joined(*names: str, mark: str = ".") -> str:
    """Return the name of an array inside modules. Empty names are left out."""
    return mark.join(filter(None, names))


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

    def can_convert(self, shapes: Sequence[Shape]) -> bool:
        """Return whether arrays of these shapes can be converted."""
        counts = {"": (1,), "summed": (1, 2), "stacked": (2,)}
        if len(shapes) not in counts[self.combined]:
            return False
        return all(shape == self.source for shape in shapes)

    def source_region(self, region: Region, shape: Shape) -> Region:
        """Return the region of an array that a region of the weight is made from, `...` for all.

        Args:
            region: A region of the weight.
            shape: The shape of the weight.
        """
        # A number has no axes.
        if region is ... or not shape:
            return ...
        if self.source != self.split or self.gates or self.combined == "stacked":
            return ...
        transposed = tuple(self.split[axis] for axis in self.axes)
        if transposed != shape:
            return ...
        return tuple(region[axis] for axis in np.argsort(self.axes))

    def apply(self, arrays: Sequence[Array]) -> Array:
        """Return the weight from whole arrays, or a region of it from theirs, not yet reshaped."""
        parts = []
        for array in arrays:
            if self.source != self.split:
                array = array.reshape(self.split)
            if self.gates:
                array = array[list(self.gates)]
            parts.append(array.transpose(self.axes))
        if self.combined == "stacked":
            return np.stack(parts)
        return sum(parts[1:], parts[0])

    def description(self, shapes: Sequence[Shape], shape: Shape) -> str:
        """Describe the conversion of arrays to a weight; empty if nothing changes.

        Args:
            shapes: The shapes of the arrays.
            shape: The shape of the weight.
        """
        combined = self.combined if len(shapes) > 1 else ""
        steps = []
        if self.axes != tuple(range(len(self.axes))):
            steps.append("transposed")
        if not combined and len(shapes[0]) != len(shape):
            steps.append("reshaped")
        if self.gates:
            steps.append("gates reordered")
        if combined:
            steps.append(combined)
        return ", ".join(steps)


def _same(shape: Shape) -> Arrangement:
    return Arrangement(shape, shape, tuple(range(len(shape))))


def _flat(shape: Shape) -> Arrangement:
    return Arrangement((math.prod(shape),), shape, tuple(range(len(shape))))


class KerasLayout:
    """The layout of Keras. Other layouts override what they have differently."""

    name = "keras"
    # Whether the first axis of a matrix is that of its units.
    units_first = False

    def special_names(
        self, weight: ModelWeight, module: str, inner: Sequence[str]
    ) -> Iterator[Candidate]:
        """Yield the arrays that have no name of their own for `weight`.

        Such as those that fuse several weights.

        Args:
            weight: A weight.
            module: The name in the source of a layer around it, empty for the whole model.
            inner: The names of the layers within that layer, around the weight.
        """
        yield from ()

    def partners(self, weight: ModelWeight, name: str) -> tuple[str, ...]:
        """Return the names of the arrays that are used with the array `name` for `weight`."""
        return ()

    def arrangements(self, weight: ModelWeight) -> list[Arrangement]:
        """Return the possible conversions of arrays to `weight`, empty if none is known."""
        shape = weight.shape
        same = _same(shape)
        # The order of the axes of an array with as many of them as the weight is kept.
        # Other weights of the layer are scales of a quantized kernel, or factors of LoRA.
        if isinstance(weight.layer, keras.layers.EinsumDense):
            if weight.name == "bias":
                return [same, _flat(shape)]
            if weight.name == "kernel" and len(shape) > 2:
                return [same, *self._einsum(weight)]
        return [same]

    def _einsum(self, weight: ModelWeight) -> list[Arrangement]:
        """Return the conversion of a matrix to the kernel of an `EinsumDense`.

        None for a batch of matrices.
        """
        equation = weight.layer.equation.replace("->", ",").replace("...", "")
        inputs, kernel, output = equation.split(",")
        # Flattened, inputs and units are in the order of the layer's inputs and outputs, which may
        # not be the kernel's.
        summed = [letter for letter in inputs if letter in kernel and letter not in output]
        units = [letter for letter in output if letter in kernel and letter not in inputs]
        if len(summed) + len(units) != len(kernel):
            return []
        input_axes = tuple(kernel.index(letter) for letter in summed)
        unit_axes = tuple(kernel.index(letter) for letter in units)
        return [self._matrix(weight.shape, input_axes, unit_axes)]

    def _matrix(self, shape: Shape, inputs: Shape = (0,), units: Shape = (1,)) -> Arrangement:
        """Return the conversion of a matrix to a kernel with these axes of inputs and units."""
        if self.units_first:
            rows, columns = units, inputs
        else:
            rows, columns = inputs, units
        order = (*rows, *columns)
        split = tuple(shape[axis] for axis in order)
        source = (math.prod(split[: len(rows)]), math.prod(split[len(rows) :]))
        return Arrangement(source, split, tuple(np.argsort(order).tolist()))


class TorchLayout(KerasLayout):
    """The layout of torch: units, then inputs, then the window."""

    name = "torch"
    units_first = True
    _recurrent = {
        "kernel": ("weight_ih",),
        "recurrent_kernel": ("weight_hh",),
        "bias": ("bias_ih", "bias_hh"),
    }
    _projections = ("query", "key", "value")
    # torch: reset, update, new. Keras: update, reset, new.
    _gru_gates = (1, 0, 2)

    def special_names(
        self, weight: ModelWeight, module: str, inner: Sequence[str]
    ) -> Iterator[Candidate]:
        """Yield the arrays of torch modules that fuse the weights of several layers or gates."""
        if isinstance(weight.layer, _CELLS) and weight.name in self._recurrent:
            suffixes = ["_l0_reverse"] if _is_backward(weight) else ["_l0", ""]
            for suffix in suffixes:
                names = [f"{name}{suffix}" for name in self._recurrent[weight.name]]
                yield Candidate(tuple(joined(module, *inner, name) for name in names))
        if not inner or weight.name not in OTHER_NAMES:
            return
        if isinstance(weight.layers[-2], keras.layers.MultiHeadAttention):
            *outer, kind = inner
            ending = OTHER_NAMES[weight.name]
            if kind in self._projections:
                fused = joined(module, *outer, f"in_proj_{ending}")
                yield Candidate((fused,), third=self._projections.index(kind))
                yield Candidate((joined(module, *outer, f"{kind[0]}_proj_{ending}"),))
            elif kind == "attention_output":
                yield Candidate((joined(module, *outer, "out_proj", ending),))

    def partners(self, weight: ModelWeight, name: str) -> tuple[str, ...]:
        """Return the second bias of a recurrent layer for the first.

        For example, `bias_hh_l0` for `bias_ih_l0`.
        """
        if isinstance(weight.layer, _CELLS) and "bias_ih" in name:
            return (name.replace("bias_ih", "bias_hh"),)
        return ()

    def arrangements(self, weight: ModelWeight) -> list[Arrangement]:
        """Return the possible conversions of arrays to `weight`, empty if none is known."""
        layer = weight.layer
        name = weight.name
        shape = weight.shape
        if isinstance(layer, _CELLS):
            return self._recurrent_weight(layer, name, shape)
        if isinstance(layer, keras.layers.EinsumDense) and name == "bias":
            return super().arrangements(weight)
        if isinstance(layer, keras.layers.EinsumDense) and name == "kernel":
            matrix = self._einsum(weight)
            if matrix:
                return matrix
        if isinstance(layer, keras.layers.Dense) and name == "kernel":
            return [self._matrix(shape)]
        if name != "bias" and is_depthwise(layer, name):
            *window, channels, multiplier = shape
            source = (channels * multiplier, 1, *window)
            split = (channels, multiplier, *window)
            return [Arrangement(source, split, (*range(2, len(shape)), 0, 1))]
        if name.endswith("kernel") and isinstance(layer, _CONVOLUTIONS):
            # The kernel of a transposed convolution has its two channel axes swapped, in both
            # frameworks.
            source = (shape[-1], shape[-2], *shape[:-2])
            return [Arrangement(source, source, (*range(2, len(shape)), 1, 0))]
        if isinstance(layer, keras.layers.TorchModuleWrapper):
            return [_same(shape)]
        # A normalized image has its channels first in torch.
        if name == "embeddings" or (isinstance(layer, NORMALIZATIONS) and len(shape) < 3):
            return [_same(shape)]
        # Only the last axis counts, as in the slopes of a `PReLU`, whose others are shared.
        is_matrix = len(shape) > 1 and is_kernel(weight.variable)
        if not is_matrix and all(length == 1 for length in shape[:-1]):
            return [_same(shape), _flat(shape)]
        return []

    def _recurrent_weight(
        self, cell: keras.layers.Layer, name: str, shape: Shape
    ) -> list[Arrangement]:
        """Return the possible conversions of arrays to a kernel or bias of a recurrent layer."""
        if not isinstance(cell, keras.layers.GRUCell):
            if len(shape) > 1:
                return [self._matrix(shape)]
            return [Arrangement(shape, shape, (0,), (), "summed")]
        if not cell.reset_after:
            return []  # torch has no such layer
        units = cell.units
        if name == "bias":
            return [Arrangement((3 * units,), (3, units), (0, 1), self._gru_gates, "stacked")]
        inputs = shape[0]
        return [Arrangement((3 * units, inputs), (3, units, inputs), (2, 0, 1), self._gru_gates)]


def _is_backward(weight: ModelWeight) -> bool:
    """Return whether `weight` is in the backward layer of a bidirectional one."""
    for layer in weight.layers:
        if isinstance(layer, keras.layers.Bidirectional) and layer.backward_layer in weight.layers:
            return True
    return False


LayoutName: TypeAlias = Literal["keras", "torch"]
LAYOUTS = {layout.name: layout for layout in (TorchLayout(), KerasLayout())}
