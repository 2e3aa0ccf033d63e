"""A batch of data: checked, cut to a number of examples, and as arrays of floats."""

from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import check_count
from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend

__all__ = [
    "Batch",
    "array_of",
    "check_data",
    "first_examples",
    "first_float",
    "floats",
    "tensors_in",
]

# An array, or a list or dict of arrays.
Batch: TypeAlias = Any


def check_data(x: Batch, y: Batch | None, batch_size: int) -> None:
    """Raise an error if `x` and `y` are not matching, nonempty arrays of real numbers.

    The same if `batch_size` is not a positive integer.
    """
    check_count("batch_size", batch_size)
    counts_of_x = _example_counts("x", x)
    counts_of_y = [] if y is None else _example_counts("y", y)
    if not counts_of_x or 0 in counts_of_x:
        raise ValueError("`x` must have at least one example. Received: x with none")
    if len({*counts_of_x, *counts_of_y}) > 1:
        raise ValueError(
            "`x` and `y` must have the same number of examples. "
            f"Received: x with {counts_of_x}, y with {counts_of_y}"
        )


def _example_counts(name: str, arrays: Batch) -> list[int]:
    """Return the number of examples of each array."""
    given = keras.tree.flatten(arrays)
    # An optional input may be `None`.
    given = [array for array in given if array is not None] or given
    for array in given:
        kind = type(array).__name__
        if not getattr(array, "shape", None) or not hasattr(array, "__array__"):
            raise TypeError(
                f"`{name}` must be an array, or a list or dict of arrays. "
                f"Received: {name} with {kind}"
            )
        if keras.ops.is_tensor(array):
            dtype = array.dtype
        else:
            dtype = np.asarray(array).dtype  # a data frame has none
        if getattr(array, "is_sparse", False):  # a tensor of torch
            raise TypeError(f"`{name}` must be dense. Received: {name} with a sparse {kind}")
        # Also of arrays of different lengths, which are no batch.
        if "object" in str(dtype) and not all(
            isinstance(one, str | bytes) for one in np.ravel(array)
        ):
            raise TypeError(
                f"`{name}` must hold numbers, or strings, in one array of one shape. "
                f"Received: {name} with {kind} of dtype {dtype}"
            )
        # Keras would drop the imaginary parts and the mask.
        if isinstance(array, np.ma.MaskedArray) or "complex" in str(dtype):
            raise TypeError(
                f"`{name}` must hold real numbers, without a mask. "
                f"Received: {name} with {kind} of dtype {dtype}"
            )
    return [array.shape[0] for array in given]


def first_examples(arrays: Batch, count: int) -> Batch:
    """Return the first `count` examples of an array, or of each array in a list or dict.

    They are as `fit` passes them.
    """

    def first(array: Tensor | None) -> Tensor | None:
        if array is None:  # an optional input
            return None
        if not keras.ops.is_tensor(array):
            array = np.asarray(array)
        array = array[:count]
        try:
            is_float = keras.backend.is_float_dtype(array.dtype)
        except ValueError:
            return array  # of strings
        return keras.ops.convert_to_tensor(array, keras.config.floatx() if is_float else None)

    return keras.tree.map_structure(first, arrays)


def tensors_in(nested: Any) -> list[Tensor]:
    """Return the concrete tensors in `nested`, without NumPy scalars.

    NumPy scalars cannot be tracked because they do not support weak references.
    """
    found = []
    for leaf in keras.tree.flatten(nested):
        if isinstance(leaf, np.generic) or not keras.ops.is_tensor(leaf):
            continue
        if backend.is_concrete(leaf):
            found.append(leaf)
    return found


def first_float(nested: Any, *, or_kind: str | None = None) -> Tensor | None:
    """Return the first tensor of `nested` if it is concrete and floating-point, otherwise `None`.

    Its dtype may also contain `or_kind`, such as `"int"`.
    """
    first: Any = next(iter(keras.tree.flatten(nested)), None)
    if not keras.ops.is_tensor(first) or not backend.is_concrete(first):
        return None
    dtype = keras.backend.standardize_dtype(first.dtype)
    if "float" in dtype:
        return first
    if or_kind is not None and or_kind in dtype:
        return first
    return None


def array_of(tensor: Tensor | keras.Variable) -> Array:
    """Return a copy of the values of `tensor` as floats of at least 32 bits."""
    return floats(backend.host_view(tensor), copy=True)


def floats(values: Array, *, copy: bool = False) -> Array:
    """Return `values` as floats of at least 32 bits."""
    # NumPy does not treat bfloat16 as a float.
    is_wide = values.dtype.kind == "f" and values.dtype.itemsize >= 4
    return values.astype(values.dtype if is_wide else "float32", copy=copy)
