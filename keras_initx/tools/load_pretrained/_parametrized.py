"""Find the weights that torch computes from several arrays, and compute them.

These arrays are the *members* of a weight:

    fc.weight_g, fc.weight_v                            weight normalization
    fc.parametrizations.weight.original0, .original1    the same since torch 2.0
    fc.weight_orig, fc.weight_mask                      pruning, which is refused
    fc.weight_orig, fc.weight_u, fc.weight_v            spectral normalization, which is refused
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.files._lazy import LazyArray, Selection

# A model may have weights of its own with such endings. So only names of torch's parameters count.
_NORMALIZED_NAME = r"(?:[a-z]+_proj_)?(?:weight|bias)(?:_[ih]h(?:_l\d+(?:_reverse)?)?)?"
_MEMBER = re.compile(
    rf"(?P<module>(?:.*\.)?)(?:(?P<old>{_NORMALIZED_NAME})_(?P<end>g|v|u|orig|mask)"
    r"|parametrizations\.(?P<new>[^.]+)\.(?P<part>original\d*|\d+\._?[uv]))"
)


@dataclass(frozen=True)
class Parametrized:
    """A weight that torch computes from several arrays.

    Attributes:
        name: Its name in a module without these arrays.
        members: The names of these arrays: the direction, which has the shape of the weight, and
            the gain.
        array: The weight, `None` if it cannot be computed.
        problem: The reason why it cannot.
    """

    name: str
    members: tuple[str, ...]
    array: LazyArray | None = None
    problem: str = ""


def is_member_name(name: str) -> bool:
    return _MEMBER.fullmatch(name) is not None


def find_parametrized(contents: Mapping[Any, LazyArray]) -> dict[str, Parametrized]:
    """Find the weights that are several arrays in a state dict, by the names of the weights."""
    # Such as `{"fc.weight": {"g": "fc.weight_g", "v": "fc.weight_v"}}`.
    members_by_weight: dict[str, dict[str, str]] = {}
    for name in map(str, contents):
        match = _MEMBER.fullmatch(name)
        if match is not None:
            weight = f"{match['module']}{match['old'] or match['new']}"
            members_by_weight.setdefault(weight, {})[match["end"] or match["part"]] = name
    parametrized = {}
    for weight, members in members_by_weight.items():
        joined = _join_members(weight, members, contents) if weight not in contents else None
        if joined is not None:
            parametrized[weight] = joined
    return parametrized


def _join_members(
    weight: str, members: Mapping[str, str], contents: Mapping[Any, LazyArray]
) -> Parametrized | None:
    """Compute a weight from its members, by their endings; `None` if they are weights."""
    merge = "merge it with `remove_parametrizations` first"
    names = tuple(members.values())
    if any(ending.startswith("original") for ending in members):
        joined = _join_weight_norm(weight, members, "original0", "original1", contents)
        kind = "is parametrized"
        if any(ending[0].isdecimal() for ending in members):
            kind = "has a spectral normalization"
        return joined or Parametrized(weight, names, problem=f"{weight!r} {kind}: {merge}")
    if "orig" in members and "u" in members:
        problem = f"{weight!r} has a spectral normalization: remove it with `remove_spectral_norm`"
        return Parametrized(weight, names, problem=f"{problem} first")
    if "orig" in members and "mask" in members:
        problem = f"{weight!r} is pruned: merge it with its mask by `prune.remove` first"
        return Parametrized(weight, names, problem=problem)
    return _join_weight_norm(weight, members, "g", "v", contents)


def _join_weight_norm(
    weight: str,
    members: Mapping[str, str],
    gain: str,
    direction: str,
    contents: Mapping[Any, LazyArray],
) -> Parametrized | None:
    # Computed in float64, when it is read.
    if members.keys() != {gain, direction}:
        return None
    g, v = contents[members[gain]], contents[members[direction]]
    axes = find_norm_axes(g.shape, v.shape)
    if axes is None:
        return None

    def read(region: Selection) -> Array:
        gains, values = (np.asarray(array.read(...)).astype("float64") for array in (g, v))
        with np.errstate(divide="ignore", invalid="ignore"):
            norms = np.sqrt(np.sum(np.square(values), axis=axes, keepdims=True))
            result: Array = (gains * (values / norms))[region]
        return result

    how = ("g * v / |v| of a weight normalization",)
    array = replace(v, dtype="float64", read=read, how=how)
    return Parametrized(weight, (members[direction], members[gain]), array)


def find_norm_axes(gain: Shape, direction: Shape) -> tuple[int, ...] | None:
    """Find the axes that a norm sums over, or `None` if these shapes are no such pair.

    They are `(1, 2, 3)` for a gain of shape `(64, 1, 1, 1)` and a direction `(64, 3, 7, 7)`.
    """
    if gain == () and direction:
        return tuple(range(len(direction)))
    if len(gain) != len(direction):
        return None
    if any(length not in (1, whole) for length, whole in zip(gain, direction, strict=True)):
        return None
    # Two full matrices are no such pair. The norm of a single value is its absolute value.
    if gain == direction and sum(length != 1 for length in gain) > 1:
        return None
    return tuple(axis for axis, length in enumerate(gain) if length == 1)
