"""What differs between backends: one class for each, which implements `Backend`.

Keras chooses its backend at import, so there is a single object, `backend`. A new backend needs a
module `_<name>.py` here, with a class `Implementation`, and its name in `BACKENDS` of
`_startup.py`.
"""

import importlib.util

import keras

from keras_initx.backends._base import Backend, Draw
from keras_initx.backends._moments import CHUNK, Moments, chunks

__all__ = ["CHUNK", "Backend", "Draw", "Moments", "backend", "chunks"]


_module = f"{__name__}._{keras.backend.backend()}"
_is_supported = importlib.util.find_spec(_module) is not None
backend: Backend = importlib.import_module(_module).Implementation() if _is_supported else Backend()
