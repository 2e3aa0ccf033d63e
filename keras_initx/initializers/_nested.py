"""Initializers that are arguments of others."""

import math

import keras

from keras_initx._typing import DType, InitializerLike, Shape, Tensor
from keras_initx.initializers._base import Initializer
from keras_initx.sampling import current_namespace


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
    """Return what `initializer` gives: an array of the caller's own on the host, a tensor elsewhere."""
    if isinstance(initializer, Initializer):
        # Not by a call, which would take the values to the device and back.
        return initializer._values(shape, dtype)
    return current_namespace(math.prod(shape)).adopt(initializer(shape, dtype=dtype))
