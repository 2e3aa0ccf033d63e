"""Which arrays of a source a weight may be: by rules, and by the names that Keras and torch give."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, TypeAlias

import keras

from keras_initx._typing import Array
from keras_initx.models._layouts import Layout
from keras_initx.models._weights import ModelWeight

# What `numpy.s_` gives, or a function of the array that returns the weight.
Part: TypeAlias = int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...] | Callable[[Array], Any]
# Patterns for the paths of weights and layers, with the names of arrays and modules.
NameRules: TypeAlias = Mapping[str, str | tuple[str, Part] | None]

# What others call a weight of Keras.
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
_CELLS = (keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell)
_RECURRENT = {"kernel": ("weight_ih",), "recurrent_kernel": ("weight_hh",), "bias": ("bias_ih", "bias_hh")}
# What is inside these has no name of its own in torch.
_AROUND = (keras.layers.Bidirectional, keras.layers.RNN, keras.layers.Wrapper)
_PROJECTIONS = ("query", "key", "value")


@dataclass(frozen=True)
class Candidate:
    """Arrays that a weight may be made of, which all have to be there.

    Attributes:
        names: Their names, mostly one.
        part: The part that is taken, or a function that makes the weight of the array.
        third: The number of the third that is taken of the first axis, `None` if it is no third.
    """

    names: tuple[str, ...]
    part: Part | None = None
    third: int | None = None


def wanted(weights: Sequence[ModelWeight], rules: NameRules, layout: Layout) -> dict[str, list[Candidate] | None]:
    """Return what the first rule that matches a weight stands for, by path; `None` if the rule says to leave it.

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
                f"`rules` must each match a weight or a layer. Received: {pattern!r}, which matches none; close to it "
                f"are {_close(pattern, weights)}"
            )
        for weight, match in matches.items():
            if weight.path not in found:
                found[weight.path] = None if value is None else _by_rule(weight, match, value, layout)
    return found


def _check(pattern: Any, value: Any) -> None:
    if not isinstance(pattern, str):
        raise TypeError(f"`rules` must have patterns for paths as keys. Received: {pattern!r} as a key")
    name, part = value if isinstance(value, tuple) and len(value) == 2 else (value, ...)
    if value is not None and not (
        isinstance(name, str) and (isinstance(part, int | slice | EllipsisType | tuple) or callable(part))
    ):
        raise TypeError(
            "`rules` must have as values a name, a pair of a name and a part (`numpy.s_[...]` or a function), or "
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
            "`rules` must name arrays, with `{0}` for what the first `*` of the pattern stands for. "
            f"Received: {template!r} for {weight.path!r}: {error}"
        ) from None
    if match["rest"] is None:
        return [Candidate(_with_second_bias(weight, name, layout), part)]
    if part is not None:
        raise ValueError(
            "`rules` must take a part for a weight, not for a layer, which may have several. "
            f"Received: {value!r} for a layer of {weight.path!r}"
        )
    consumed = weight.path.count("/") + 1 - match["rest"].count("/")
    return list(named(weight, layout, name, consumed))


def _with_second_bias(weight: ModelWeight, name: str, layout: Layout) -> tuple[str, ...]:
    """Return `name`, and for a first bias of torch the name of the second, as `bias_hh_l0` for `bias_ih_l0`."""
    is_first = layout == "torch" and isinstance(weight.layer, _CELLS) and "bias_ih" in name
    return (name, name.replace("bias_ih", "bias_hh")) if is_first else (name,)


def named(weight: ModelWeight, layout: Layout, module: str = "", consumed: int = 0) -> Iterator[Candidate]:
    """Give what `weight` may be called in a source, the most likely first.

    Args:
        weight: A weight.
        layout: The layout of the source.
        module: The name in the source of a layer around it, empty for the whole.
        consumed: How many names of its path lead to that layer.
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
    """Give the names in the modules of torch that hold the weights of several layers or gates."""
    if isinstance(weight.layer, _CELLS) and weight.name in _RECURRENT:
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
