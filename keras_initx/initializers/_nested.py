"""Arguments that are initializers themselves."""

import keras

from keras_initx import _backend
from keras_initx.initializers._base import Initializer


def check_initializer(name, value):
    """Return the initializer that `value` stands for: itself, a string id or a config."""
    required = f"`{name}` must be an initializer, a string id or a config. Received: {name}={value!r}"
    if not isinstance(value, str | dict | keras.initializers.Initializer):
        raise TypeError(required)
    try:
        initializer = keras.initializers.get(value)
    except (TypeError, ValueError) as error:
        raise ValueError(required) from error
    if not isinstance(initializer, keras.initializers.Initializer):
        raise ValueError(required)
    return initializer


def initializer_config(value):
    """Return a checked `value` as it goes into a config: ids and configs as they were given."""
    return keras.saving.serialize_keras_object(value) if isinstance(value, keras.initializers.Initializer) else value


def check_shape_for(initializer, shape):
    """Raise `ValueError` if `initializer` is known not to fill `shape`, before anything is drawn."""
    if isinstance(initializer, Initializer):
        initializer._check_shape(shape)


def initializer_values(initializer, shape, dtype):
    """Return what `initializer` gives: an array on the host, a tensor in a trace."""
    if isinstance(initializer, Initializer):
        return initializer._values(shape, dtype)
    values = initializer(shape, dtype)
    return values if _backend.is_tracing() else keras.ops.convert_to_numpy(values)
