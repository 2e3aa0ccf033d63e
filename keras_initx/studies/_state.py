"""The training state as bytes: weights, optimizer variables, and random generators of layers."""

import hashlib
import io
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.studies._types import Model


def state(model: Model) -> bytes:
    """Return the state of a compiled `model`."""
    content = io.BytesIO()
    np.savez(content, *map(_array, _variables(model)))
    return content.getvalue()


def restore(model: Model, content: bytes) -> None:
    """Restore a state into a freshly built `model`."""
    with np.load(io.BytesIO(content)) as arrays:
        for variable, name in zip(_variables(model), arrays.files, strict=True):
            variable.assign(arrays[name])


def fits(model: Model, other: Model) -> bool:
    """Return whether the variables of `model` and `other` differ only in their values."""
    return list(map(_kind, _variables(model))) == list(map(_kind, _variables(other)))


def copy(model: Model, other: Model) -> None:
    """Copy the state of `model` to `other`, for which `fits` must be true."""
    for source, target in zip(_variables(model), _variables(other), strict=True):
        # Through the host: with JAX both would share memory, which training overwrites.
        target.assign(_array(source))


def digest(content: bytes) -> str:
    """Return a digest of a state."""
    return hashlib.sha256(content).hexdigest()


def _variables(model: Model) -> list[Any]:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]


def _kind(variable: Any) -> tuple[Any, ...]:
    serialized = map(keras.saving.serialize_keras_object, (variable.regularizer, variable.constraint))
    return tuple(variable.shape), variable.dtype, variable.trainable, *serialized


def _array(variable: Any) -> Array:
    array: Array = keras.ops.convert_to_numpy(variable.value)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array  # which NumPy files do not support
