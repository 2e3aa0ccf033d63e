"""What is read of the calls of Keras and of torch: names, settings, arguments and values."""

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import list_tensors
from keras_initx.inspection._hooks import activation_name
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._names import make_distinct, renumber_names, split_automatic_name
from keras_initx.inspection._pairing import PathPart, canonicalize_paths, layer_paths

# What a layer or a module computes with, as far as that is numbers, texts and lists of these.
Settings: TypeAlias = Mapping[str, Any]

# Attributes that say nothing about what is computed: those that Keras gives each layer and model.
_LEFT_OUT = {
    "autocast",
    "built",
    "call_signature_parameters",
    "compiled",
    "loss",
    "name",
    "seed",
    "steps_per_execution",
    "stop_training",
    "supports_jit",
    "training",
    "use_cudnn",
}
# The words of Keras for what modules of torch are made with.
_OTHER_WORDS = {
    "eps": "epsilon",
    "stride": "strides",
    "dilation": "dilation_rate",
    "p": "rate",
}


class Values(NamedTuple):
    """The values of a tensor, for the time of a call.

    Attributes:
        array: The values.
        dtype: The name of their dtype, which NumPy may not have.
    """

    array: Array
    dtype: DType


def is_torch_module(value: Any) -> bool:
    """Return whether `value` is a module of torch, and no layer of Keras."""
    torch = sys.modules.get("torch")  # imported already if there is a module of it
    if torch is None or isinstance(value, keras.Layer):
        return False
    return isinstance(value, torch.nn.Module)


def name_modules(module: Any) -> dict[Any, str]:
    """Return the modules within one of torch with their names, that of the class for itself."""
    return {part: name or type(module).__name__ for name, part in module.named_modules()}


def name_operations(inventory: Inventory) -> dict[keras.Operation, str]:
    """Return the layers of a model, and operations of functional models in it, with their paths.

    Those of operations are within the path of their model, with automatic names numbered within it.
    """
    layers = inventory.paths
    found: dict[keras.Operation, str] = {**layers}
    taken = set(layers.values())
    for place, (layer, path) in enumerate(layers.items()):
        operations = [one for one in getattr(layer, "operations", ()) if one not in found]
        prefix = f"{path}/" if place else ""
        names = [
            (one.name, split_automatic_name(one.name, type(one).__name__)) for one in operations
        ]
        for operation, name in zip(operations, renumber_names(names, Counter()), strict=True):
            found[operation] = make_distinct(f"{prefix}{name}", taken)
    return found


def canonicalize_operations(inventory: Inventory) -> dict[keras.Operation, str]:
    """Return the places of layers and operations, see `operation_paths`.

    Operations are counted by themselves, in the order in which their model has them.
    """
    around = layer_paths(inventory)
    operations: dict[keras.Operation, tuple[PathPart, ...]] = {}
    for layer, parts in around.items():
        for one in getattr(layer, "operations", ()):
            if one not in around:
                name = PathPart(one.name, split_automatic_name(one.name, type(one).__name__))
                operations.setdefault(one, (*parts, PathPart("operations"), name))
    return {**canonicalize_paths(around), **canonicalize_paths(operations)}


def read_settings(operation: Any) -> Settings:
    """Return what a layer, an operation or a module of torch was made with, in words of Keras.

    That is what its public attributes say in numbers, short texts, and lists of these.
    """
    found = {}
    for name, value in vars(operation).items():
        if not name.startswith("_") and name not in _LEFT_OUT and is_simple(value):
            found[_OTHER_WORDS.get(name, name)] = value
    if isinstance(operation, keras.Layer):
        activation = activation_name(operation)
        if activation is not None:
            found["activation"] = activation
        cell: Any = getattr(operation, "cell", None)  # which has what a module of torch has itself
        if hasattr(cell, "reset_after"):
            found["reset_after"] = cell.reset_after
    elif is_torch_module(operation):
        parameters = {name for name, _ in operation.named_parameters(recurse=False)}
        if "weight" in parameters:
            found["use_bias"] = "bias" in parameters
        if isinstance(found.get("momentum"), float):
            # The share of the new values there, of the former ones in Keras.
            found["momentum"] = round(1 - found["momentum"], 12)
        torch = sys.modules["torch"]
        if isinstance(operation, torch.nn.GRU | torch.nn.GRUCell):
            found["reset_after"] = True  # torch has no other form
    return found


def is_simple(value: Any) -> bool:
    """Return whether a setting is a number, a short text, `None`, or a list of these."""
    if isinstance(value, list | tuple):
        return len(value) <= 8 and all(map(is_simple, value))
    if isinstance(value, str):
        return len(value) <= 40
    return value is None or isinstance(value, bool | int | float)


def label_members(nested: Any, label: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the members of nested lists, tuples and dicts, each with its place as a text."""
    parts: Any = None
    if isinstance(nested, Mapping):
        parts = nested.items()
    elif isinstance(nested, list | tuple):
        parts = enumerate(nested)
    if parts is None:
        yield label, nested
        return
    for place, part in parts:
        inner = f"{label}/{place}" if label else f"{place}"
        yield from label_members(part, inner)


def read_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a function is called with, by the names of its arguments."""
    try:
        given = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # it has no signature
        given = {f"{place}": value for place, value in enumerate(args)}
        given.update(kwargs)
    return dict(label_members(given))


def read_values(value: Any) -> Values | None:
    """Return the values of a tensor or an array, `None` if it has no numbers, or a program has it.

    They are to be read at once: a module of torch may change them in place.
    """
    if isinstance(value, keras.Variable):
        value = value.value
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype == "bfloat16":  # which NumPy does not have
            value = value.float()
        value = value.detach()
        if hasattr(value, "full_tensor"):  # a `DTensor`, of which all processes read the parts
            value = value.full_tensor()
        array = value.cpu().numpy()
    elif list_tensors([value]):
        dtype = keras.backend.standardize_dtype(value.dtype)
        if dtype == "string":
            return None
        array = backend.host_view(value)
    elif isinstance(value, np.ndarray):
        dtype = value.dtype.name
        array = value
    else:
        return None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        return None
    return Values(array, dtype)
