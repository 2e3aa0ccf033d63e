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
from keras_initx.tools.audit._facts import LISTS, MOMENTS, NUMBERS, TEXTS
from keras_initx.tools.audit._profile import Profile

# The part of a file with the numbers.
_NUMBERS = "numbers"
FORMAT = LinedFormat(
    "keras_initx contract",
    2,
    "Contract.save",
    ("draws", "equal", "one_draw", "weights"),
    parts=(_NUMBERS,),
)


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
    for fact in MOMENTS:
        if getattr(profile, fact.name):
            line[fact.name] = _shorten(getattr(profile, fact.name))
    usual = Profile()
    for fact in TEXTS:
        if getattr(profile, fact.name) != getattr(usual, fact.name):
            line[fact.name] = getattr(profile, fact.name)
    return {**line, _NUMBERS: [*_list_numbers(profile)]}


def _shorten(value: float) -> float:
    return float(f"{value:.4g}")  # the numbers have more digits


def _list_numbers(profile: Profile) -> Iterator[float]:
    """List the numbers of a profile, none if the line already has all facts."""
    if not profile.has_distribution:
        return
    for fact in (*MOMENTS, *NUMBERS):
        yield from fact.form.list_numbers(getattr(profile, fact.name))
    for fact in LISTS:
        yield len(getattr(profile, fact.name))
    for fact in LISTS:
        for item in getattr(profile, fact.name):
            yield from fact.form.list_numbers(item)


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
    values, numbers = line["values"], line[_NUMBERS]
    texts = {fact.name: _make_hashable(line[fact.name]) for fact in TEXTS if fact.name in line}
    if values == "constant":
        return Profile("constant", value=float(line["value"]), size=math.prod(shape), **texts)
    is_unknown = values[:1] == "(" and values[-1:] == ")"
    if is_unknown:
        return Profile("unknown", values[1:-1], **texts)
    kind = "random"
    if values == "fixed" or not numbers:
        kind = "fixed"
        texts["digest"] = line["digest"]  # which each fixed weight has
    facts = _read_numbers(numbers) if numbers else {}
    return Profile(kind, **facts, **texts)


def _make_hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read_numbers(numbers: Sequence[float]) -> dict[str, Any]:
    """Read the facts of a profile from numbers in the order of `_list_numbers`."""
    rest = iter(numbers)

    def take(count: int) -> list[Any]:
        return [next(rest) for _ in range(count)]

    facts: dict[str, Any] = {}
    try:
        for fact in (*MOMENTS, *NUMBERS):
            facts[fact.name] = fact.form.read(take)
        lengths = take(len(LISTS))
        for fact, length in zip(LISTS, lengths, strict=True):
            items = [fact.form.read(take) for _ in range(length)]
            facts[fact.name] = tuple(items)
        are_all_read = next(rest, None) is None
    except StopIteration:
        are_all_read = False
    if not are_all_read:
        raise ValueError(f"its {len(numbers)} numbers are too few or too many")
    return facts
