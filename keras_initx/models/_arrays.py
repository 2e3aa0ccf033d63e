"""The arrays of a source: a file, another model or a dict; and which of them a weight may have."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._array_files import Region, Stored
from keras_initx._checkpoints import Checkpoint, checkpoint_paths, open_checkpoint
from keras_initx._checks import check_choice, check_type, close_matches
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.models._layouts import (
    LAYOUTS,
    OTHER_NAMES,
    Candidate,
    KerasLayout,
    LayoutName,
    Part,
    joined,
)
from keras_initx.structure import (
    ModelWeight,
    captured_texts,
    check_model,
    check_unshared,
    find_weights,
    first_matches,
)

# Files, a model, or a dict from names to arrays or tensors of any framework.
Source: TypeAlias = Checkpoint | keras.Model | Mapping[str, Any]
# Maps patterns for the paths of weights or layers to names of arrays or modules.
NameRules: TypeAlias = Mapping[str, str | tuple[str, Part] | None]

# Formats that only Keras writes.
_OF_KERAS = (".weights.h5", ".keras")


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[tuple[dict[str, Stored], LayoutName | None]]:
    """Yield the arrays of `source` by name, not yet read, and its layout if only one is possible.

    Files stay open for the duration of the block.

    Raises:
        TypeError: If `source` has another type.
        ValueError: If a file cannot be read, or the model is not built or on JAX shared with other
            processes.
        ImportError: If the package that reads the file is missing.
    """
    if isinstance(source, keras.Model):
        check_model("source", source)
        check_unshared("source", source)
        variables = {weight.path: weight.variable for weight in find_weights(source)}
        yield checked_arrays("source", variables), "keras"
    elif isinstance(source, Mapping):
        yield checked_arrays("source", source), None
    else:
        paths = checkpoint_paths(source)
        if paths is None:
            raise TypeError(
                "`source` must be the path of a file, a Keras model, or a dict from names to "
                "arrays, as the `state_dict()` of a torch module, or a list of paths. "
                f"Received: source={source!r}"
            )
        own_layout: LayoutName | None = None
        if all(path.lower().endswith(_OF_KERAS) for path in paths):
            own_layout = "keras"
        with open_checkpoint("source", paths) as contents:
            yield contents, own_layout


def checked_arrays(argument: str, arrays: Mapping[Any, Any]) -> dict[str, Stored]:
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
    contents = {name: as_stored(value) for name, value in arrays.items()}
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


def as_stored(value: Any) -> Stored:
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
    return Stored(tuple(value.shape), dtype, _InMemory(value))


def ties_of(arrays: Mapping[str, Any]) -> dict[str, str]:
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


def _memory(tensor: Any) -> tuple[int, int]:
    """Return the addresses of the first byte of a tensor or an array and of the one after the last.

    They are those of the object itself where it does not say where its numbers are.
    """
    try:
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

    def __call__(self, region: Region) -> Array:
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


def copy_shared(arrays: Iterable[Stored], weights: Sequence[ModelWeight]) -> None:
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


def are_in_memory(arrays: Sequence[Stored]) -> bool:
    """Return whether arrays are read from memory, and not from files."""
    return all(isinstance(array.read, _InMemory) for array in arrays)


def layout_of_source(given: LayoutName | None, own: LayoutName | None) -> KerasLayout:
    """Return the layout: the one that the source has in any case, or else the one given."""
    if own is not None:
        if given not in (None, own):
            raise ValueError(
                f"`layout` must be {own!r} or `None` for this source. Received: layout={given!r}"
            )
        return LAYOUTS[own]
    if given is None:
        choices = " or ".join(repr(name) for name in LAYOUTS)
        raise ValueError(
            f"`layout` must be {choices}: names and shapes do not show the order of axes. "
            "Received: layout=None"
        )
    return LAYOUTS[check_choice("layout", given, LAYOUTS)]


def candidates_of(
    weights: Sequence[ModelWeight], rules: NameRules | None, layout: KerasLayout
) -> dict[str, list[Candidate] | None]:
    """Return the candidates from the first matching rule of each weight, by path.

    They are `None` if the rule skips the weight.

    Raises:
        TypeError: If `rules` is not a mapping of patterns to names.
        ValueError: If a rule matches no weight or its names cannot be filled in.
    """
    if rules is None:
        return {weight.path: _candidates_by_path(weight, layout) for weight in weights}
    check_type("rules", rules, Mapping, "a dict from patterns to names")
    for pattern, value in rules.items():
        _check_rule(pattern, value)
    by_path = {weight.path: weight for weight in weights}
    names = {path: None for weight in weights for path in _paths(weight)}
    matches = first_matches(
        "rules",
        rules,
        by_path,
        _match,
        kind="a weight or a layer",
        hint=lambda pattern: close_matches(pattern, names, cutoff=0.0),
    )
    found: dict[str, list[Candidate] | None] = {}
    for path, (pattern, match) in matches.items():
        value = rules[pattern]
        found[path] = None if value is None else _candidates_of_rule(match, value, layout)
    return found


def _check_rule(pattern: Any, value: Any) -> None:
    """Raise `TypeError` unless these may be a key and a value of `rules`."""
    if not isinstance(pattern, str):
        raise TypeError(f"`rules` must have path patterns as keys. Received: {pattern!r} as a key")
    if value is None or isinstance(value, str):
        return
    if isinstance(value, tuple) and len(value) == 2:
        name, part = value
        if isinstance(name, str) and _is_part(part):
            return
    raise TypeError(
        "The values of `rules` must be a name, a pair of a name and a part (`numpy.s_[...]` or "
        f"a function), or `None`. Received: {value!r} for {pattern!r}"
    )


def _is_part(part: Any) -> bool:
    return part is ... or isinstance(part, int | slice | tuple) or callable(part)


class _Match(NamedTuple):
    """A weight that a pattern covers.

    Attributes:
        weight: The weight.
        path: What the pattern matches: its path, or that of a layer around it.
        texts: What each `*` stands for.
    """

    weight: ModelWeight
    path: str
    texts: tuple[str, ...]


def _paths(weight: ModelWeight) -> tuple[str, ...]:
    """Return the paths of the layers around a weight, the outermost first, and its own."""
    return (*weight.layer_paths[1:], weight.path)


def _match(pattern: str, weight: ModelWeight) -> _Match | None:
    """Return how a pattern covers a weight: by the outermost layer that it matches."""
    for path in _paths(weight):
        texts = captured_texts(pattern, path)
        if texts is not None:
            return _Match(weight, path, texts)
    return None


def _candidates_of_rule(
    match: _Match, value: str | tuple[str, Part], layout: KerasLayout
) -> list[Candidate]:
    """Return the arrays that may hold a weight by the name in a rule whose pattern covers it."""
    weight = match.weight
    part: Part | None = None
    if isinstance(value, tuple):
        template, part = value
    else:
        template = value
    try:
        name = template.format(*match.texts)
    except (IndexError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(
            "`rules` must name arrays, with `{0}` for the text that the first `*` of the pattern "
            f"matches. Received: {template!r} for {weight.path!r}: {error}"
        ) from None
    if match.path == weight.path:
        if callable(part):
            # A function makes the weight from the array that it is given alone.
            return [Candidate((name,), part)]
        return [Candidate((name, *layout.partners(weight, name)), part)]
    if part is not None:
        raise ValueError(
            "`rules` must not have a part for a layer, which may have several weights: use the "
            f"pattern of one weight. Received: {value!r} for a layer of {weight.path!r}"
        )
    depth = match.path.count("/") + 1
    return _candidates_by_path(weight, layout, name, depth)


# In torch, the layers inside these have no names of their own.
_AROUND = (keras.layers.Bidirectional, keras.layers.RNN, keras.layers.Wrapper)


def _candidates_by_path(
    weight: ModelWeight, layout: KerasLayout, module: str = "", depth: int = 0
) -> list[Candidate]:
    """Return the arrays that may hold `weight` by its path in the model, most likely first.

    Args:
        weight: A weight.
        layout: The layout of the source.
        module: The name in the source of a layer around it, empty for the whole model.
        depth: The number of names in the path up to that layer.
    """
    names = weight.path.split("/")[depth:]
    inner = []
    for name, around in zip(names[:-1], weight.layers[depth:], strict=False):
        if not isinstance(around, _AROUND):
            inner.append(name)
    found = [Candidate((joined(module, *names, mark=mark),)) for mark in "/."]
    found += layout.special_names(weight, module, inner)
    if weight.name in OTHER_NAMES:
        found.append(Candidate((joined(module, *inner, OTHER_NAMES[weight.name]),)))
    return found
