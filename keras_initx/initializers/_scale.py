"""The scale of a kernel: its fans and axes, and the gain of an activation."""

import math
from collections.abc import Iterable
from typing import Any, Self, get_args

from keras_initx._checks import check_choice, check_number, is_integer
from keras_initx._received import show
from keras_initx._typing import (
    Activation,
    AxesLike,
    DType,
    Gain,
    KerasVarianceScaling,
    Seed,
    Shape,
    Tensor,
)
from keras_initx.initializers._activations import ACTIVATIONS
from keras_initx.initializers._initializer import (
    Initializer,
    RandomInitializer,
    check_largest,
    rank_error,
)
from keras_initx.sampling._conversion import LEAST, MOST
from keras_initx.sampling._stream import Stream, computing_dtype


class AxesInitializer(RandomInitializer, KerasVarianceScaling):
    """Base class of initializers that take `input_axes` and `output_axes`.

    Keras' `EinsumDense`, which the attention layers use, knows the input axes of its kernel. It
    passes them only to a `keras.initializers.VarianceScaling`: if one of the two is `None`, it
    rebuilds the initializer with both in its config. This class therefore derives from
    `VarianceScaling`, and inherits only the type.
    """

    _groups = (1, 1)

    def __init__(
        self, *, seed: Seed = None, input_axes: AxesLike = None, output_axes: AxesLike = None
    ) -> None:
        super().__init__(seed=seed)
        self.input_axes: AxesLike = _check_axes("input_axes", input_axes)
        self.output_axes: AxesLike = _check_axes("output_axes", output_axes)

    @property
    def groups(self) -> tuple[int, int]:
        """The groups of the inputs and of the units of the kernel.

        With strides, an output of a transposed convolution also sums over a group of the inputs.
        """
        return self._groups

    def for_weight(self, seed: Any, groups: tuple[int, int] | None = None) -> Self:
        result = super().for_weight(seed)
        if groups is not None:
            result._groups = groups
        return result

    def fans(self, shape: Shape) -> tuple[float, int]:
        """Return fan-in and fan-out of a kernel of `shape`."""
        return fans(shape, self.input_axes, self.output_axes, self._groups)

    def check_shape(self, shape: Shape) -> None:
        check_shape_has_axes(shape, "input_axes", self.input_axes)
        check_shape_has_axes(shape, "output_axes", self.output_axes)


class MatrixInitializer(AxesInitializer):
    """Base class of initializers that treat a kernel as a matrix of shape `(inputs, units)`.

    A subclass implements `_draw_matrix`.
    """

    def check_shape(self, shape: Shape) -> None:
        super().check_shape(shape)
        if self.input_axes is None and self.output_axes is None and len(shape) < 2:
            raise rank_error(self, "at least 2 dimensions", shape)
        inputs, units = self._axes(shape)
        if sorted(inputs + units) != list(range(len(shape))):
            raise ValueError(
                "`shape` must have each of its axes listed exactly once, in `input_axes` or in "
                f"`output_axes`. Received: shape={shape}, input_axes={show(self.input_axes)}, "
                f"output_axes={show(self.output_axes)}"
            )

    def _axes(self, shape: Shape) -> tuple[list[int], list[int]]:
        """Return the non-negative input axes and output axes, each in increasing order.

        They are sorted, so that the same axes give the same values in any order.
        """
        axes = range(len(shape))
        inputs = {axes[axis] for axis in self.input_axes or ()}
        units = {axes[axis] for axis in self.output_axes or ()}
        if self.input_axes is None and self.output_axes is None:
            units = set(axes[-1:])
        if self.input_axes is None:
            inputs = set(axes) - units
        elif self.output_axes is None:
            units = set(axes) - inputs
        return sorted(inputs), sorted(units)

    def _matrix_shape(self, shape: Shape) -> tuple[int, int]:
        """Return the number of inputs and the number of units of a kernel of `shape`."""
        inputs, units = self._axes(shape)
        return _product(shape, inputs), _product(shape, units)

    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        matrix = self._draw_matrix(stream, *self._matrix_shape(shape), dtype)
        inputs, units = self._axes(shape)
        order = inputs + units
        kernel = stream.xp.reshape(matrix, [shape[axis] for axis in order])
        return stream.xp.transpose(kernel, [order.index(axis) for axis in range(len(shape))])

    def _draw_matrix(self, stream: Stream, inputs: int, units: int, dtype: DType) -> Tensor:
        """Return a matrix of shape `(inputs, units)` and `dtype`, drawn from `stream`."""
        raise NotImplementedError


def _check_axes(name: str, axes: AxesLike) -> AxesLike:
    """Return `axes`, which must be `None` or a list or tuple of integers."""
    if axes is None:
        return axes
    if isinstance(axes, list | tuple) and all(map(is_integer, axes)):
        return axes
    raise TypeError(
        f"`{name}` must be `None` or a list of axis numbers. Received: {name}={show(axes)}"
    )


def check_shape_has_axes(shape: Shape, name: str, axes: AxesLike) -> None:
    """Raise `ValueError` if `shape` lacks one of `axes`, or if two of them are the same axis."""
    if axes is None:
        return
    rank = len(shape)
    numbers_from_zero = {axis % rank for axis in axes if -rank <= axis < rank}
    if len(numbers_from_zero) < len(axes):
        raise ValueError(
            f"`shape` must have every axis in `{name}`, without repeats. "
            f"Received: shape={shape}, {name}={show(axes)}"
        )


def fans(
    shape: Shape,
    input_axes: Iterable[int] | None = None,
    output_axes: Iterable[int] | None = None,
    groups: tuple[int, int] = (1, 1),
) -> tuple[float, int]:
    """Return fan-in and fan-out: the inputs per unit and the units per input.

    Args:
        shape: Shape of a kernel.
        input_axes: The axes that one output sums over. Default: see `default_axes`.
        output_axes: The axes that one input contributes to. Default: see `default_axes`.
        groups: Numbers of groups of inputs and of units. A unit sums over the inputs of one group,
            and an input contributes to the units of one group. Groups of inputs may differ in size;
            then fan-in is the mean.

    Returns:
        Two integers. Fan-in may be a fraction if groups differ in size. Both are 1 for a scalar,
        and the length for a vector.
    """
    default_inputs, default_outputs = default_axes(len(shape))
    if input_axes is None:
        input_axes = default_inputs
    if output_axes is None:
        output_axes = default_outputs
    inputs = _product(shape, input_axes)
    fan_in: float = inputs / groups[0]
    if fan_in.is_integer():
        fan_in = inputs // groups[0]
    fan_out = _product(shape, output_axes)
    return fan_in, fan_out // groups[1]


def _product(shape: Shape, axes: Iterable[int]) -> int:
    """Return the product of the lengths of these axes."""
    return math.prod(shape[axis] for axis in axes)


def default_axes(rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the default input axes and output axes of a kernel.

    A kernel with more than two dimensions counts as the kernel of a convolution, `(*window, inputs,
    units)`. The only axis of a vector counts as both.
    """
    window = tuple(range(rank - 2))
    last = tuple(range(max(rank - 2, 0), rank))
    return (*window, *last[:1]), (*window, *last[-1:])


# Values that many times smaller than the largest are below its last bit.
_LAST_BIT = 2.0**24


def check_product(initializer: Initializer, factor: float, largest: float, dtype: DType) -> None:
    """Raise `ValueError` if a product could be infinite, or wrong because of one of its factors.

    A number that is too large for the dtype of the computation becomes infinite. A number that is
    too small becomes zero or inaccurate.

    Args:
        initializer: The initializer of the values.
        factor: The size of a factor.
        largest: A size that no multiplied value exceeds; 0 if it is not known.
        dtype: The dtype of the values.
    """
    computed = computing_dtype(dtype)
    product = factor * largest
    check_largest(initializer, product, dtype)
    for number, least in (factor, LEAST[computed]), (largest, LEAST[computed] * _LAST_BIT):
        # Where the product is as small itself, nothing is lost.
        if number > MOST[computed] or number < least <= product:
            raise ValueError(
                f"`dtype` must be able to hold {number:.3g}, a factor of the values of "
                f"{initializer!r}, which computes in {computed}. Received: dtype={show(dtype)}"
            )


def check_gain(gain: Gain) -> Gain:
    """Return `gain`, which must be a positive number or the name of an activation."""
    if isinstance(gain, str):
        check_choice("gain", gain, get_args(Activation))
    else:
        check_number("gain", gain, positive=True)
    return gain


def gain_value(gain: Gain) -> float:
    """Return a checked `gain` as a float."""
    if isinstance(gain, str):
        gain = ACTIVATIONS[gain].gain or 1.0
    return float(gain)
