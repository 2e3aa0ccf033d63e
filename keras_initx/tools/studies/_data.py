"""Check the data of a study and convert them to NumPy arrays."""

import hashlib
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import Batch, first_batch
from keras_initx.tools.studies._types import CheckedData, DataLike, Split, Structure

_FORM = "`data` must be two pairs of arrays, ((x, y), (x_val, y_val))"
_JOIN = (
    "each trial orders the examples by itself: of a data set, join the batches, as by "
    "`x, y = map(numpy.concatenate, zip(*dataset))`"
)


def checked_data(data: DataLike) -> CheckedData:
    """Check `data`, and split it into arrays for training and for validation.

    Raises:
        TypeError: If it contains data sets, class weights, or anything else that is no array of
            numbers.
        ValueError: If a part has too many or too few members, or its arrays differ in length, are
            empty or have `None` among them.
    """
    if not isinstance(data, list | tuple) or len(data) != 2:
        raise TypeError(f"{_FORM}. Received: data of type {_kind(data)}")
    parts = []
    for name, part in zip(("training", "validation"), data, strict=True):
        if not isinstance(part, list | tuple):
            raise TypeError(f"{_FORM}; {_JOIN}. Received: {name} data of type {_kind(part)}")
        if len(part) not in (2, 3):
            raise ValueError(
                f"{_FORM}; each pair may have sample weights as a third member. "
                f"Received: {name} data with {len(part)} members"
            )
        try:
            parts.append(_arrays(*part))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{_FORM}. In the {name} data: {error}") from None
    training, validation = parts
    return training, validation


def _kind(value: Any) -> str:
    return type(value).__name__


def _arrays(x: Structure, y: Structure, sample_weight: Structure = None) -> Split:
    """List inputs, targets if there are any, and sample weights if there are any."""
    if isinstance(sample_weight, dict) and all(map(np.isscalar, sample_weight.values())):
        raise TypeError(
            "class weights must be sample weights: give each example the weight of its class, as "
            "by `numpy.array([weights[label] for label in y])`. "
            f"Received: sample_weight={sample_weight}"
        )
    arrays, y = first_batch(x, y)
    if isinstance(arrays, Batch):
        raise TypeError(f"{_JOIN}. Received: x of type {_kind(x)}")
    members = [arrays]
    if y is not None:
        members.append(y)
    if sample_weight is not None:
        if y is None:
            raise ValueError("sample weights need targets. Received: y=None")
        _, sample_weight = first_batch(arrays, sample_weight)
        members.append(sample_weight)
    part = tuple(keras.tree.map_structure(_numbers, member) for member in members)
    if any(array is None for array in keras.tree.flatten(part)):
        raise ValueError(
            "each output must have targets: give outputs without a loss a column of zeros. "
            "Received: None among the arrays"
        )
    return part


def _numbers(value: Any) -> Array | None:
    if value is None:
        return None
    array = backend.host_view(value) if keras.ops.is_tensor(value) else np.asarray(value)
    try:
        is_float = keras.backend.is_float_dtype(array.dtype)
    except ValueError:  # of a dtype that Keras does not know
        raise TypeError(f"arrays must hold numbers. Received: dtype {array.dtype}") from None
    return array.astype(keras.config.floatx(), copy=False) if is_float else array  # as `fit` does


def data_digest(data: Structure) -> str:
    """Compute a digest of the structure and all arrays of `data`."""
    digest = hashlib.sha256(repr(_kinds(data)).encode())
    for array in keras.tree.flatten(data):
        digest.update(np.ascontiguousarray(array).reshape(-1).view("uint8").data)
    return digest.hexdigest()[:16]


def _kinds(data: Structure) -> Any:
    """Describe the structure of `data`, with the dtype and the shape of each array.

    A list becomes a tuple, because Keras treats both identically. The keys of a dict keep their
    order, because a model may depend on it.
    """
    if isinstance(data, dict):
        return {key: _kinds(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return tuple(_kinds(item) for item in data)
    return f"{data.dtype}{data.shape}"


def number_of_examples(arrays: Structure) -> int:
    """Count the examples in `arrays`, an array or a structure of arrays."""
    return len(keras.tree.flatten(arrays)[0])


def select_examples(arrays: Structure, selection: Array | slice) -> Structure:
    """Select the examples of `arrays` at these indices, in their order."""
    return keras.tree.map_structure(lambda array: array[selection], arrays)
