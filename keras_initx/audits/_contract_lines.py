"""The weights of a contract, and the lines that a file has for each.

The line that people read is short: what a weight is, how it is drawn, its mean, deviation and
zeros, and what is equal. The numbers that only tests need stand in a second part of the file. A
mark in them says of which line they are.
"""

import base64
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_initx._checks import is_real
from keras_initx._files import LinedFormat
from keras_initx.audits._parts import Parts, Slices
from keras_initx.audits._profile import KINDS, LEVELS, NOTHING, Profile

# The part of a file with the numbers.
NUMBERS = "numbers"
FORMAT = LinedFormat(
    "keras_initx contract",
    2,
    "Contract.save",
    ("draws", "equal", "weights"),
    parts=(NUMBERS,),
)
# What else a line says, where it is not the usual: texts, and what is equal within the weight.
_TEXTS = ("digest", "zeros_at", "frames_axis", "repeated", "crowded", "varies")
# Whether nothing is equal, or it is not known, as one number: each has its share of it.
_KNOWN = {"repeated": 1, "crowded": 2}
# The numbers of a profile, in the order in which they are packed.
_COUNTS = ("size", "total", "outliers", "bits", "frames")
_NUMBERS = ("independent", "mean", "std", "kurtosis", "zeros", "lowest", "highest", "value")
_LISTS = ("connections", "places", "quantiles")


@dataclass(frozen=True)
class WeightContract:
    """How one weight is drawn.

    Attributes:
        path: Its path in the model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        profile: What is known of its values.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    profile: Profile

    @property
    def kind(self) -> str:
        """`"constant"`; `"fixed"`, equal in all draws; `"random"`; or `"unknown"`."""
        return self.profile.kind

    @property
    def text(self) -> str:
        """The kind in words, with the family of the distribution if it is known."""
        return self.profile.text


def unusual(weight: WeightContract) -> dict[str, Any]:
    """Return what is known of the values of a weight, without what is so of most."""
    usual = asdict(Profile(weight.kind, size=math.prod(weight.shape)))
    found = asdict(weight.profile)
    return {name: value for name, value in found.items() if value != usual[name]}


def line_of(weight: WeightContract) -> dict[str, Any]:
    """Return a weight as a line of the file: the head first, the numbers last."""
    known = unusual(weight)
    line: dict[str, Any] = {
        "path": weight.path,
        "shape": list(weight.shape),
        "dtype": weight.dtype,
        "values": weight.text,
    }
    for name in ("mean", "std", "zeros"):
        if known.get(name):
            line[name] = float(f"{known[name]:.4g}")
    for name in _TEXTS:
        if name in known and known[name] != NOTHING:
            line[name] = known[name]
    return {**line, NUMBERS: _packed(line, weight.profile)}


def weight_of(line: Mapping[str, Any]) -> WeightContract:
    """Return the weight of a line, also of one as earlier versions wrote it, without a second part.

    Raises:
        KeyError: If something is missing.
        TypeError: If something has another type.
        ValueError: If the line and its numbers do not agree, or say nothing that can be.
    """
    fields = _unpacked(line) if NUMBERS in line else dict(line)
    shape = tuple(int(length) for length in line["shape"])
    for name in ("path", "shape", "dtype", "values"):
        fields.pop(name, None)
    for name in (*_LISTS, *_KNOWN, "varies"):
        if fields.get(name) is not None:
            fields[name] = tuple(fields[name])
    fields["parts"] = tuple(_parts(part) for part in fields.get("parts", ()))
    fields["slices"] = tuple(_slices(part) for part in fields.get("slices", ()))
    profile = Profile(**{"size": math.prod(shape), **fields})
    _check(profile)
    return WeightContract(line["path"], shape, line["dtype"], profile)


def _parts(fields: Mapping[str, Any]) -> Parts:
    means, stds = (tuple(map(float, fields[name])) for name in ("means", "stds"))
    if len(stds) != len(means):
        raise ValueError(f"{len(stds)} deviations and {len(means)} means of parts")
    return Parts(int(fields["axis"]), int(fields["size"]), means, stds)


def _slices(fields: Mapping[str, Any]) -> Slices:
    means, stds = (tuple(map(float, fields[name])) for name in ("means", "stds"))
    if len(stds) != 4 or len(means) != 4:
        raise ValueError("slices must have two deviations and two means, with their places")
    return Slices(int(fields["axis"]), int(fields["size"]), int(fields["number"]), means, stds)


def _check(profile: Profile) -> None:
    """Raise `ValueError` unless a profile has what its kind needs."""
    problem = ""
    if profile.kind not in KINDS:
        problem = f"unknown kind {profile.kind!r}"
    elif len(profile.quantiles) not in (0, len(LEVELS)):
        problem = f"{len(profile.quantiles)} quantiles instead of {len(LEVELS)}"
    elif profile.kind == "random" and not profile.quantiles:
        problem = "random, without quantiles"
    elif profile.kind == "constant" and not is_real(profile.value):
        problem = "constant, without a value"
    if problem:
        raise ValueError(problem)


def _mark(line: Mapping[str, Any]) -> float:
    """Return a number that says what a line says, but for the path."""
    said = {name: line[name] for name in sorted(line) if name not in ("path", NUMBERS)}
    digest = hashlib.blake2b(json.dumps(said).encode(), digest_size=6).digest()
    return float(int.from_bytes(digest, "big"))


def _packed(line: Mapping[str, Any], profile: Profile) -> str:
    """Return the numbers of a profile bit for bit, with the mark of their line."""
    known = 0
    for name, share in _KNOWN.items():
        if getattr(profile, name) is not None:
            known += share
    numbers = [_mark(line), KINDS.index(profile.kind), known]
    for name in (*_COUNTS, *_NUMBERS):
        value = getattr(profile, name)
        numbers.append(math.nan if value is None else value)
    lists = [getattr(profile, name) for name in _LISTS]
    for part in profile.parts:
        lists += [(part.axis, part.size), part.means, part.stds]
    for one in profile.slices:
        lists += [(one.axis, one.size, one.number), one.means, one.stds]
    for values in lists:
        numbers += [len(values), *values]
    return base64.b64encode(np.array(numbers, "<f8").tobytes()).decode()


def _unpacked(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a profile, from the texts of a line and its numbers.

    Raises:
        ValueError: If the numbers are not those of the line.
    """
    packed = base64.b64decode(line[NUMBERS], validate=True)
    numbers = iter(np.frombuffer(packed, "<f8").tolist())
    if next(numbers, None) != _mark(line):
        raise ValueError(f"the line was changed, and not its {NUMBERS!r}: make the contract anew")
    fields: dict[str, Any] = {"kind": KINDS[int(next(numbers))]}
    if fields["kind"] == "unknown":
        fields["reason"] = line["values"][1:-1]  # without brackets
    known = int(next(numbers))
    for name, share in _KNOWN.items():
        fields[name] = NOTHING if known & share else None
    fields.update((name, int(next(numbers))) for name in _COUNTS)
    fields.update((name, next(numbers)) for name in _NUMBERS)
    if math.isnan(fields["value"]):
        fields["value"] = None
    lists = [list(itertools.islice(numbers, int(length))) for length in numbers]
    fields.update(zip(_LISTS, lists, strict=False))
    fields["connections"] = map(int, fields["connections"])
    fields["parts"], fields["slices"] = [], []
    of_parts = iter(lists[len(_LISTS) :])
    for head, means, stds in zip(of_parts, of_parts, of_parts, strict=True):
        axis, size, *number = head
        statistics = {"axis": axis, "size": size, "means": means, "stds": stds}
        if number:
            fields["slices"].append({**statistics, "number": number[0]})
        else:
            fields["parts"].append(statistics)
    return {**fields, **{name: line[name] for name in _TEXTS if name in line}}
