"""Open a source of arrays: files, another model, or a dict.

The arrays of each source become `LazyArray` by name, which are read when they are needed:

    "model.safetensors", ["a.safetensors", "b.safetensors"], a folder   `open_checkpoint`
    a Keras model                                                      its weights, by path
    a module of torch                                                  its `state_dict()`
    {"fc.weight": tensor}                                              arrays of any framework

Two names may stand for one array in memory (`find_ties`). An array that shares memory with a weight
is copied before the weight changes (`copy_shared`).
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypeGuard

import keras
import numpy as np

from keras_initx._checks import check_choice
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.checkpoints._checkpoint import Checkpoint, checkpoint_paths, open_checkpoint
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray, Selection
from keras_initx.inspection._inventory import Inventory, check_unshared
from keras_initx.inspection._pairing import canonical_weight_paths
from keras_initx.inspection._weights import ModelWeight


class TorchModule(Protocol):
    """A module of torch."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def named_parameters(
        self, *, recurse: bool = ..., remove_duplicate: bool = ...
    ) -> Iterator[tuple[str, Any]]: ...

    def register_forward_hook(self, hook: Any) -> Any: ...


# What users pass. A dict has arrays or tensors of any framework.
Source: TypeAlias = Checkpoint | keras.Model | TorchModule | Mapping[str, Any]
# The same, with the inventory of a model.
OpenedSource: TypeAlias = Checkpoint | Inventory | Mapping[str, Any]
# The order of axes and of what is fused.
LayoutName: TypeAlias = Literal["torch", "keras"]

LAYOUTS: tuple[LayoutName, ...] = ("torch", "keras")
# Formats that only Keras writes.
_KERAS_SUFFIXES = (".weights.h5", ".weights.json", ".keras")


def is_torch_module(value: object) -> TypeGuard[TorchModule]:
    """Return whether `value` is a module of torch, and no layer of Keras."""
    torch = sys.modules.get("torch")  # imported already if there is a module of it
    if torch is None or isinstance(value, keras.Layer):
        return False
    return isinstance(value, torch.nn.Module)


def read_module(
    module: TorchModule, layout: LayoutName | None
) -> tuple[Mapping[str, Any], LayoutName]:
    """Return the arrays of a module of torch and their layout.

    It is torch's, unless the user passes another one: some modules, such as the linear layers of
    GPT-2 in transformers, have the order of axes of Keras.
    """
    return module.state_dict(), layout or "torch"


@contextlib.contextmanager
def open_source(
    source: OpenedSource, argument: str = "source"
) -> Iterator[tuple[Contents, LayoutName | None]]:
    """Yield the arrays of `source` by name, not yet read, and its layout if only one is possible.

    Files stay open for the duration of the block.

    Args:
        source: The source.
        argument: Name of the argument in error messages.

    Raises:
        TypeError: If `source` has another type.
        ValueError: If a file cannot be read, or the model is on JAX shared with other processes.
    """
    if isinstance(source, Inventory):
        check_unshared(argument, source)
        arrays = {weight.path: weight.variable.value for weight in source.weights_and_buffers}
        contents = check_arrays(argument, arrays)
        contents.canonical_paths = canonical_weight_paths(source, source.weights_and_buffers)
        yield contents, "keras"
    elif isinstance(source, Mapping):
        yield check_arrays(argument, source), None
    else:
        paths = checkpoint_paths(source)
        if paths is None:
            raise TypeError(
                f"`{argument}` must be a path of a file or folder, a list of paths, a Keras model, "
                "a module of torch, or a dict from names to arrays such as its `state_dict()`. "
                f"Received: {argument}={source!r}"
            )
        only_layout: LayoutName | None = None
        if all(path.lower().endswith(_KERAS_SUFFIXES) for path in paths):
            only_layout = "keras"
        with open_checkpoint(argument, paths) as contents:
            yield contents, only_layout


def check_arrays(argument: str, arrays: Mapping[Any, Any]) -> Contents:
    """Turn a dict of arrays or tensors into the form of arrays in a file.

    Args:
        argument: Name of the argument in error messages.
        arrays: A dict from names to arrays. Other values are ignored.

    Raises:
        TypeError: If a name is no text, or if arrays are only in nested dicts.
    """
    required = f"`{argument}` must be a dict from names to arrays"
    for name in arrays:
        if not isinstance(name, str):
            raise TypeError(f"{required}. Received: {name!r} as a name")
    contents = Contents()
    contents.update((name, to_lazy(value)) for name, value in arrays.items())
    nested = [name for name, value in arrays.items() if isinstance(value, Mapping)]
    if nested and all(array.dtype == "object" or not array.shape for array in contents.values()):
        # A checkpoint of torch, with the number of the epoch and the state of an optimizer.
        choices = ", ".join(f"{argument}[{name!r}]" for name in nested)
        raise TypeError(
            f"{required}. Received: a dict that contains dicts. Pass one of them: {choices}"
        )
    if contents and all(array.dtype == "object" for array in contents.values()):
        raise TypeError(f"{required}. Received: the names {list(contents)}, without arrays")
    return contents


def to_lazy(value: Any) -> LazyArray:
    """Turn a tensor or array in memory into the form of an array in a file.

    The dtype of any other object is `"object"`, or begins with a word that shows why it cannot be
    loaded: `"masked float32"`, `"meta float32"`, `"sparse float32"`.
    """
    if isinstance(value, keras.Variable):
        value = value.value
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        try:
            value = np.asarray(value)
        except Exception:  # a `state_dict()` may hold any object, and each fails in its own way
            value = np.array(None)
        if value.dtype.kind not in "biufc":  # a text
            value = np.array(None)
    try:
        dtype = keras.backend.standardize_dtype(value.dtype)
    except ValueError:
        dtype = str(value.dtype)
    if isinstance(value, np.ma.MaskedArray):
        dtype = f"masked {dtype}"
    elif _is_torch(value) and value.device.type == "meta":
        dtype = f"meta {dtype}"  # without values
    elif _is_torch(value) and getattr(value, "is_sparse", False):
        dtype = f"sparse {dtype}"
    return LazyArray(tuple(value.shape), dtype, _InMemory(value))


def find_ties(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Find arrays that have several names: `{"lm_head.weight": "wte.weight"}`, later to first name.

    For example, the last layer may use the table of words too. The memory decides, because
    `state_dict()` of torch returns new objects. A transposed view of a square matrix has the same
    memory and shape, and other values.
    """
    first_names: dict[Any, str] = {}
    ties = {}
    for name, value in arrays.items():
        tensor = value.value if isinstance(value, keras.Variable) else value
        if 0 in getattr(tensor, "shape", (0,)):
            continue  # no array, or an empty one
        dtype = str(getattr(tensor, "dtype", ""))
        view = (_memory_span(tensor), tuple(tensor.shape), _read_strides(tensor), dtype)
        other = first_names.setdefault(view, name)
        if other is not name:
            ties[name] = other
    return ties


def _read_strides(tensor: Any) -> tuple[int, ...]:
    """Return the distances of neighbors along each axis that has any, empty if unknown."""
    try:
        strides = tensor.stride() if _is_torch(tensor) else tensor.strides
        return tuple(
            stride for stride, length in zip(strides, tensor.shape, strict=True) if length > 1
        )
    except (AttributeError, RuntimeError, TypeError):
        return ()


def _memory_span(tensor: Any) -> tuple[int, int]:
    """Return the addresses of the first byte of a tensor or an array, and of the one after it.

    If the object does not show the addresses of its numbers, these are its own addresses.
    """
    try:
        if hasattr(tensor, "to_local"):  # a `DTensor`, whose own address is 0
            tensor = tensor.to_local()
            if not tensor.numel():
                return id(tensor), id(tensor) + 1
        if _is_torch(tensor):
            size = tensor.element_size()
            address = tensor.data_ptr()
            strides = [stride * size for stride in tensor.stride()]
        else:
            size = tensor.itemsize
            address = tensor.ctypes.data
            strides = tensor.strides
    except (AttributeError, RuntimeError):  # the latter of a sparse tensor of torch
        return id(tensor), id(tensor) + 1
    spans = [(length - 1) * stride for length, stride in zip(tensor.shape, strides, strict=True)]
    lowest = sum(span for span in spans if span < 0)
    highest = sum(span for span in spans if span > 0)
    return address + lowest, address + highest + size


class _InMemory:
    """Reads an array or a tensor, or an object that becomes an array when it is read.

    Such an object may belong to another framework or to a file.

    Attributes:
        value: The object.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, region: Selection) -> Array:
        value = self.value
        if keras.ops.is_tensor(value):
            return backend.host_view(value)[region]
        if _is_torch(value):
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":  # which NumPy does not have
                value = value.float()
        return np.asarray(value)[region]


def _is_torch(value: Any) -> bool:
    # Also if the current backend does not know torch's tensors.
    return hasattr(value, "detach")


def copy_shared(arrays: Iterable[LazyArray], weights: Sequence[ModelWeight]) -> None:
    """Copy the arrays that are in the memory of `weights`, which are about to change."""
    ranges = [_memory_span(weight.variable.value) for weight in weights]
    begins, ends = np.array(ranges, "uint64").T
    for array in arrays:
        reader = array.read
        if not isinstance(reader, _InMemory):
            continue
        begin, end = _memory_span(reader.value)
        if not np.any((begins < end) & (begin < ends)):
            continue
        if isinstance(reader.value, np.ndarray):
            reader.value = reader.value.copy()
        else:
            reader.value = backend.snapshot(reader.value)


def are_in_memory(arrays: Sequence[LazyArray]) -> bool:
    """Return whether arrays are read from memory, and not from files."""
    return all(isinstance(array.read, _InMemory) for array in arrays)


def choose_layout(layout: LayoutName | None, only_layout: LayoutName | None) -> LayoutName:
    """Return the only layout that a source may have. If it is not known, return the user's choice.

    Args:
        layout: The argument of the user.
        only_layout: The only layout that the source may have, see `open_source`.

    Raises:
        ValueError: If `layout` is another layout, or neither is known.
    """
    if only_layout is not None:
        if layout not in (None, only_layout):
            raise ValueError(
                f"`layout` must be {only_layout!r} or `None` for this source. "
                f"Received: layout={layout!r}"
            )
        return only_layout
    if layout is None:
        raise ValueError(
            f"`layout` must be {' or '.join(map(repr, LAYOUTS))}, because names and shapes do not "
            "show the order of axes. Received: layout=None"
        )
    return check_choice("layout", layout, LAYOUTS)
