"""Arrays by name from what weights are taken of: a file, another model, or a dict."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.initializers._array_files import FORMATS, Stored, open_arrays, suffix
from keras_initx.models._layouts import Layout
from keras_initx.models._weights import check_model, find_weights

# A file, a model, or names with arrays or tensors of any framework.
Source: TypeAlias = str | os.PathLike[str] | keras.Model | Mapping[str, Any]

# Arrays of a `.npy` file have no names.
_FORMATS = tuple(name for name in FORMATS if name != ".npy")
# What only Keras writes.
_OF_KERAS = (".weights.h5", ".keras")
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


@contextlib.contextmanager
def opened(source: Source) -> Iterator[tuple[dict[str, Stored], Layout | None]]:
    """Give the arrays of `source` by name, none of them read, and its layout if it can have one only.

    A file is open while the block runs.

    Raises:
        TypeError: If `source` is something else.
        ValueError: If it is a file that cannot be read, or a model that is not built.
        ImportError: If the package that reads the file is missing.
    """
    if isinstance(source, keras.Model):
        check_model("source", source)
        yield {weight.path: _stored(weight.path, weight.variable) for weight in find_weights(source)}, "keras"
    elif isinstance(source, Mapping):
        yield {name: _stored(name, value) for name, value in source.items()}, None
    else:
        path = _checked_path(source)
        with open_arrays("source", path) as contents:
            yield contents, "keras" if path.lower().endswith(_OF_KERAS) else None


def _checked_path(source: object) -> str:
    if not isinstance(source, str | os.PathLike) or not isinstance(path := os.fspath(source), str):
        raise TypeError(
            "`source` must be the path of a file, a Keras model, or a dict from names to arrays, as the `state_dict()` "
            f"of a torch module. Received: source={source!r}"
        )
    if suffix(path) in _PICKLES:
        raise ValueError(
            "`source` must not be a pickle, which may run any code. This makes a file of arrays of it: "
            f"`safetensors.torch.save_file(torch.load({path!r}, weights_only=True), 'model.safetensors')`. "
            f"Received: source={path!r}"
        )
    if suffix(path) not in _FORMATS:
        raise ValueError(f"`source` must be a file that ends in one of {_FORMATS}. Received: source={path!r}")
    if not os.path.isfile(path):
        raise ValueError(
            f"`source` must be a file that is there, and there is none at {os.path.abspath(path)}. "
            f"Received: source={path!r}"
        )
    return path


def _stored(name: Any, value: Any) -> Stored:
    """Return a tensor or an array at hand in the form of one in a file."""
    if not isinstance(name, str):
        raise TypeError(f"`source` must be a dict from names to arrays. Received: {name!r} as a name")
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        value = np.asarray(value)
    if value.dtype == object:
        raise TypeError(f"`source` must be a dict from names to arrays. Received: {value!r} for {name!r}")
    return Stored(tuple(value.shape), keras.backend.standardize_dtype(value.dtype), lambda: _array(value))


def _array(value: Any) -> Array:
    if isinstance(value, keras.Variable):
        return np.asarray(keras.ops.convert_to_numpy(value.value))
    if hasattr(value, "detach"):  # a tensor of torch, which the backend at hand may not know
        value = value.detach().cpu()
        # NumPy has no such type.
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    return np.asarray(value)
