"""The arrays of a source, a file, another model or a dict, and the names that they have for each weight."""

import contextlib
import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.initializers._array_files import FORMATS, Stored, check_file, open_arrays, suffix
from keras_initx.models._layouts import CELLS, Layout
from keras_initx.models._weights import ModelWeight, check_model, find_weights

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


# An index from `numpy.s_`, or a function that maps the array to the weight.
Part: TypeAlias = int | slice | EllipsisType | tuple[int | slice | EllipsisType | None, ...] | Callable[[Array], Any]
# Maps patterns for the paths of weights or layers to names of arrays or modules.
NameRules: TypeAlias = Mapping[str, str | tuple[str, Part] | None]

# Names that other frameworks use for a Keras weight.
_OTHER_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "embeddings": "weight",
    "gamma": "weight",
    "beta": "bias",
    "scale": "weight",
    "alpha": "weight",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_RECURRENT = {"kernel": ("weight_ih",), "recurrent_kernel": ("weight_hh",), "bias": ("bias_ih", "bias_hh")}
# In torch, the layers inside these have no names of their own.
_AROUND = (keras.layers.Bidirectional, keras.layers.RNN, keras.layers.Wrapper)
_PROJECTIONS = ("query", "key", "value")


@dataclass(frozen=True)
class Candidate:
    """Arrays that a weight may be built from. All of them must exist.

    Attributes:
        names: Their names, usually one.
        part: The index of the part to use, or a function that maps the array to the weight.
        third: Which third of the first axis to use, or `None` for the whole array.
    """

    names: tuple[str, ...]
    part: Part | None = None
    third: int | None = None


def wanted(weights: Sequence[ModelWeight], rules: NameRules, layout: Layout) -> dict[str, list[Candidate] | None]:
    """Return the candidates from the first matching rule of each weight, by path; `None` if the rule skips the weight.

    Raises:
        TypeError: If `rules` is not a mapping of patterns to names.
        ValueError: If a rule matches no weight or its names cannot be filled in.
    """
    if not isinstance(rules, Mapping):
        raise TypeError(f"`rules` must be a dict from patterns to names. Received: rules={rules!r}")
    found: dict[str, list[Candidate] | None] = {}
    for pattern, value in rules.items():
        _check(pattern, value)
        expression = re.compile(re.escape(pattern).replace(r"\*", "([^/]*)") + "(?P<rest>/.+)?")
        matches = {weight: match for weight in weights if (match := expression.fullmatch(weight.path))}
        if not matches:
            raise ValueError(
                f"Each of `rules` must match a weight or a layer. Received: {pattern!r}, which matches none; close "
                f"matches are {_close(pattern, weights)}"
            )
        for weight, match in matches.items():
            if weight.path not in found:
                found[weight.path] = None if value is None else _by_rule(weight, match, value, layout)
    return found


def _check(pattern: Any, value: Any) -> None:
    if not isinstance(pattern, str):
        raise TypeError(f"`rules` must have path patterns as keys. Received: {pattern!r} as a key")
    name, part = value if isinstance(value, tuple) and len(value) == 2 else (value, ...)
    if value is not None and not (
        isinstance(name, str) and (isinstance(part, int | slice | EllipsisType | tuple) or callable(part))
    ):
        raise TypeError(
            "The values of `rules` must be a name, a pair of a name and a part (`numpy.s_[...]` or a function), or "
            f"`None`. Received: {value!r} for {pattern!r}"
        )


def _by_rule(
    weight: ModelWeight, match: re.Match[str], value: str | tuple[str, Part], layout: Layout
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
        return [Candidate(_with_second_bias(weight, name, layout), part)]
    if part is not None:
        raise ValueError(
            "`rules` must not have a part for a layer, which may have several weights: use the pattern of one weight. "
            f"Received: {value!r} for a layer of {weight.path!r}"
        )
    consumed = weight.path.count("/") + 1 - match["rest"].count("/")
    return list(named(weight, layout, name, consumed))


def _with_second_bias(weight: ModelWeight, name: str, layout: Layout) -> tuple[str, ...]:
    """Return `name`, and for the first bias of torch also that of the second: `bias_hh_l0` for `bias_ih_l0`."""
    is_first = layout == "torch" and isinstance(weight.layer, CELLS) and "bias_ih" in name
    return (name, name.replace("bias_ih", "bias_hh")) if is_first else (name,)


def named(weight: ModelWeight, layout: Layout, module: str = "", consumed: int = 0) -> Iterator[Candidate]:
    """Yield the possible names of `weight` in a source, most likely first.

    Args:
        weight: A weight.
        layout: The layout of the source.
        module: The name in the source of an enclosing layer, empty for the whole model.
        consumed: The number of path components up to that layer.
    """
    names = weight.path.split("/")
    for mark in "/.":
        yield _candidate(mark, module, names[consumed:])
    inner = [
        name
        for place, name in enumerate(names[:-1])
        if place >= consumed and not isinstance(weight.layers[place], _AROUND)
    ]
    if layout == "torch":
        yield from _of_torch(weight, module, inner, is_projection=consumed < len(names) - 1)
    if weight.name in _OTHER_NAMES:
        yield _candidate(".", module, [*inner, _OTHER_NAMES[weight.name]])


def _of_torch(weight: ModelWeight, module: str, inner: list[str], *, is_projection: bool) -> Iterator[Candidate]:
    """Yield the names in torch modules that fuse the weights of several layers or gates."""
    if isinstance(weight.layer, CELLS) and weight.name in _RECURRENT:
        for suffix in ["_l0_reverse"] if _is_backward(weight) else ["_l0", ""]:
            yield _candidate(".", module, inner, *(f"{name}{suffix}" for name in _RECURRENT[weight.name]))
    if is_projection and weight.name in _OTHER_NAMES and isinstance(weight.layers[-2], keras.layers.MultiHeadAttention):
        kind, ending = inner[-1], _OTHER_NAMES[weight.name]
        if kind in _PROJECTIONS:
            fused = _candidate(".", module, inner[:-1], f"in_proj_{ending}")
            yield Candidate(fused.names, third=_PROJECTIONS.index(kind))
            yield _candidate(".", module, inner[:-1], f"{kind[0]}_proj_{ending}")
        elif kind == "attention_output":
            yield _candidate(".", module, [*inner[:-1], "out_proj", ending])


def _is_backward(weight: ModelWeight) -> bool:
    around = (layer for layer in weight.layers if isinstance(layer, keras.layers.Bidirectional))
    return any(layer.backward_layer in weight.layers for layer in around)


def _candidate(mark: str, module: str, inner: Sequence[str], *last: str) -> Candidate:
    first = [module] if module else []
    return Candidate(tuple(mark.join([*first, *inner, *ending]) for ending in ([[name] for name in last] or [[]])))


def _close(pattern: str, weights: Sequence[ModelWeight]) -> str:
    paths = dict.fromkeys(path for weight in weights for path in (*weight.layer_paths[1:], weight.path))
    close = difflib.get_close_matches(pattern, paths, cutoff=0.0)
    return ", ".join(map(repr, close))
