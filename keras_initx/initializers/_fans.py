"""How many inputs a unit has, and how many units an input: read off the shape of a kernel, or told."""

import math
import numbers
from collections.abc import Iterable
from typing import TypeVar

from keras_initx._typing import Axes, Shape

Value = TypeVar("Value")


def check_axes(name: str, axes: Value) -> Value:
    """Return `axes`, `None` or a list or tuple of integers."""
    required = f"`{name}` must be `None` or a list of axis numbers. Received: {name}={axes!r}"
    if axes is None:
        return axes
    if not isinstance(axes, list | tuple):
        raise TypeError(required)
    if not all(isinstance(axis, numbers.Integral) and not isinstance(axis, bool) for axis in axes):
        raise TypeError(required)
    return axes


def check_shape_has_axes(shape: Shape, name: str, axes: Axes) -> None:
    """Refuse a `shape` that does not have all of `axes`, or in which two of them are the same."""
    numbers_from_zero = {axis % len(shape) for axis in axes or () if -len(shape) <= axis < len(shape)}
    if len(numbers_from_zero) < len(axes or ()):
        raise ValueError(
            f"`shape` must have each axis that `{name}` names, once. Received: shape={shape}, {name}={axes!r}"
        )


def default_axes(rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes that a unit sums over and those that an input spreads along, for a kernel that tells neither.

    A kernel of more than two dimensions is that of a convolution, `(*window, inputs, units)`. A vector has one axis,
    which is both.
    """
    window = tuple(range(rank - 2))
    last = tuple(range(max(rank - 2, 0), rank))
    return (*window, *last[:1]), (*window, *last[-1:])


def fans(
    shape: Shape, input_axes: Iterable[int] | None = None, output_axes: Iterable[int] | None = None
) -> tuple[int, int]:
    """Return the number of inputs of a unit and the number of units that an input goes to.

    Args:
        shape: Shape of a kernel.
        input_axes: The axes that are summed over for one output. By default see `default_axes`.
        output_axes: The axes along which one input spreads. By default see `default_axes`.

    Returns:
        Two integers, both 1 for a scalar and the length of a vector for a vector.
    """
    inputs, outputs = default_axes(len(shape))
    input_axes = inputs if input_axes is None else input_axes
    output_axes = outputs if output_axes is None else output_axes
    return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
