"""What depends on the backend: one class for each, behind the protocol of `Backend`.

Keras has chosen its backend when it is imported, so there is one object, `backend`. A new backend is a file
called `_<name>.py` with a class `Implementation`.
"""

import importlib
import importlib.util

import keras

from keras_initx.backends._base import Backend

__all__ = ["Backend", "backend"]


def _current() -> Backend:
    name = f"{__name__}._{keras.backend.backend()}"
    if importlib.util.find_spec(name) is None:
        return Backend()
    implementation: Backend = importlib.import_module(name).Implementation()
    return implementation


backend: Backend = _current()
