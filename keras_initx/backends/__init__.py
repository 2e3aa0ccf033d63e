"""What differs between backends: one class for each, which implements `Backend`.

Keras chooses its backend at import, so there is a single object, `backend`. A new backend needs a
module `_<name>.py` here, with a class `Implementation`, and its name in `BACKENDS` of
`_startup.py`.
"""

import importlib.util

import keras

from keras_initx.backends._base import Backend, Computation, Region
from keras_initx.backends._moments import CHUNK, Moments, chunks

__all__ = ["CHUNK", "Backend", "Computation", "Moments", "Region", "backend", "chunks"]


def _current_backend() -> Backend:
    module = f"{__name__}._{keras.backend.backend()}"
    if importlib.util.find_spec(module) is None:
        return Backend()
    implementation: Backend = importlib.import_module(module).Implementation()
    return implementation


backend: Backend = _current_backend()
