"""The identity of a run: its settings, with fingerprints of functions and initializers."""

import re
from collections.abc import Callable
from typing import Any

import keras

from keras_initx._checks import check_count, check_seed
from keras_initx._version import __version__
from keras_initx.studies._arrays import data_digest
from keras_initx.studies._types import Arrays, Settings


def run_settings(
    build: Callable[..., Any], data: Arrays, epochs: int, batch_size: int, seed: int, title: str | None
) -> Settings:
    """Return the settings that determine the results of any kind of run.

    Raises:
        TypeError: If `build` is not callable, a count or the seed is not an integer, or `title` is not a string.
        ValueError: If one of them is out of range.
    """
    if not callable(build):
        raise TypeError(f"`build` must be a function that returns a compiled model. Received: {build=!r}")
    if not isinstance(check_seed(seed), int):
        raise TypeError(f"`seed` must be an integer, from which all others are derived. Received: {seed=!r}")
    if title is not None and not isinstance(title, str):
        raise TypeError(f"`title` must be a string or `None`. Received: {title=!r}")
    return {
        "title": title or str(fingerprint(build)),
        "build": fingerprint(build),
        "epochs": int(check_count("epochs", epochs)),  # JSON has no integers of NumPy
        "batch_size": int(check_count("batch_size", batch_size)),
        "seed": int(seed),
        "data": data_digest(data),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "keras_initx": __version__,
    }


def fingerprint(value: Any) -> Any:
    """Return a JSON-serializable description of a function, an initializer, or another value that identifies a run."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): fingerprint(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fingerprint(item) for item in value]
    if isinstance(value, keras.initializers.Initializer):
        return [type(value).__name__, fingerprint(value.get_config())]
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
