"""The arrays of a source: files, another model, or a dict."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

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

# Files, a model, or a dict from names to arrays or tensors of any framework.
Source: TypeAlias = Checkpoint | keras.Model | Mapping[str, Any]
# The same, with what a model holds.
OpenedSource: TypeAlias = Checkpoint | Inventory | Mapping[str, Any]
# The order of axes and of what is fused.
LayoutName: TypeAlias = Literal["torch", "keras"]

LAYOUTS: tuple[LayoutName, ...] = ("torch", "keras")
# Formats that only Keras writes.
_OF_KERAS = (".weights.h5", ".weights.json", ".keras")


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
        arrays = {weight.path: weight.variable.value for weight in source.held}
        contents = check_arrays(argument, arrays)
        contents.places = canonical_weight_paths(source, source.held)
        yield contents, "keras"
    elif isinstance(source, Mapping):
        yield check_arrays(argument, source), None
    else:
        paths = checkpoint_paths(source)
        if paths is None:
            raise TypeError(
                f"`{argument}` must be the path of a file, a Keras model, or a dict from names to "
                "arrays, as the `state_dict()` of a torch module, or a list of paths. "
                f"Received: {argument}={source!r}"
            )
        own_layout: LayoutName | None = None
        if all(path.lower().endswith(_OF_KERAS) for path in paths):
            own_layout = "keras"
        with open_checkpoint(argument, paths) as contents:
            yield contents, own_layout


def check_arrays(argument: str, arrays: Mapping[Any, Any]) -> Contents:
    """Return arrays or tensors in memory in the same form as those in a file.

    Args:
        argument: Name of the argument in error messages.
        arrays: A dict from names to arrays, in which there may be anything else too.

    Raises:
        TypeError: If a name is no text, or there are no arrays but in other dicts.
    """
    required = f"`{argument}` must be a dict from names to arrays"
    for name in arrays:
        if not isinstance(name, str):
            raise TypeError(f"{required}. Received: {name!r} as a name")
    contents = Contents()
    contents.update((name, to_lazy(value)) for name, value in arrays.items())
    nested = [name for name, value in arrays.items() if isinstance(value, Mapping)]
    if nested and all(found.dtype == "object" or not found.shape for found in contents.values()):
        # A checkpoint of torch, with the number of the epoch and the state of an optimizer.
        found_in = ", ".join(f"{argument}[{name!r}]" for name in nested)
        raise TypeError(
            f"`{argument}` must be the dict from names to arrays itself. Received: a dict with "
            f"dicts, of which one may be it: {found_in}"
        )
    if contents and all(found.dtype == "object" for found in contents.values()):
        raise TypeError(f"{required}. Received: the names {list(contents)}, no arrays")
    return contents


def to_lazy(value: Any) -> LazyArray:
    """Return a tensor or array in memory in the same form as one in a file.

    Its dtype says if it is anything else.
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
    """Return the names of arrays that another name stands for too, each with the first of them.

    Such as those of a table of words and of the last layer that uses it. The memory decides:
    `state_dict()` of torch returns other objects.
    """
    first: dict[Any, str] = {}
    ties = {}
    for name, value in arrays.items():
        tensor = value.value if isinstance(value, keras.Variable) else value
        if 0 in getattr(tensor, "shape", (0,)):
            continue  # no array, or an empty one
        other = first.setdefault((_memory(tensor), tuple(tensor.shape)), name)
        if other is not name:
            ties[name] = other
    return ties


def find_overlap(arrays: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the names of two arrays that share a part of their memory, `None` if none do.

    Those that share all of it are the same array, see `find_ties`.
    """
    ties = find_ties(arrays)
    spans = []
    for name, value in arrays.items():
        tensor = value.value if isinstance(value, keras.Variable) else value
        if name not in ties and hasattr(tensor, "shape") and 0 not in tensor.shape:
            spans.append((*_memory(tensor), name))
    spans.sort()
    for (_, end, name), (begin, _, other) in itertools.pairwise(spans):
        if begin < end:
            return name, other
    return None


def _memory(tensor: Any) -> tuple[int, int]:
    """Return the addresses of the first byte of a tensor or an array and of the one after the last.

    They are those of the object itself where it does not say where its numbers are.
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
    before = sum(span for span in spans if span < 0)
    after = sum(span for span in spans if span > 0)
    return address + before, address + after + size


class _InMemory:
    """Reads an array or a tensor, or an object that becomes an array when it is read.

    Such as one of another framework or in a file.

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
    """Return whether `value` is a tensor of torch, also if the current backend does not know it."""
    return hasattr(value, "detach")


def copy_shared(arrays: Iterable[LazyArray], weights: Sequence[ModelWeight]) -> None:
    """Copy those of `arrays` that are in the memory of `weights`, which are about to change."""
    ranges = [_memory(weight.variable.value) for weight in weights]
    begins, ends = np.array(ranges, "uint64").T
    for array in arrays:
        reader = array.read
        if not isinstance(reader, _InMemory):
            continue
        begin, end = _memory(reader.value)
        if not np.any((begins < end) & (begin < ends)):
            continue
        if isinstance(reader.value, np.ndarray):
            reader.value = reader.value.copy()
        else:
            reader.value = backend.snapshot(reader.value)


def are_in_memory(arrays: Sequence[LazyArray]) -> bool:
    """Return whether arrays are read from memory, and not from files."""
    return all(isinstance(array.read, _InMemory) for array in arrays)


def choose_layout(given: LayoutName | None, own: LayoutName | None) -> LayoutName:
    """Return the layout: the one that the source has in any case, or else the one given."""
    if own is not None:
        if given not in (None, own):
            raise ValueError(
                f"`layout` must be {own!r} or `None` for this source. Received: layout={given!r}"
            )
        return own
    if given is None:
        raise ValueError(
            f"`layout` must be {' or '.join(map(repr, LAYOUTS))}: names and shapes do not show the "
            "order of axes. Received: layout=None"
        )
    return check_choice("layout", given, LAYOUTS)
