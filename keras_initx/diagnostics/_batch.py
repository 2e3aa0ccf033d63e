"""Handle the batch for a model: check it, take the first examples, and build the model with it."""

import keras
import numpy as np

from keras_initx._checks import check_count
from keras_initx._typing import Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._layers import parts_of
from keras_initx.diagnostics._types import Arrays


def check_batch(model: keras.Model, x: Arrays, y: Arrays | None, batch_size: int) -> None:
    """Raise an error if `model` is not a model, or `x` and `y` are not a batch of matching, nonempty arrays."""
    check_model(model)
    check_data(x, y, batch_size)


def check_model(model: keras.Model) -> None:
    """Raise `TypeError` if `model` is not a model."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a Keras model. Received: model={model!r}")


def check_data(x: Arrays, y: Arrays | None, batch_size: int) -> None:
    """Raise an error if `x` and `y` are not matching, nonempty arrays of real numbers, or `batch_size` is no count."""
    check_count("batch_size", batch_size)
    counts = [_counts("x", x), _counts("y", y) if y is not None else []]
    if not counts[0] or 0 in counts[0]:
        raise ValueError("`x` must have at least one example. Received: x with none")
    if len({count for some in counts for count in some}) > 1:
        raise ValueError(
            f"`x` and `y` must have the same number of examples. Received: x with {counts[0]}, y with {counts[1]}"
        )


def _counts(name: str, arrays: Arrays) -> list[int]:
    """Return the number of examples of each array."""
    for array in keras.tree.flatten(arrays):
        kind = type(array).__name__
        if not getattr(array, "shape", None) or not hasattr(array, "__array__"):
            raise TypeError(f"`{name}` must be an array, or a list or dict of arrays. Received: {name} with {kind}")
        # Keras would drop the imaginary parts and the mask.
        dtype = array.dtype if keras.ops.is_tensor(array) else np.asarray(array).dtype
        if isinstance(array, np.ma.MaskedArray) or "complex" in str(dtype):
            raise TypeError(
                f"`{name}` must hold real numbers, without a mask. Received: {name} with {kind} of dtype {dtype}"
            )
    return [array.shape[0] for array in keras.tree.flatten(arrays)]


def first_examples(arrays: Arrays, count: int) -> Arrays:
    """Return the first `count` examples of an array, or of each array in a list or dict, as `fit` passes them."""
    return keras.tree.map_structure(
        lambda array: _tensor(array[:count] if keras.ops.is_tensor(array) else np.asarray(array)[:count]), arrays
    )


def _tensor(array: Tensor) -> Tensor:
    """Return a tensor, of `floatx` for floats. Strings stay as they are."""
    try:
        is_float = keras.backend.is_float_dtype(array.dtype)
    except ValueError:
        return array
    return keras.ops.convert_to_tensor(array, keras.config.floatx() if is_float else None)


def ensure_built(model: keras.Model, x: Arrays) -> None:
    """Build `model` if it has no weights yet, by a call without other side effects."""
    if model.built and all(layer.built for layer in parts_of(model)):
        return
    with backend.preserve_foreign_state([model, *parts_of(model)]):
        model(x)
    for layer in parts_of(model):
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            # `reset_state` of Keras knows no states of several cells.
            for state in keras.tree.flatten(layer.states):
                state.assign(np.zeros(state.shape, "float32"))
