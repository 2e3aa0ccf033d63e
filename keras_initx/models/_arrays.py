"""The arrays of a source, a file, another model or a dict, and the names that they have for each weight."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._array_files import FORMATS, Region, Stored, check_file, open_arrays, suffix
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
from keras_initx.structure import ModelWeight, check_model, find_weights

# A file, a model, or a dict from names to arrays or tensors of any framework.
Source: TypeAlias = str | os.PathLike[str] | keras.Model | Mapping[str, Any]
# Maps patterns for the paths of weights or layers to names of arrays or modules.
NameRules: TypeAlias = Mapping[str, str | tuple[str, Part] | None]

# Arrays of a `.npy` file have no names.
_FORMATS = tuple(name for name in FORMATS if name != ".npy")
# Formats that only Keras writes.
_OF_KERAS = (".weights.h5", ".keras")
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


class ModelMemory:
    """The memory of the weights of a model, which is overwritten when they are assigned.

    Views of other frameworks have it too: the addresses decide, not the objects.

    Args:
        weights: The weights of the model.
    """

    def __init__(self, weights: Sequence[ModelWeight]) -> None:
        found: dict[str, list[tuple[int, int]]] = {}
        for weight in weights:
            for device, begin, end in backend.memory(weight.variable.value):
                found.setdefault(device, []).append((begin, end))
        self._ranges = {device: np.array(ranges, "uint64").T for device, ranges in found.items()}

    def has(self, value: Any) -> bool:
        """Return whether a part of an array, a tensor or a variable is in this memory."""
        for device, begin, end in backend.memory(_tensor(value)):
            begins, ends = self._ranges.get(device, ((), ()))
            if np.any((np.less(begins, end)) & np.less(begin, ends)):
                return True
        return False

    def spared(self, value: Any) -> Any:
        """Return a value as it is now, also after the weights have changed: a copy of what is in this memory."""
        if not self.has(value):
            return value
        return value.copy() if isinstance(value, np.ndarray) else backend.snapshot(_tensor(value))


def _tensor(value: Any) -> Any:
    return value.value if isinstance(value, keras.Variable) else value


@contextlib.contextmanager
def open_source(
    source: Source, memory: ModelMemory
) -> Iterator[tuple[dict[str, Stored], LayoutName | None]]:
    """Yield the arrays of `source` by name, not yet read, and its layout if only one is possible.

    A file stays open for the duration of the block. What is in `memory` is as it is now, also after
    the model has changed.

    Raises:
        TypeError: If `source` has another type.
        ValueError: If the file cannot be read or the model is not built.
        ImportError: If the package that reads the file is missing.
    """
    if isinstance(source, keras.Model):
        check_model("source", source)
        yield (
            _checked_arrays(
                {weight.path: weight.variable for weight in find_weights(source)}, memory
            ),
            "keras",
        )
    elif isinstance(source, Mapping):
        yield _checked_arrays(source, memory), None
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
            f"`source` must not be a pickle, which can run arbitrary code: pass `torch.load({path!r}, "
            f"weights_only=True)`. Received: source={path!r}"
        )
    if suffix(path) not in _FORMATS:
        raise ValueError(
            f"`source` must be a file that ends in one of {_FORMATS}. Received: source={path!r}"
        )
    check_file("source", path)
    return path


def _checked_arrays(source: Mapping[Any, Any], memory: ModelMemory) -> dict[str, Stored]:
    for name in source:
        if not isinstance(name, str):
            raise TypeError(
                f"`source` must be a dict from names to arrays. Received: {name!r} as a name"
            )
    contents = {name: as_stored(value, memory) for name, value in source.items()}
    if contents and all(found.dtype == "object" for found in contents.values()):
        raise TypeError(
            f"`source` must be a dict from names to arrays. Received: the names {list(contents)}, no arrays"
        )
    return contents


def as_stored(value: Any, memory: ModelMemory) -> Stored:
    """Return a tensor or array in memory in the same form as one in a file; its dtype says if it is anything else."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        try:
            value = np.asarray(value)
        except Exception:  # a `state_dict()` may hold any object, and each fails in its own way
            value = np.array(None)
    value = memory.spared(value)
    try:
        dtype = keras.backend.standardize_dtype(value.dtype)
    except ValueError:
        dtype = str(value.dtype)
    if isinstance(value, np.ma.MaskedArray):
        dtype = f"masked {dtype}"
    is_known = (
        isinstance(value, np.ndarray | keras.Variable)
        or keras.ops.is_tensor(value)
        or hasattr(value, "detach")
    )
    return Stored(
        tuple(value.shape),
        dtype,
        (lambda region: _read(value)[region]) if is_known else _Late(value),
    )


def _read(value: Any) -> Array:
    value = _tensor(value)
    if keras.ops.is_tensor(value):
        return backend.host_view(value)
    if hasattr(value, "detach"):  # a torch tensor, which the current backend does not know
        value = value.detach().cpu()
        # NumPy has no bfloat16.
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    return np.asarray(value)


class _Late:
    """Reads an object that becomes an array only when it is read, such as one of another framework or in a file."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, region: Region) -> Array:
        return np.asarray(self.value)[region]


def spare_late(arrays: Iterable[Stored], memory: ModelMemory) -> None:
    """Copy what objects that are read late give of `memory`, before it is overwritten."""
    for stored in arrays:
        if isinstance(stored.read, _Late):
            array = stored.read(...)
            if memory.has(array):
                stored.read.value = memory.spared(array)


def layout_of_source(given: LayoutName | None, own: LayoutName | None) -> KerasLayout:
    """Return the layout: the one that the source has in any case, or else the one given."""
    if own is not None:
        if given not in (None, own):
            raise ValueError(
                f"`layout` must be {own!r} or `None` for this source. Received: layout={given!r}"
            )
        return LAYOUTS[own]
    if given is None:
        raise ValueError(
            f"`layout` must be {' or '.join(map(repr, LAYOUTS))}: names and shapes do not show the order of axes. "
            "Received: layout=None"
        )
    return LAYOUTS[check_choice("layout", given, LAYOUTS)]


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
    names = weight.path.split("/")
    places = zip(names[depth:-1], weight.layers[depth:], strict=False)
    inner = [name for name, around in places if not isinstance(around, _AROUND)]
    found = [Candidate((joined(module, *names[depth:], mark=mark),)) for mark in "/."]
    found += layout.special_names(weight, module, inner)
    if weight.name in OTHER_NAMES:
        found.append(Candidate((joined(module, *inner, OTHER_NAMES[weight.name]),)))
    return found


def candidates_of(
    weights: Sequence[ModelWeight], rules: NameRules | None, layout: KerasLayout
) -> dict[str, list[Candidate] | None]:
    """Return the candidates from the first matching rule of each weight, by path; `None` if the rule skips the weight.

    Raises:
        TypeError: If `rules` is not a mapping of patterns to names.
        ValueError: If a rule matches no weight or its names cannot be filled in.
    """
    if rules is None:
        return {weight.path: _candidates_by_path(weight, layout) for weight in weights}
    check_type("rules", rules, Mapping, "a dict from patterns to names")
    found: dict[str, list[Candidate] | None] = {}
    for pattern, value in rules.items():
        if not isinstance(pattern, str):
            raise TypeError(
                f"`rules` must have path patterns as keys. Received: {pattern!r} as a key"
            )
        name, part = value if isinstance(value, tuple) and len(value) == 2 else (value, ...)
        is_mean = isinstance(part, str) and part == "mean"
        is_part = is_mean or part is ... or isinstance(part, int | slice | tuple) or callable(part)
        if value is not None and not (isinstance(name, str) and is_part):
            raise TypeError(
                "The values of `rules` must be a name, a pair of a name and a part (`numpy.s_[...]`, a function or "
                f"'mean'), or `None`. Received: {value!r} for {pattern!r}"
            )
        expression = re.compile(re.escape(pattern).replace(r"\*", "([^/]*)") + "(?P<rest>/.+)?")
        matches = {
            weight: match for weight in weights if (match := expression.fullmatch(weight.path))
        }
        if not matches:
            paths = dict.fromkeys(
                path for weight in weights for path in (*weight.layer_paths[1:], weight.path)
            )
            raise ValueError(
                f"Each of `rules` must match a weight or a layer. Received: {pattern!r}, which matches none"
                f"{close_matches(pattern, paths, cutoff=0.0)}"
            )
        for weight, match in matches.items():
            if weight.path not in found:
                found[weight.path] = (
                    None if value is None else _candidates_of_rule(weight, match, value, layout)
                )
    return found


def _candidates_of_rule(
    weight: ModelWeight, match: re.Match[str], value: str | tuple[str, Part], layout: KerasLayout
) -> list[Candidate]:
    template, part = value if isinstance(value, tuple) else (value, None)
    try:
        name = template.format(*match.groups()[:-1])
    except (IndexError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(
            "`rules` must name arrays, with `{0}` for the text that the first `*` of the pattern matches. "
            f"Received: {template!r} for {weight.path!r}: {error}"
        ) from None
    if match["rest"] is None:
        # A function makes the weight from the array that it is given alone.
        partners = () if callable(part) else layout.partners(weight, name)
        return [Candidate((name, *partners), part)]
    if part is not None:
        raise ValueError(
            "`rules` must not have a part for a layer, which may have several weights: use the pattern of one weight. "
            f"Received: {value!r} for a layer of {weight.path!r}"
        )
    return _candidates_by_path(
        weight, layout, name, depth=weight.path.count("/") + 1 - match["rest"].count("/")
    )
