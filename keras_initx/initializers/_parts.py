"""A part of the values of an initializer, made without the rest."""

from types import EllipsisType
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import is_integer
from keras_initx._typing import Array, DType, Shape
from keras_initx.backends import backend
from keras_initx.initializers._base import Initializer, RandomInitializer
from keras_initx.initializers._composition import Scaled, check_dtype_for, check_shape_for
from keras_initx.sampling import HOST, PartStream, computing_dtype

# Of an array: integers, slices and `...`, one or a tuple of them.
Index: TypeAlias = int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...]


def part_of(initializer: Any, shape: Shape, dtype: DType, index: Index) -> Array | None:
    """Return a part of the values of an initializer, or `None` if they are only made together.

    Args:
        initializer: An initializer.
        shape: The shape of all values.
        dtype: Their dtype.
        index: Which of them.

    Raises:
        IndexError: If `index` is out of range, or has more axes than `shape`.
        TypeError: If it is something else.
        ValueError: If the initializer cannot fill the shape.
    """
    lengths, places = _places(shape, index)
    dtype = backend.available_dtype(dtype)  # as in a call
    if isinstance(initializer, keras.initializers.Initializer):
        check_shape_for(initializer, shape)
        check_dtype_for(initializer, shape, dtype)
    with np.errstate(under="ignore"):  # as where the whole is made
        values = _values_at(initializer, shape, dtype, places)
    if values is None:
        return None
    return values.reshape(lengths)


def _places(shape: Shape, index: Index) -> tuple[Shape, Array]:
    """Return the shape of a part of an array, and the places of its elements in row-major order."""
    lengths = []
    places: Array = np.zeros((), "int64")
    for length, part in zip(shape, check_index(shape, index), strict=True):
        places = places[..., np.newaxis] * length
        if isinstance(part, slice):
            chosen = np.arange(length)[part]
            lengths.append(chosen.size)
        else:
            chosen = np.arange(length)[[part]]
        places = places + chosen
    return tuple(lengths), places.reshape(-1)


def check_index(shape: Shape, index: Any) -> list[int | slice]:
    """Return the integer or slice for each axis of an array, see `part_of`."""
    parts = list(index) if isinstance(index, tuple) else [index]
    for part in parts:
        if not (is_integer(part) or isinstance(part, slice) or part is Ellipsis):
            raise TypeError(
                "`index` must consist of integers, slices and `...`. "
                f"Received: {part!r} in index={index!r}"
            )
    count = sum(part is not Ellipsis for part in parts)
    if count > len(shape) or len(parts) > count + 1:
        raise IndexError(
            f"`index` must have at most {len(shape)} axes and one `...`. Received: {index=!r}"
        )
    if count == len(parts):
        parts.append(Ellipsis)
    where = parts.index(Ellipsis)
    parts[where : where + 1] = [slice(None)] * (len(shape) - count)
    for length, part in zip(shape, parts, strict=True):
        if is_integer(part) and not -length <= part < length:
            raise IndexError(
                f"`index` must be in range for an array of shape {shape}. Received: {index=!r}"
            )
    return parts


def _values_at(initializer: Any, shape: Shape, dtype: DType, places: Array) -> Array | None:
    """Return the values at these places as a vector, or `None` if they are only made together."""
    if _is_constant(initializer):
        return np.array(backend.host_view(initializer((places.size,), dtype=dtype)))
    if not isinstance(initializer, Initializer):
        return None
    if type(initializer).__call__ is not Initializer.__call__:
        return None
    if type(initializer) is Scaled:
        values = _values_at(initializer.initializer, shape, computing_dtype(dtype), places)
        if values is None:
            return None
        return HOST.times(values, float(initializer.factor)).astype(dtype, copy=False)
    if not isinstance(initializer, RandomInitializer) or not isinstance(initializer.seed, int):
        return None
    if type(initializer)._draw is not RandomInitializer._draw:
        return None
    if type(initializer)._compute is not RandomInitializer._compute:
        return None
    stream = PartStream(initializer._key(), dtype, places)
    drawn: Array = initializer._draw(stream, shape, computing_dtype(dtype))
    return drawn.astype(dtype, copy=False)


def _is_constant(initializer: Any) -> bool:
    """Return whether all values are the same number, by an initializer of Keras."""
    known = keras.initializers
    if type(initializer) is known.Constant:
        return np.ndim(initializer.value) == 0
    return type(initializer) in (known.Zeros, known.Ones)
