"""Copy tensors to the host, and compute statistics that a `Signal` does not have."""

from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend

# Number of values per chunk of columns.
_PIECE = 1 << 22


def tensors_in(nested: Any) -> list[Tensor]:
    """Return the concrete tensors in `nested`, without NumPy scalars.

    NumPy scalars cannot be tracked because they do not support weak references.
    """
    leaves = (leaf for leaf in keras.tree.flatten(nested) if not isinstance(leaf, np.generic))
    return [leaf for leaf in leaves if keras.ops.is_tensor(leaf) and backend.is_concrete(leaf)]


def first_float(nested: Any) -> Tensor | None:
    """Return the first tensor of `nested` if it is concrete and floating-point, otherwise `None`."""
    first = next(iter(keras.tree.flatten(nested)), None)
    if first is None or not keras.ops.is_tensor(first) or not backend.is_concrete(first):
        return None
    return first if "float" in keras.backend.standardize_dtype(first.dtype) else None


def array_of(tensor: Tensor) -> Array:
    """Return the values of `tensor` as an array of floats of at least 32 bits."""
    values = np.asarray(keras.ops.convert_to_numpy(tensor))
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        values = values.astype("float32")  # also bfloat16, which NumPy does not treat as a float
    return values


def weight_array(weight: keras.Variable) -> Array:
    """Return the values of `weight` as a float32 array."""
    return array_of(weight).astype("float32", copy=False)


def spread(values: Array) -> float:
    """Return the standard deviation between examples, or that of the values of a single example.

    It is NaN if a value is not finite.
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
    """Return whether the last axis holds probabilities that sum to 1."""
    if values.ndim < 2 or values.shape[-1] < 2 or not values.size:
        return False
    return bool(values.min() >= 0 and (abs(values.sum(axis=-1, dtype="float64") - 1) < 1e-2).all())


def certain(values: Array, margin: float) -> float:
    """Return the fraction of probabilities near 0 or 1; for a softmax, of examples with one probability near 1."""
    if is_softmax(values):
        return float(np.mean(values.max(axis=-1) >= 1 - margin))
    return float(np.mean((values <= margin) | (values >= 1 - margin)))
