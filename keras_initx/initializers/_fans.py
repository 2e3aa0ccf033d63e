"""Fan-in and fan-out of a kernel, from its shape or from given axes."""

import math
import numbers
from collections.abc import Iterable
from typing import TypeVar

from keras_initx._typing import Axes, Shape

Value = TypeVar("Value")


def check_axes(name: str, axes: Value) -> Value:
    """Return `axes`, which must be `None` or a list or tuple of integers."""
    required = f"`{name}` must be `None` or a list of axis numbers. Received: {name}={axes!r}"
    if axes is None:
        return axes
    if not isinstance(axes, list | tuple):
        raise TypeError(required)
    if not all(isinstance(axis, numbers.Integral) and not isinstance(axis, bool) for axis in axes):
        raise TypeError(required)
    return axes


def check_shape_has_axes(shape: Shape, name: str, axes: Axes) -> None:
    """Raise `ValueError` if `shape` lacks one of `axes`, or if two of them are the same axis."""
    numbers_from_zero = {axis % len(shape) for axis in axes or () if -len(shape) <= axis < len(shape)}
    if len(numbers_from_zero) < len(axes or ()):
        raise ValueError(
            f"`shape` must have every axis in `{name}`, without repeats. Received: shape={shape}, {name}={axes!r}"
        )


def default_axes(rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the default input axes and output axes of a kernel.

    A kernel with more than two dimensions is taken as that of a convolution, `(*window, inputs,
    units)`. The only axis of a vector counts as both.
    """
    window = tuple(range(rank - 2))
    last = tuple(range(max(rank - 2, 0), rank))
    return (*window, *last[:1]), (*window, *last[-1:])


def fans(
    shape: Shape,
    input_axes: Iterable[int] | None = None,
    output_axes: Iterable[int] | None = None,
    groups: int = 1,
) -> tuple[int, int]:
    """Return fan-in and fan-out: the inputs per unit and the units per input.

    Args:
        shape: Shape of a kernel.
        input_axes: The axes that one output sums over. Default: see `default_axes`.
        output_axes: The axes that one input contributes to. Default: see `default_axes`.
        groups: Number of equal groups of units. An input contributes to those of one group.

    Returns:
        Two integers. Both are 1 for a scalar, and the length for a vector.
    """
    inputs, outputs = default_axes(len(shape))
    input_axes = inputs if input_axes is None else input_axes
    output_axes = outputs if output_axes is None else output_axes
    fan_in, fan_out = (math.prod(shape[axis] for axis in axes) for axes in (input_axes, output_axes))
    return fan_in, fan_out // groups
