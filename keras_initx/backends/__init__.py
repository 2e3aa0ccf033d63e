"""What differs between backends: one class for each, which implements `Backend`.

Keras chooses its backend at import, so there is a single object, `backend`. A new backend needs a
module `_<name>.py` here, with a class `Implementation`, and its name in `BACKENDS` of
`_startup.py`.
"""

import importlib.util
import warnings

import keras

from keras_initx._startup import BACKENDS
from keras_initx.backends._backend import Backend, Computation, Region
from keras_initx.backends._moments import CHUNK, Moments, chunks
from keras_initx.backends._process import SharedByThreads

__all__ = [
    "CHUNK",
    "Backend",
    "Computation",
    "Moments",
    "Region",
    "SharedByThreads",
    "backend",
    "chunks",
]


def _current_backend() -> Backend:
    name = keras.backend.backend()
    module = f"{__name__}._{name}"
    if importlib.util.find_spec(module) is None:
        if name != "numpy":
            warnings.warn(
                f"keras_initx is not tested with Keras' backend {name!r}, only with {BACKENDS}. "
                "Weights are made on the host; gradients, compiled programs and sharding are not "
                "supported.",
                stacklevel=2,
            )
        return Backend()
    implementation: Backend = importlib.import_module(module).Implementation()
    return implementation


backend: Backend = _current_backend()
