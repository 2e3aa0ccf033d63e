"""The weights of a contract, and the lines that a file has for each.

The line that people read is short: what a weight is, how it is drawn, its mean, deviation and
zeros, and what is equal. The other numbers, which only tests need, stand in a second part of the
file, one list for each weight. What a person changes in a line counts: another mean or deviation
moves these numbers with it, and another law takes their place.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_initx._checks import is_real
from keras_initx._typing import DType, Shape
from keras_initx.files._local import LinedFormat
from keras_initx.initializers._laws import IndependentLaw
from keras_initx.tools.audit._profile import (
    LEVELS,
    NOTHING,
    Ends,
    Farthest,
    Parts,
    Profile,
    list_family_laws,
    round_numbers,
)
from keras_initx.tools.audit._subjects import profile_law

# The part of a file with the numbers.
NUMBERS = "numbers"
FORMAT = LinedFormat(
    "keras_initx contract",
    1,
    "Contract.save",
    ("draws", "equal", "one_draw", "weights"),
    parts=(NUMBERS,),
)
# The moments that a line has, in the order in which they are in the numbers too, if they are not 0.
_MOMENTS = ("mean", "std", "zeros")
# The other numbers of a profile that stand at its beginning.
_COUNTS = ("size", "total", "outliers", "bits")
_SINGLE = ("independent", "kurtosis")
# What else a line says, where it is not the usual.
_USUAL: dict[str, Any] = {
    "digest": None,
    "zeros_at": None,
    "frames": None,
    "norms": "",
    "repeated": NOTHING,
    "crowded": NOTHING,
    "signs": "",
    "ranks": "",
    "varies": (),
    "has_levels": False,
}
# Laws that a person may state in the place of what was measured.
_LAWS = [law.name for law in list_family_laws(0.0, 1.0)]
_KEYS = {"path", "place", "shape", "dtype", "values", "value", *_MOMENTS, *_USUAL, NUMBERS}


@dataclass(frozen=True)
class WeightContract:
    """How one weight is drawn.

    Attributes:
        path: Its path in the model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        profile: What is known of its values.
        place: Its place in the model, see `places_of`, by which it is found in another one. That
            of an array is its name.
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
    """Return a weight as a line of the file: the head first, the numbers last."""
    profile = weight.profile
    line: dict[str, Any] = {"path": weight.path}
    if weight.place != weight.path:
        line["place"] = weight.place
    line.update(shape=list(weight.shape), dtype=weight.dtype, values=weight.text)
    if profile.kind == "constant":
        line.update(values="constant", value=profile.value)
    if profile.has_distribution:
        for name in _MOMENTS:
            if getattr(profile, name):
                line[name] = _shorten(getattr(profile, name))
    for name, usual in _USUAL.items():
        value = getattr(profile, name)
        if value != usual and (profile.has_distribution or value is not None):
            line[name] = value
    return {**line, NUMBERS: [*_list_numbers(profile)]}


def _shorten(value: float) -> float:
    """Return a moment as a line has it: short, as the numbers have it as well."""
    return float(f"{value:.4g}")


def _list_numbers(profile: Profile) -> Iterator[float | None]:
    """Yield the numbers of a profile, none where there is nothing more to say than in the line."""
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
    """Return the weight of a line.

    Raises:
        KeyError: If something is missing.
        TypeError: If something has another type.
        ValueError: If the line says nothing that can be.
    """
    unknown = sorted(line.keys() - _KEYS)
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of {sorted(_KEYS - {NUMBERS})}")
    shape = tuple(int(length) for length in line["shape"])
    profile = _read_profile(line, shape)
    place = str(line.get("place", line["path"]))
    return WeightContract(line["path"], shape, str(line["dtype"]), profile, place)


def _read_profile(line: Mapping[str, Any], shape: tuple[int, ...]) -> Profile:
    values, numbers = line["values"], line[NUMBERS]
    texts = {name: _make_hashable(line[name]) for name in _USUAL if name in line}
    if values == "constant":
        if not is_real(line["value"]):
            raise ValueError(f"the value of a constant is {line['value']!r}")
        return Profile("constant", value=float(line["value"]), size=math.prod(shape), **texts)
    is_unknown = values[:1] == "(" and values[-1:] == ")"
    if is_unknown:
        return Profile("unknown", values[1:-1], **texts)
    if values == "fixed" and not numbers:
        return Profile("fixed", **texts)
    measured = None
    if numbers:
        kind = "fixed" if values == "fixed" else "random"
        measured = _read_numbers(kind, numbers, {**_USUAL, **texts})
        if values == measured.text:
            return _apply_moments(measured, line)
    if values in _LAWS:
        laws = list_family_laws(*_read_moments(line, ("mean", "std")))
        return _profile_statement([*laws][_LAWS.index(values)], line["dtype"], shape)
    if values == "random" and measured is not None:
        return _apply_moments(measured, line)
    raise ValueError(f"the values are {values!r}, of which nothing is known")


def _make_hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _profile_statement(law: IndependentLaw, dtype: DType, shape: Shape) -> Profile:
    """Return what a person says of values, as exactly known as of one draw.

    Its numbers are rounded, so ends that would follow from them are not known.
    """
    size = math.prod(shape)
    stated = profile_law(law, dtype, shape)
    parts = [replace(part, size=size // len(part.means)) for part in stated.parts]
    profile: Profile = round_numbers(
        replace(
            stated,
            size=size,
            independent=float(size),
            total=size,
            zeros=0.0,
            lowest=-math.inf,
            highest=math.inf,
            parts=tuple(parts),
            law=None,
        )
    )
    return profile


def _read_numbers(kind: str, numbers: Sequence[float | None], texts: Mapping[str, Any]) -> Profile:
    """Return the profile with these numbers, which `_list_numbers` yielded."""
    rest = iter(numbers)

    def several(count: float) -> list[Any]:
        return [next(rest) for _ in range(int(count))]

    fields = dict(texts)
    try:
        for names in (_MOMENTS, _COUNTS, _SINGLE):
            fields.update(zip(names, several(len(names)), strict=True))
        lowest, highest = several(2)
        fields["connections"] = tuple(several(2))
        fields["quantiles"] = tuple(several(len(LEVELS)))
        number_of_spot_values, number_of_parts, number_of_ends = several(3)
        fields["spot_values"] = tuple(several(number_of_spot_values))
        parts, ends = [], []
        for _ in range(number_of_parts):
            axis, size, count = several(3)
            parts.append(Parts(axis, size, tuple(several(count)), tuple(several(count))))
        for _ in range(number_of_ends):
            axis, size, count = several(3)
            ends.append(Ends(axis, size, count, Farthest(*several(4)), Farthest(*several(4))))
        is_all = next(rest, None) is None
    except StopIteration:
        is_all = False
    if not is_all:
        raise ValueError(f"{len(numbers)} numbers, which is not what a profile has")
    return Profile(
        kind,
        lowest=-math.inf if lowest is None else lowest,
        highest=math.inf if highest is None else highest,
        parts=tuple(parts),
        ends=tuple(ends),
        **fields,
    )


def _read_moments(
    line: Mapping[str, Any], names: Sequence[str], *, are_alike: bool = False
) -> list[float]:
    """Return moments as a line states them, 0 where it does not.

    Args:
        line: The line.
        names: The moments that are returned.
        are_alike: Whether all values but zeros are equal, so that there is no deviation to state.

    Raises:
        KeyError: If there is no deviation, and values are not alike.
        ValueError: If they are not those of such values.
    """
    moments = {"mean": 0.0, "zeros": 0.0, **({"std": 0.0} if are_alike else {}), **line}
    is_std = moments["std"] == 0 if are_alike else moments["std"] > 0
    if not is_std or not 0 <= moments["zeros"] <= 1:
        of = "values that are alike" if are_alike else "random values"
        raise ValueError(f"std={moments['std']!r} and zeros={moments['zeros']!r} of {of}")
    return [float(moments[name]) for name in names]


def _apply_moments(measured: Profile, line: Mapping[str, Any]) -> Profile:
    """Return a profile with the moments of a line, where a person has changed them.

    Then the values are others, and ends that follow from rounded numbers are not known.
    """
    changed = {}
    stated = _read_moments(line, _MOMENTS, are_alike=not measured.std)
    for name, said in zip(_MOMENTS, stated, strict=True):
        if said != _shorten(getattr(measured, name)):
            changed[name] = said
    if not changed:
        return measured
    now = replace(measured, digest=None, zeros=changed.pop("zeros", measured.zeros))
    if changed:
        moved = now.with_moments(changed.get("mean", now.mean), changed.get("std", now.std))
        now = replace(moved, lowest=-math.inf, highest=math.inf)
    profile: Profile = round_numbers(now)
    return profile
