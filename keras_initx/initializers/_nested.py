"""Initializers that are arguments of others."""

import keras
import numpy as np

from keras_initx._typing import DType, InitializerLike, Shape, Tensor
from keras_initx.backends import backend
from keras_initx.initializers._base import Initializer


def check_initializer(name: str, value: InitializerLike) -> keras.initializers.Initializer:
    """Return the initializer that `value` is or stands for: a string id or a config."""
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
    """Raise `ValueError` if `initializer` is known not to fill `shape`, before anything is drawn."""
    if isinstance(initializer, Initializer):
        initializer._check_shape(shape)


def values_of(initializer: keras.initializers.Initializer, shape: Shape, dtype: DType) -> Tensor:
    """Return what `initializer` gives: an array of the caller's own on the host, a tensor in a trace."""
    if isinstance(initializer, Initializer):
        # Not by a call, which would take the values to the device and back.
        return initializer._values(shape, dtype)
    values = initializer(shape, dtype=dtype)
    return values if backend.is_tracing() else np.array(keras.ops.convert_to_numpy(values))
