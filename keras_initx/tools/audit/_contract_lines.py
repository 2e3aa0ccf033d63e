"""The weights of a contract, and the lines that a file has for each.

A file has a line for people, and after all lines a list of numbers that only tests need:

    "weights": [
      {"path": "hidden/kernel", "shape": [64, 32], "dtype": "float32",
       "values": "normal", "mean": -0.0002066, "std": 0.09953},
      {"path": "hidden/bias", "shape": [32], "dtype": "float32",
       "values": "constant", "value": 0.0}
    ],
    "numbers": {
      "hidden/kernel": [-0.0002066297, 0.09952728, 0.0, 6144, ...],
      "hidden/bias": []
    }

Nobody may edit a line, because what it says would not fit the numbers: such a line is refused.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_initx.files._local import LinedFormat
from keras_initx.tools.audit._profile import (
    LEVELS,
    NOTHING,
    Ends,
    Farthest,
    Parts,
    Profile,
)

# The part of a file with the numbers.
NUMBERS = "numbers"
FORMAT = LinedFormat(
    "keras_initx contract",
    2,
    "Contract.save",
    ("draws", "equal", "one_draw", "weights"),
    parts=(NUMBERS,),
)
# The moments that a line has if they are not 0. The numbers begin with them, in this order.
_MOMENTS = ("mean", "std", "zeros")
# The numbers that follow, see `_list_numbers`.
_COUNTS = ("size", "total", "outliers", "bits")
_SINGLE = ("independent", "kurtosis")
# What else a line says, if it is not the usual.
_USUAL: dict[str, Any] = {
    "digest": None,
    "frames": None,
    "repeated": NOTHING,
    "signs": "",
    "ranks": "",
    "varies": False,
}


@dataclass(frozen=True)
class WeightContract:
    """How one weight is drawn.

    Attributes:
        path: Its path in your model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        profile: The known facts about its values.
        place: Its path by the types and ranks of layers, see `canonical_weight_paths`. It finds the
            weight in another model. An array has its name.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    profile: Profile
    place: str

    @property
    def kind(self) -> str:
        """`"constant"`; `"fixed"`, equal in all draws; `"random"`; or `"unknown"`."""
        return self.profile.kind

    @property
    def text(self) -> str:
        """The kind in words, with the family of the distribution if it is known."""
        return self.profile.text


# To a file.


def write_line(weight: WeightContract) -> dict[str, Any]:
    """Write a weight as a line of the file: the head first, the numbers last."""
    profile = weight.profile
    line: dict[str, Any] = {"path": weight.path}
    if weight.place != weight.path:
        line["place"] = weight.place
    line.update(shape=list(weight.shape), dtype=weight.dtype, values=weight.text)
    if profile.kind == "constant":
        line.update(values="constant", value=profile.value)
    for name in _MOMENTS:
        if getattr(profile, name):
            line[name] = _shorten(getattr(profile, name))
    for name, usual in _USUAL.items():
        value = getattr(profile, name)
        if value != usual and (profile.has_distribution or value is not None):
            line[name] = value
    return {**line, NUMBERS: [*_list_numbers(profile)]}


def _shorten(value: float) -> float:
    return float(f"{value:.4g}")  # the numbers have more digits


def _list_numbers(profile: Profile) -> Iterator[float | None]:
    """List the numbers of a profile, none if the line already has all facts.

    They are: mean, std, zeros, size, total, outliers, bits, independent, kurtosis; lowest, highest;
    connections; quantiles; how many spot values, parts and ends follow, and these.
    """
    if not profile.has_distribution:
        return
    for name in (*_MOMENTS, *_COUNTS, *_SINGLE):
        yield getattr(profile, name)
    for end in (profile.lowest, profile.highest):
        yield end if math.isfinite(end) else None
    yield from profile.connections
    yield from profile.quantiles
    for values in (profile.spot_values, profile.parts, profile.ends):
        yield len(values)
    yield from profile.spot_values
    for parts in profile.parts:
        yield from (parts.axis, parts.size, len(parts.means), *parts.means, *parts.stds)
    for ends in profile.ends:
        yield from (ends.axis, ends.size, ends.number, *ends.means, *ends.stds)


# From a file.


def read_line(line: Mapping[str, Any]) -> WeightContract:
    """Read the weight of a line.

    Raises:
        KeyError: If something is missing.
        TypeError: If something has another type.
        ValueError: If the line is not as `write_line` writes the weight, because it was edited.
    """
    shape = tuple(int(length) for length in line["shape"])
    place = str(line.get("place", line["path"]))
    weight = WeightContract(
        line["path"], shape, str(line["dtype"]), _read_profile(line, shape), place
    )
    # Tests read the numbers alone: another word or moment in the line would be ignored.
    written = json.loads(json.dumps(write_line(weight)))
    for name in {**line, **written}:
        if name not in written or line.get(name) != written[name]:
            raise ValueError(
                f"{name!r} is {line.get(name)!r}, which does not follow from its numbers. Lines "
                "cannot be edited: record the contract again"
            )
    return weight


def _read_profile(line: Mapping[str, Any], shape: tuple[int, ...]) -> Profile:
    values, numbers = line["values"], line[NUMBERS]
    texts = {name: _make_hashable(line[name]) for name in _USUAL if name in line}
    if values == "constant":
        return Profile("constant", value=float(line["value"]), size=math.prod(shape), **texts)
    is_unknown = values[:1] == "(" and values[-1:] == ")"
    if is_unknown:
        return Profile("unknown", values[1:-1], **texts)
    kind = "random"
    if values == "fixed" or not numbers:
        kind = "fixed"
        texts["digest"] = line["digest"]  # which each fixed weight has
    return _read_numbers(kind, numbers, {**_USUAL, **texts}) if numbers else Profile(kind, **texts)


def _make_hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read_numbers(kind: str, numbers: Sequence[float | None], texts: Mapping[str, Any]) -> Profile:
    """Read a profile from numbers in the order of `_list_numbers`."""
    rest = iter(numbers)

    def take(count: float) -> list[Any]:
        return [next(rest) for _ in range(int(count))]

    fields = dict(texts)
    try:
        for names in (_MOMENTS, _COUNTS, _SINGLE):
            fields.update(zip(names, take(len(names)), strict=True))
        lowest, highest = take(2)
        fields["connections"] = tuple(take(2))
        fields["quantiles"] = tuple(take(len(LEVELS)))
        number_of_spot_values, number_of_parts, number_of_ends = take(3)
        fields["spot_values"] = tuple(take(number_of_spot_values))
        all_parts, all_ends = [], []
        for _ in range(number_of_parts):
            axis, size, count = take(3)
            all_parts.append(Parts(axis, size, tuple(take(count)), tuple(take(count))))
        for _ in range(number_of_ends):
            axis, size, count = take(3)
            all_ends.append(Ends(axis, size, count, Farthest(*take(4)), Farthest(*take(4))))
        are_all_read = next(rest, None) is None
    except StopIteration:
        are_all_read = False
    if not are_all_read:
        raise ValueError(f"its {len(numbers)} numbers are too few or too many")
    return Profile(
        kind,
        lowest=-math.inf if lowest is None else lowest,
        highest=math.inf if highest is None else highest,
        parts=tuple(all_parts),
        ends=tuple(all_ends),
        **fields,
    )
