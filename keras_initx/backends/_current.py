"""The backend that Keras has chosen, as an object."""

import importlib
import importlib.util
import warnings

import keras

from keras_initx._startup import BACKENDS
from keras_initx.backends._backend import Backend


def _current_backend() -> Backend:
    name = keras.backend.backend()
    module = f"keras_initx.backends._{name}"
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
