"""The state of training: kept from one stage of a draw to the next, and put back after a trial."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._keras import layers_of
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.models import used_optimizers_of


@contextlib.contextmanager
def restored_afterward(model: keras.Model) -> Iterator[None]:
    """Restore what is not trained in `model` at the end of the context.

    Parts that `build` did not make, such as augmentation, then begin each trial in the same state.
    """
    variables = [*model.non_trainable_variables, *backend.buffers(layers_of(model))]
    values = [_array(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def state_of(model: keras.Model) -> bytes:
    """Return the state of training of a compiled `model`."""
    content = io.BytesIO()
    np.savez(content, *map(_array, _variables(model)))
    return content.getvalue()


def restore_state(model: keras.Model, state: bytes) -> None:
    """Restore a state of training into a freshly built `model`.

    Raises:
        ValueError: If training has made variables that `model` does not have yet.
    """
    variables = _variables(model)
    with np.load(io.BytesIO(state)) as arrays:
        if len(arrays.files) != len(variables):
            raise ValueError(
                "`build` must return a model that has all variables of training, those of every "
                "optimizer too: call the `build` of its optimizers. Received: "
                f"{len(variables)} of {len(arrays.files)} variables"
            )
        for variable, name in zip(variables, arrays.files, strict=True):
            variable.assign(arrays[name])


def _variables(model: keras.Model) -> list[Any]:
    """Return all variables of training: of the model, its optimizers, and the modules of torch."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    for optimizer in used_optimizers_of(model):
        variables += optimizer.variables
    return [*variables, *backend.buffers(layers_of(model))]


def _array(variable: Any) -> Array:
    """Return a copy of the values of a variable."""
    array: Array = np.array(backend.host_view(variable.value))
    if array.dtype.isbuiltin != 1:  # bfloat16 and float8, which NumPy files do not support
        return array.astype("float32")
    return array
