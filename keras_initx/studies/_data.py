"""Check the data of a study and convert them to NumPy arrays."""

import functools
import hashlib
import itertools
import sys
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.structure import array_of_column
from keras_initx.studies._records import Data, DataLike, Structure

# The members of a part of the data, as messages call them.
_NAMES = ("x", "y", "sample_weight")
_VALIDATION_NAMES = ("x_val", "y_val", "sample_weight_val")


def checked_data(data: DataLike) -> Data:
    """Return `data` as two tuples of arrays, for training and for validation.

    Raises:
        TypeError: If it contains values that cannot be converted to arrays.
        ValueError: If a part has too many or too few members, its arrays differ in length or are
            empty, or values are masked or too large for the floats of Keras.
    """
    form = (
        "`data` must be two pairs, inputs and targets for training and inputs and targets for "
        "validation: ((x, y), (x_val, y_val)). Each may have sample weights as a third member. "
        "Received: data"
    )
    if not isinstance(data, list | tuple):
        raise TypeError(f"{form} of type {type(data).__name__}")
    for part in data:
        if not isinstance(part, list | tuple):
            raise TypeError(f"{form} with a part of type {type(part).__name__}")
    members = [len(part) for part in data]
    if len(data) != 2 or not set(members) <= {2, 3}:
        raise ValueError(f"{form} of {len(data)} parts, with {members} members")
    training, validation = data
    return _arrays(_NAMES, training), _arrays(_VALIDATION_NAMES, validation)


def _arrays(names: tuple[str, ...], part: Any) -> tuple[Structure, ...]:
    """Return the members of `part`, named `names`, as arrays of equal length."""
    members = []
    lengths = {}
    if len(part) == 3 and part[2] is None:  # the same as no weights
        part = part[:2]
    for name, value in zip(names, part, strict=False):
        member = keras.tree.map_structure(functools.partial(_array, name), value)
        members.append(member)
        lengths[name] = [len(array) for array in _present(member)]
    has_inputs = bool(lengths[names[0]])
    different = set(itertools.chain.from_iterable(lengths.values()))
    if not has_inputs or len(different) > 1 or 0 in different:
        received = []
        for name, found in lengths.items():
            if found:
                received.append(f"{name} of length {' and '.join(map(str, found))}")
            elif name == names[0]:
                received.append(f"{name} of length 0")
        raise ValueError(
            "`data` must have at least one example, and inputs and targets of equal length. "
            f"Received: {', '.join(received)}"
        )
    return tuple(members)


def _present(arrays: Structure) -> list[Array]:
    """Return the arrays in a structure, without `None` entries."""
    return [array for array in keras.tree.flatten(arrays) if array is not None]


def _array(name: str, value: Any) -> Array | None:
    if value is None:
        return None
    pandas = sys.modules.get("pandas")  # imported already if the data are pandas objects
    if pandas and isinstance(value, pandas.DataFrame):
        columns = [_column(name, column) for _, column in value.items()]
        return np.stack(columns, axis=1)
    if pandas and isinstance(value, pandas.Series):
        return _column(name, value)[:, None]  # the same shape as in `fit`
    if not getattr(value, "shape", None) or not hasattr(value, "__array__"):
        raise TypeError(
            "`data` must hold arrays, tensors, pandas Series or DataFrames, or lists, tuples and "
            "dicts of them; convert lists of numbers to arrays. "
            f"Received: {name} with {type(value).__name__}"
        )
    if np.ma.is_masked(value):
        raise ValueError(
            "`data` must not have masked values: fill them, or leave out their examples. "
            f"Received: {name} with {np.ma.getmaskarray(value).sum()} masked values"
        )
    if keras.ops.is_tensor(value):
        return _numeric(name, backend.host_view(value))
    return _numeric(name, np.asarray(value))


def _column(name: str, column: Any) -> Array:
    return _numeric(f"{name}, column {column.name!r},", array_of_column(column))


def _numeric(name: str, array: Array) -> Array:
    try:
        is_float = keras.backend.is_float_dtype(array.dtype)
    except ValueError:
        raise TypeError(
            f"`data` must hold numbers. Received: {name} of dtype {array.dtype}"
        ) from None
    if np.iscomplexobj(array):
        raise TypeError(
            "`data` must hold real numbers: split complex ones into real and imaginary parts. "
            f"Received: {name} of dtype {array.dtype}"
        )
    if not is_float:
        return array
    floatx = keras.config.floatx()
    try:
        with np.errstate(over="raise"):
            return array.astype(floatx, copy=False)  # as `fit` does
    except FloatingPointError:
        greatest = np.abs(array[np.isfinite(array)]).max()
        raise ValueError(
            f"`data` must hold numbers that {floatx} can represent. "
            f"Received: {name} with a value of {greatest:.3g}"
        ) from None


def data_digest(data: Structure) -> str:
    """Return a digest of the structure and all arrays of `data`."""
    digest = hashlib.sha256(repr(_kinds(data)).encode())
    for array in _present(data):
        digest.update(np.ascontiguousarray(array).reshape(-1).view("uint8").data)
    return digest.hexdigest()


def _kinds(data: Structure) -> Any:
    """Return the structure of `data`, with the dtype and the shape of each array.

    A list is a tuple, because Keras treats them alike. The keys of a dict keep their order, because
    a model may go by it.
    """
    if isinstance(data, dict):
        return {key: _kinds(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return tuple(_kinds(item) for item in data)
    if data is None:
        return None
    return f"{data.dtype}{data.shape}"


def number_of_examples(arrays: Structure) -> int:
    """Return the number of examples in `arrays`, an array or a structure of arrays."""
    return len(_present(arrays)[0])


def select_examples(arrays: Structure, selection: Array | slice) -> Structure:
    """Return the examples of `arrays` at these indices, in their order."""

    def select(array: Array | None) -> Array | None:
        return None if array is None else array[selection]

    return keras.tree.map_structure(select, arrays)
