"""Handle initializers that are arguments of other initializers."""

import math

import keras
import numpy as np

from keras_initx._typing import DType, InitializerLike, Shape, Tensor
from keras_initx.initializers._base import Initializer
from keras_initx.sampling import current_namespace


def check_initializer(name: str, value: InitializerLike) -> keras.initializers.Initializer:
    """Return the initializer given as an object, a string id or a config."""
    required = f"`{name}` must be an initializer, its string id or its config. Received: {name}={value!r}"
    if not isinstance(value, str | dict | keras.initializers.Initializer):
        raise TypeError(required)
    try:
        initializer = keras.initializers.get(value)
    except (TypeError, ValueError) as error:
        raise ValueError(required) from error
    if not isinstance(initializer, keras.initializers.Initializer):
        raise ValueError(required)
    return initializer


def check_shape_for(initializer: keras.initializers.Initializer, shape: Shape) -> None:
    """Raise `ValueError` before drawing anything if `initializer` is known not to support `shape`."""
    if isinstance(initializer, Initializer):
        initializer._check_shape(shape)


def values_of(initializer: keras.initializers.Initializer, shape: Shape, dtype: DType) -> Tensor:
    """Return the values of `initializer`: a new array on the host, a tensor elsewhere.

    Raises:
        ValueError: If they are complex or masked.
    """
    if isinstance(initializer, Initializer):
        # Not through `__call__`, which would move the values to the device and back.
        return initializer._values(shape, dtype)
    values = initializer(shape, dtype=dtype)
    if isinstance(values, np.ma.MaskedArray) or "complex" in str(getattr(values, "dtype", "")):
        # A cast would drop the mask or the imaginary parts.
        raise ValueError(
            f"An initializer within another must give real numbers, without a mask. Received: {initializer!r}, which "
            f"gives {type(values).__name__} of dtype {values.dtype}"
        )
    return current_namespace(math.prod(shape)).adopt(values)
