"""Base classes of initializers that take the input and output axes of a kernel."""

import math
from collections.abc import Iterable

from keras_initx._checks import check_rank
from keras_initx._typing import Axes, DType, KerasVarianceScaling, Seed, Shape, Tensor
from keras_initx.initializers._base import RandomInitializer
from keras_initx.initializers._fans import check_axes, check_shape_has_axes, fans
from keras_initx.sampling import Stream


class AxesInitializer(RandomInitializer, KerasVarianceScaling):
    """Base class of initializers that take `input_axes` and `output_axes`.

    Keras' `EinsumDense`, and with it the attention layers, knows which axes of its kernel are
    inputs, but passes them only to a `keras.initializers.VarianceScaling`: where one of the two is
    `None`, it rebuilds the initializer with both in its config. This class therefore derives from
    `VarianceScaling`; it inherits only the type.
    """

    _groups = 1  # of a convolution whose kernel `initialize` draws

    def __init__(self, *, seed: Seed = None, input_axes: Axes = None, output_axes: Axes = None) -> None:
        super().__init__(seed=seed)
        self.input_axes: Axes = check_axes("input_axes", input_axes)
        self.output_axes: Axes = check_axes("output_axes", output_axes)

    def _fans(self, shape: Shape) -> tuple[int, int]:
        """Return fan-in and fan-out of a kernel of `shape`."""
        return fans(shape, self.input_axes, self.output_axes, self._groups)

    def _check_shape(self, shape: Shape) -> None:
        check_shape_has_axes(shape, "input_axes", self.input_axes)
        check_shape_has_axes(shape, "output_axes", self.output_axes)


class MatrixInitializer(AxesInitializer):
    """Base class of initializers that treat a kernel as a matrix of shape `(inputs, units)`.

    A subclass implements `_draw_matrix`.
    """

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
        if self.input_axes is None and self.output_axes is None:
            check_rank(shape, 2)
        inputs, units = self._axes(shape)
        if sorted(inputs + units) != list(range(len(shape))):
            raise ValueError(
                f"`shape` must have each of its axes listed exactly once, in `input_axes` or in `output_axes`. "
                f"Received: shape={shape}, input_axes={self.input_axes!r}, output_axes={self.output_axes!r}"
            )

    def _axes(self, shape: Shape) -> tuple[list[int], list[int]]:
        """Return the non-negative input axes and output axes, each in increasing order.

        Sorted, so that the same axes give the same values in whatever order they were listed.
        """
        axes = range(len(shape))

        def others(named: Iterable[int]) -> set[int]:
            return set(axes).difference(axes[axis] for axis in named)

        inputs: Iterable[int] | None = self.input_axes
        units: Iterable[int] | None = self.output_axes
        if inputs is None:
            inputs = others(axes[-1:] if units is None else units)
        if units is None:
            units = others(inputs)
        return sorted(axes[axis] for axis in inputs), sorted(axes[axis] for axis in units)

    def _matrix_shape(self, shape: Shape) -> tuple[int, int]:
        """Return the number of inputs and the number of units of a kernel of `shape`."""
        inputs, units = self._axes(shape)
        return math.prod(shape[axis] for axis in inputs), math.prod(shape[axis] for axis in units)

    def _draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        rows, columns = self._matrix_shape(shape)
        matrix = self._draw_matrix(stream, rows, columns, dtype)
        inputs, units = self._axes(shape)
        order = inputs + units
        kernel = stream.xp.reshape(matrix, [shape[axis] for axis in order])
        return stream.xp.transpose(kernel, [order.index(axis) for axis in range(len(shape))])

    def _draw_matrix(self, stream: Stream, inputs: int, units: int, dtype: DType) -> Tensor:
        """Return a matrix of shape `(inputs, units)` and `dtype`, drawn from `stream` in its namespace."""
        raise NotImplementedError
