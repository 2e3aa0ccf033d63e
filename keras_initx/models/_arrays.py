"""The arrays of a source: a file, another model or a dict; and which of them a weight may have."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._array_files import Region, Stored
from keras_initx._checkpoints import Checkpoint, checkpoint_paths, open_checkpoint
from keras_initx._checks import check_choice, check_type, close_matches
from keras_initx._typing import Array, Tensor
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
from keras_initx.structure import ModelWeight, captured_texts, check_model, find_weights

# Files, a model, or a dict from names to arrays or tensors of any framework.
Source: TypeAlias = Checkpoint | keras.Model | Mapping[str, Any]
# Maps patterns for the paths of weights or layers to names of arrays or modules.
NameRules: TypeAlias = Mapping[str, str | tuple[str, Part] | None]

# Formats that only Keras writes.
_OF_KERAS = (".weights.h5", ".keras")


class ModelMemory:
    """The memory of the weights of a model, which is overwritten when they are assigned.

    Views of other frameworks have it too: the addresses decide, not the objects.

    Args:
        weights: The weights of the model.
    """

    def __init__(self, weights: Sequence[ModelWeight]) -> None:
        found: dict[str, list[tuple[int, int, int]]] = {}
        for number, weight in enumerate(weights):
            for device, begin, end in backend.memory(weight.variable.value):
                found.setdefault(device, []).append((begin, end, number))
        self._ranges = {device: np.array(ranges, "uint64").T for device, ranges in found.items()}

    def has(self, value: Any) -> bool:
        """Return whether a part of an array, a tensor or a variable is in this memory."""
        return bool(self.owners(value))

    def owners(self, value: Any) -> list[int]:
        """Return the numbers of the weights that have a part of an array, tensor or variable."""
        found = set()
        for device, begin, end in backend.memory(_tensor(value)):
            begins, ends, numbers = self._ranges.get(device, ((), (), np.array([], "uint64")))
            overlaps = np.less(begins, end) & np.less(begin, ends)
            found.update(numbers[overlaps].tolist())
        return sorted(found)

    def spared(self, value: Any) -> Any:
        """Return a value as it is now, also after the weights have changed.

        It is a copy of what is in this memory.
        """
        if not self.has(value):
            return value
        if isinstance(value, np.ndarray):
            return value.copy()
        return backend.snapshot(_tensor(value))


def _tensor(value: Any) -> Any:
    if isinstance(value, keras.Variable):
        return value.value
    return value


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[tuple[dict[str, Stored], LayoutName | None]]:
    """Yield the arrays of `source` by name, not yet read, and its layout if only one is possible.

    Files stay open for the duration of the block.

    Raises:
        TypeError: If `source` has another type.
        ValueError: If a file cannot be read or the model is not built.
        ImportError: If the package that reads the file is missing.
    """
    if isinstance(source, keras.Model):
        check_model("source", source)
        variables = {weight.path: weight.variable for weight in find_weights(source)}
        yield _checked_arrays(variables), "keras"
    elif isinstance(source, Mapping):
        yield _checked_arrays(source), None
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


def _checked_arrays(source: Mapping[Any, Any]) -> dict[str, Stored]:
    for name in source:
        if not isinstance(name, str):
            raise TypeError(
                f"`source` must be a dict from names to arrays. Received: {name!r} as a name"
            )
    contents = {name: as_stored(value) for name, value in source.items()}
    nested = [name for name, value in source.items() if isinstance(value, Mapping)]
    if nested and all(found.dtype == "object" or not found.shape for found in contents.values()):
        # A checkpoint of torch, with the number of the epoch and the state of an optimizer.
        raise TypeError(
            "`source` must be the dict from names to arrays itself. Received: a dict with dicts, "
            f"of which one may be it: {', '.join(f'source[{name!r}]' for name in nested)}"
        )
    if contents and all(found.dtype == "object" for found in contents.values()):
        raise TypeError(
            "`source` must be a dict from names to arrays. "
            f"Received: the names {list(contents)}, no arrays"
        )
    return contents


def as_stored(value: Any) -> Stored:
    """Return a tensor or array in memory in the same form as one in a file.

    Its dtype says if it is anything else.
    """
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
    return Stored(tuple(value.shape), dtype, _InMemory(value))


def ties_of(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of arrays that another name stands for too, each with the first of them.

    Such as those of a table of words and of the last layer that uses it. The memory decides:
    `state_dict()` of torch returns other objects.
    """
    first: dict[Any, str] = {}
    ties = {}
    for name, value in arrays.items():
        tensor = _tensor(value)
        if 0 in getattr(tensor, "shape", (0,)):
            continue  # no array, or an empty one
        places = tuple(backend.memory(tensor))
        if not places:
            continue
        other = first.setdefault((places, tuple(tensor.shape)), name)
        if other is not name:
            ties[name] = other
    return ties


class _InMemory:
    """Reads an array, a tensor or a variable, or an object that becomes an array when it is read.

    Such as one of another framework or in a file.

    Attributes:
        value: The object.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def is_late(self) -> bool:
        """Whether it becomes an array only when it is read."""
        value = self.value
        is_array = isinstance(value, np.ndarray | keras.Variable) or keras.ops.is_tensor(value)
        return not (is_array or _is_torch(value))

    def __call__(self, region: Region) -> Array:
        value = _tensor(self.value)
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


class Arrays:
    """The arrays that weights are made from, one weight after the other.

    What is in the memory of a weight, and is needed for a later one, is copied before that weight
    changes, and kept until it has been read for the last time.

    Args:
        contents: The arrays by name.
        names: Of each weight, the names of the arrays that it is made from.
        memory: The memory of these weights.
    """

    def __init__(
        self, contents: Mapping[str, Stored], names: Sequence[Sequence[str]], memory: ModelMemory
    ) -> None:
        self._names = names
        self._memory = memory
        # The last weight that is made from each array.
        self._last: dict[str, int] = {}
        for number, of_weight in enumerate(names):
            self._last.update(dict.fromkeys(of_weight, number))
        self._readers: dict[str, _InMemory] = {}
        # The arrays that are overwritten with each weight before they are read for the last time.
        self._overwritten: dict[int, list[str]] = {}
        for name, last in self._last.items():
            reader = contents[name].read
            if not isinstance(reader, _InMemory):
                continue
            self._readers[name] = reader
            if reader.is_late:
                array = reader(...)
                if memory.has(array):
                    reader.value = array
            for number in memory.owners(reader.value):
                if number < last:
                    self._overwritten.setdefault(number, []).append(name)

    def redistributed(self, number: int, layout: Any) -> Tensor | None:
        """Return a copy in `layout` of the array that a weight is made from.

        It is `None` if that is no tensor, or one on other devices.
        """
        (name,) = self._names[number]
        value = self._tensors(number).get(name)
        if value is None:
            return None
        return backend.redistributed(value, layout)

    @contextlib.contextmanager
    def on_host(self, number: int) -> Iterator[None]:
        """Bring to the host what a weight is made from, once for all regions that are read."""
        tensors = self._tensors(number)
        given = {name: self._readers[name].value for name in tensors}
        for name, value in tensors.items():
            self._readers[name].value = backend.host_view(value)
        try:
            yield
        finally:
            for name, value in given.items():
                self._readers[name].value = value

    def _tensors(self, number: int) -> dict[str, Tensor]:
        """Return those that are spread over devices among the arrays of a weight."""
        found = {}
        for name in self._names[number]:
            if name in self._readers:
                value = _tensor(self._readers[name].value)
                if keras.ops.is_tensor(value) and backend.layout_of(value) is not None:
                    found[name] = value
        return found

    def spare(self, number: int) -> None:
        """Copy what is in the memory of a weight, which is about to change."""
        for name in self._overwritten.get(number, ()):
            reader = self._readers[name]
            reader.value = self._memory.spared(reader.value)

    def release(self, number: int) -> None:
        """Drop what is not read any more after a weight."""
        for name in self._names[number]:
            if name in self._readers and self._last[name] == number:
                self._readers[name].value = None


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
    found: dict[str, list[Candidate] | None] = {}
    for pattern, value in rules.items():
        _check_rule(pattern, value)
        for match in _matches(pattern, weights):
            path = match.weight.path
            if path in found:
                continue
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
        "The values of `rules` must be a name, a pair of a name and a part (`numpy.s_[...]`, a "
        f"function or 'mean'), or `None`. Received: {value!r} for {pattern!r}"
    )


def _is_part(part: Any) -> bool:
    if isinstance(part, str):
        return part == "mean"
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


def _matches(pattern: str, weights: Sequence[ModelWeight]) -> list[_Match]:
    """Return the weights that `pattern` covers, by the outermost layer that it matches.

    Raises:
        ValueError: If there are none.
    """
    matches = []
    paths: dict[str, None] = {}
    for weight in weights:
        for path in (*weight.layer_paths[1:], weight.path):
            paths[path] = None
            texts = captured_texts(pattern, path)
            if texts is not None:
                matches.append(_Match(weight, path, texts))
                break
    if not matches:
        hint = close_matches(pattern, paths, cutoff=0.0)
        raise ValueError(
            "Each of `rules` must match a weight or a layer. "
            f"Received: {pattern!r}, which matches none{hint}"
        )
    return matches


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
