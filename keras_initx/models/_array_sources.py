"""Read arrays by name from a source: a file, another model, or a dict."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.initializers._array_files import FORMATS, Stored, check_file, open_arrays, suffix
from keras_initx.models._layouts import Layout
from keras_initx.models._weights import check_model, find_weights

# A file, a model, or a dict from names to arrays or tensors of any framework.
Source: TypeAlias = str | os.PathLike[str] | keras.Model | Mapping[str, Any]

# Arrays of a `.npy` file have no names.
_FORMATS = tuple(name for name in FORMATS if name != ".npy")
# Formats that only Keras writes.
_OF_KERAS = (".weights.h5", ".keras")
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


@contextlib.contextmanager
def opened(source: Source) -> Iterator[tuple[dict[str, Stored], Layout | None]]:
    """Yield the arrays of `source` by name, not yet read, and its layout if only one is possible.

    A file stays open for the duration of the block.

    Raises:
        TypeError: If `source` has another type.
        ValueError: If the file cannot be read or the model is not built.
        ImportError: If the package that reads the file is missing.
    """
    if isinstance(source, keras.Model):
        check_model("source", source)
        yield {weight.path: in_memory(weight.variable) for weight in find_weights(source)}, "keras"
    elif isinstance(source, Mapping):
        yield _named(source), None
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
            "`source` must not be a pickle, which can run arbitrary code. Convert it first: "
            f"`safetensors.torch.save_file(torch.load({path!r}, weights_only=True), 'model.safetensors')`. "
            f"Received: source={path!r}"
        )
    if suffix(path) not in _FORMATS:
        raise ValueError(f"`source` must be a file that ends in one of {_FORMATS}. Received: source={path!r}")
    check_file("source", path)
    return path


def _named(source: Mapping[Any, Any]) -> dict[str, Stored]:
    contents = {}
    for name, value in source.items():
        if not isinstance(name, str):
            raise TypeError(f"`source` must be a dict from names to arrays. Received: {name!r} as a name")
        contents[name] = in_memory(value)
    if contents and all(found.dtype == "object" for found in contents.values()):
        raise TypeError(
            f"`source` must be a dict from names to arrays. Received: the names {list(contents)}, no arrays"
        )
    return contents


def in_memory(value: Any) -> Stored:
    """Return a tensor or array in memory in the same form as one in a file; its dtype says if it is anything else."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        try:
            value = np.asarray(value)
        except Exception:  # a `state_dict()` may hold any object, and each fails in its own way
            value = np.array(None)
    try:
        dtype = keras.backend.standardize_dtype(value.dtype)
    except ValueError:
        dtype = str(value.dtype)
    if isinstance(value, np.ma.MaskedArray):
        dtype = f"masked {dtype}"
    return Stored(tuple(value.shape), dtype, lambda: _array(value))


def _array(value: Any) -> Array:
    if isinstance(value, keras.Variable):
        return np.asarray(keras.ops.convert_to_numpy(value.value))
    if hasattr(value, "detach"):  # a torch tensor, which the current backend may not know
        value = value.detach().cpu()
        # NumPy has no bfloat16.
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    return np.asarray(value)
