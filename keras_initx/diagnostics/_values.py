"""The values of tensors, brought to the host, and what they tell beside the statistics of a `Signal`."""

from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend

# Columns that are reduced at once are as many as have this number of values.
_PIECE = 1 << 22


def tensors_in(nested: Any) -> list[Tensor]:
    """Return the tensors in `nested` whose values can be seen, without the scalars of NumPy.

    These cannot be followed: they allow no weak references.
    """
    leaves = (leaf for leaf in keras.tree.flatten(nested) if not isinstance(leaf, np.generic))
    return [leaf for leaf in leaves if keras.ops.is_tensor(leaf) and backend.is_concrete(leaf)]


def first_float(nested: Any) -> Tensor | None:
    """Return the first tensor of `nested` if its values can be seen and are floats, otherwise `None`."""
    first = next(iter(keras.tree.flatten(nested)), None)
    if first is None or not keras.ops.is_tensor(first) or not backend.is_concrete(first):
        return None
    return first if "float" in keras.backend.standardize_dtype(first.dtype) else None


def array_of(tensor: Tensor) -> Array:
    """Return the values of `tensor` as an array of floats of at least 32 bits."""
    values = np.asarray(keras.ops.convert_to_numpy(tensor))
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        values = values.astype("float32")  # bfloat16 too, which NumPy takes for no float
    return values


def weight_array(weight: keras.Variable) -> Array:
    """Return the values of `weight` as an array in float32."""
    return array_of(weight).astype("float32", copy=False)


def spread(values: Array) -> float:
    """Return the standard deviation between examples; of a single example, that of its values.

    It is not a number where a value is not finite.
    """
    if not values.size:
        return 0.0
    columns = values.reshape(len(values), -1)
    if len(columns) == 1:
        columns = columns.T
    width = max(_PIECE // len(columns), 1)
    with np.errstate(invalid="ignore"):
        parts = (columns[:, start : start + width] for start in range(0, columns.shape[1], width))
        return float(np.sqrt(sum(part.var(axis=0, dtype="float64").sum() for part in parts) / columns.shape[1]))


def is_softmax(values: Array) -> bool:
    """Return whether the last axis holds probabilities of which one is true."""
    if values.ndim < 2 or values.shape[-1] < 2 or not values.size:
        return False
    return bool(values.min() >= 0 and (abs(values.sum(axis=-1, dtype="float64") - 1) < 1e-2).all())


def certain(values: Array, margin: float) -> float:
    """Return the share of probabilities that are next to 0 or 1; of a softmax, of examples with one next to 1."""
    if is_softmax(values):
        return float(np.mean(values.max(axis=-1) >= 1 - margin))
    return float(np.mean((values <= margin) | (values >= 1 - margin)))
