"""Weights that torch computes of several arrays: with weight normalization, or pruned.

A state dict has what they are computed of: `weight_g` and `weight_v`, since torch 2.0
`parametrizations.weight.original0` and `original1`; and `weight_orig` with `weight_mask`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.arrays._lazy import LazyArray, Selection

# What torch normalizes or prunes are its own parameters.
_OWN = r"(?:[a-z]+_proj_)?(?:weight|bias)(?:_[ih]h(?:_l\d+(?:_reverse)?)?)?"
_MEMBER = re.compile(
    rf"(?P<module>(?:.*\.)?)(?:(?P<old>{_OWN})_(?P<end>g|v|u|orig|mask)"
    r"|parametrizations\.(?P<new>[^.]+)\.(?P<part>original\d*|\d+\._?[uv]))"
)


@dataclass(frozen=True)
class Parametrized:
    """A weight that torch computes.

    Attributes:
        name: The name that it would have.
        members: The names of the arrays that it is computed of, the first of which has its shape.
        array: The weight, `None` if it cannot be computed.
        problem: Why it cannot.
    """

    name: str
    members: tuple[str, ...]
    array: LazyArray | None = None
    problem: str = ""


def is_part(name: str) -> bool:
    """Return whether an array is no weight by its name, but what torch computes one of."""
    return _MEMBER.fullmatch(name) is not None


def parametrized_in(contents: Mapping[Any, LazyArray]) -> dict[str, Parametrized]:
    """Return the weights that a state dict has in parts, by the names that they would have."""
    members: dict[str, dict[str, str]] = {}
    for name in map(str, contents):
        found = _MEMBER.fullmatch(name)
        if found is not None:
            weight = f"{found['module']}{found['old'] or found['new']}"
            members.setdefault(weight, {})[found["end"] or found["part"]] = name
    result = {}
    for weight, parts in members.items():
        one = _parametrized(weight, parts, contents) if weight not in contents else None
        if one is not None:
            result[weight] = one
    return result


def _parametrized(
    weight: str, parts: Mapping[str, str], contents: Mapping[Any, LazyArray]
) -> Parametrized | None:
    """Return what is computed of parts, `None` if they are weights by themselves."""
    merge = "merge it with `remove_parametrizations` first"
    names = tuple(parts.values())
    if any(part.startswith("original") for part in parts):
        found = _normalized(weight, parts, "original0", "original1", contents)
        kind = "is parametrized"
        if any(part[0].isdecimal() for part in parts):
            kind = "has a spectral normalization"
        return found or Parametrized(weight, names, problem=f"{weight!r} {kind}: {merge}")
    if "orig" in parts and "u" in parts:
        problem = f"{weight!r} has a spectral normalization: remove it with `remove_spectral_norm`"
        return Parametrized(weight, names, problem=f"{problem} first")
    if "orig" in parts and "mask" in parts:
        return _pruned(weight, parts, contents)
    return _normalized(weight, parts, "g", "v", contents)


def _normalized(
    weight: str,
    parts: Mapping[str, str],
    gain: str,
    direction: str,
    contents: Mapping[Any, LazyArray],
) -> Parametrized | None:
    if parts.keys() != {gain, direction}:
        return None
    g, v = contents[parts[gain]], contents[parts[direction]]
    axes = _normalized_axes(g.shape, v.shape)
    if axes is None:
        return None

    def computed(values: Array, gains: Array) -> Array:
        norms = np.sqrt(np.sum(np.square(values), axis=axes, keepdims=True))
        result: Array = gains * (values / norms)
        return result

    how = "g * v / |v| of a weight normalization"
    return _computed(weight, (parts[direction], parts[gain]), contents, computed, how)


def _normalized_axes(gain: Shape, direction: Shape) -> tuple[int, ...] | None:
    """Return the axes over which the norm is computed, `None` if these shapes are no such pair."""
    if gain == () and direction:
        return tuple(range(len(direction)))
    if len(gain) != len(direction) or gain == direction:
        return None
    if any(length not in (1, whole) for length, whole in zip(gain, direction, strict=True)):
        return None
    return tuple(axis for axis, length in enumerate(gain) if length == 1)


def _pruned(
    weight: str, parts: Mapping[str, str], contents: Mapping[Any, LazyArray]
) -> Parametrized | None:
    names = (parts["orig"], parts["mask"])
    if contents[names[0]].shape != contents[names[1]].shape:
        return None
    return _computed(weight, names, contents, np.multiply, "times the mask of a pruning")


def _computed(
    weight: str,
    names: tuple[str, ...],
    contents: Mapping[Any, LazyArray],
    compute: Callable[[Array, Array], Array],
    how: str,
) -> Parametrized:
    """Return a weight that is computed in float64, of two arrays."""
    arrays = [contents[name] for name in names]

    def read(region: Selection) -> Array:
        first, second = (np.asarray(array.read(...)).astype("float64") for array in arrays)
        with np.errstate(divide="ignore", invalid="ignore"):
            return compute(first, second)[region]

    array = replace(arrays[0], dtype="float64", read=read, how=(how,))
    return Parametrized(weight, names, array)
