"""What makes two runs the same run: settings, and identities of functions and initializers."""

import re

import keras

import keras_initx
from keras_initx._checks import check_count, check_seed
from keras_initx.studies._arrays import data_digest


def run_settings(build, data, epochs, batch_size, seed, title):
    """Return what the figures of every kind of run depend on, as a dict.

    Raises:
        TypeError: If a count or the seed is no integer.
        ValueError: If one of them is out of its range.
    """
    return {
        "title": title or str(identity(build)),
        "build": identity(build),
        "epochs": check_count("epochs", epochs),
        "batch_size": check_count("batch_size", batch_size),
        "seed": check_seed(seed),
        "data": data_digest(data),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "keras_initx": keras_initx.__version__,
    }


def identity(thing):
    """Return what JSON can say of a function, an initializer, or whatever else tells runs apart."""
    if thing is None or isinstance(thing, str | bool | int | float):
        return thing
    if isinstance(thing, dict):
        return {str(key): identity(item) for key, item in thing.items()}
    if isinstance(thing, list | tuple):
        return [identity(item) for item in thing]
    if isinstance(thing, keras.initializers.Initializer):
        return [type(thing).__name__, identity(thing.get_config())]
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
