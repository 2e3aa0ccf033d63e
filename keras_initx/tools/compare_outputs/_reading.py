"""Read the calls of Keras and of torch: names, settings, arguments and values.

Settings have the names that each framework gives them; `_components.py` has common words.
"""

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

# Attributes that Keras gives each layer and model, which do not decide what it computes.
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


class Values(NamedTuple):
    """The values of a tensor, for the time of a call.

    Attributes:
        array: The values.
        dtype: The name of their dtype, which NumPy may not have.
    """

    array: Array
    dtype: DType


def name_modules(module: Any) -> dict[Any, str]:
    """Name the modules within a module of torch; itself by its class."""
    return {submodule: name or type(module).__name__ for name, submodule in module.named_modules()}


def name_operations(inventory: Inventory) -> dict[keras.Operation, str]:
    """Name the layers of a model, and the operations of functional models in it, by their paths.

    Operations are within the path of their model, with automatic names numbered within it:
    `"encoder/add_1"`.
    """
    layers = inventory.paths
    paths: dict[keras.Operation, str] = {**layers}
    taken = set(layers.values())
    for index, (layer, path) in enumerate(layers.items()):
        operations = [
            operation for operation in getattr(layer, "operations", ()) if operation not in paths
        ]
        prefix = f"{path}/" if index else ""
        names = [
            (operation.name, split_automatic_name(operation.name, type(operation).__name__))
            for operation in operations
        ]
        for operation, name in zip(operations, renumber_names(names, Counter()), strict=True):
            paths[operation] = make_distinct(f"{prefix}{name}", taken)
    return paths


def canonicalize_operations(inventory: Inventory) -> dict[keras.Operation, str]:
    """Find the canonical paths of layers and operations, see `name_operations`.

    Operations are counted separately, in the order of their model.
    """
    parts_by_layer = layer_paths(inventory)
    operations: dict[keras.Operation, tuple[PathPart, ...]] = {}
    for layer, parts in parts_by_layer.items():
        for operation in getattr(layer, "operations", ()):
            if operation not in parts_by_layer:
                name = PathPart(
                    operation.name, split_automatic_name(operation.name, type(operation).__name__)
                )
                operations.setdefault(operation, (*parts, PathPart("operations"), name))
    return {**canonicalize_paths(parts_by_layer), **canonicalize_paths(operations)}


def read_settings(operation: Any) -> Settings:
    """Read the settings of a layer, an operation or a module of torch, as it keeps them.

    They are its public attributes that are numbers, short texts, or lists of these.
    """
    settings = {}
    for name, value in vars(operation).items():
        if not name.startswith("_") and name not in _LEFT_OUT and is_simple(value):
            settings[name] = value
    if isinstance(operation, keras.Layer):
        activation = activation_name(operation)
        if activation is not None:
            settings["activation"] = activation
    return settings


def is_simple(value: Any) -> bool:
    """Say whether a setting is a number, a short text, `None`, or a list of these."""
    if isinstance(value, list | tuple):
        return len(value) <= 8 and all(map(is_simple, value))
    if isinstance(value, str):
        return len(value) <= 40
    return value is None or isinstance(value, bool | int | float)


def label_members(nested: Any, label: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the members of nested lists, tuples and dicts, each with its label: `"logits/0"`."""
    members: Any = None
    if isinstance(nested, Mapping):
        members = nested.items()
    elif isinstance(nested, list | tuple):
        members = enumerate(nested)
    if members is None:
        yield label, nested
        return
    for key, member in members:
        inner = f"{label}/{key}" if label else f"{key}"
        yield from label_members(member, inner)


def read_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Read the arguments of a call, by their names."""
    try:
        arguments = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # it has no signature
        arguments = {f"{index}": value for index, value in enumerate(args)}
        arguments.update(kwargs)
    return dict(label_members(arguments))


def read_values(value: Any) -> Values | None:
    """Read the values of a tensor or an array, `None` if it has no numbers, or is traced.

    Use them at once: a module of torch may change them in place.
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
