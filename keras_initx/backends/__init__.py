"""Backend-specific code: one class per backend that implements `Backend`.

Keras chooses its backend at import, so there is a single object, `backend`. To add a backend, write
a module `_<name>.py` with a class `Implementation`.
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
