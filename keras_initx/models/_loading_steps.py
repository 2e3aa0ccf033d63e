"""Match each weight of a model with the arrays of a source, and check that they fit."""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._typing import Array, Shape
from keras_initx.initializers._array_files import Stored
from keras_initx.models._array_names import Candidate, NameRules, named, wanted
from keras_initx.models._array_sources import in_memory
from keras_initx.models._layouts import Layout, arrangements
from keras_initx.models._loading_plan import LISTED, LoadedWeight
from keras_initx.models._weights import ModelWeight


@dataclass(frozen=True)
class Step:
    """A weight, its row in the plan, and a function that makes its values, or `None` if it is left unchanged."""

    weight: ModelWeight
    row: LoadedWeight
    make: Callable[[], Array] | None = None


def loading_steps(
    weights: Sequence[ModelWeight], contents: Mapping[str, Stored], rules: NameRules | None, layout: Layout
) -> list[Step]:
    """Return a step for each weight. Mismatches are reported in its row."""
    hints = iter(range(LISTED))  # comparing all names with all others would be slow
    if rules is None:
        candidates = [list(named(weight, layout)) for weight in weights]
        return [
            _step(weight, contents, found, layout, hints)
            if _there(found, contents)
            else _left(weight, "not in the source")
            for weight, found in zip(weights, candidates, strict=True)
        ]
    by_rule = wanted(weights, rules, layout)
    steps = []
    for weight in weights:
        found = by_rule.get(weight.path)
        if found is None:
            steps.append(_left(weight, "by rule" if weight.path in by_rule else "no rule"))
        else:
            steps.append(_step(weight, contents, found, layout, hints))
    return steps


def _left(weight: ModelWeight, reason: str) -> Step:
    return Step(weight, LoadedWeight(weight.path, weight.shape, weight.dtype, reason=reason))


def _there(candidates: Sequence[Candidate], contents: Mapping[str, Stored]) -> Candidate | None:
    return next((candidate for candidate in candidates if contents.keys() >= set(candidate.names)), None)


def _step(
    weight: ModelWeight,
    contents: Mapping[str, Stored],
    candidates: Sequence[Candidate],
    layout: Layout,
    hints: Iterator[int],
) -> Step:
    row = LoadedWeight(weight.path, weight.shape, weight.dtype)
    candidate = _there(candidates, contents)
    if candidate is None:
        return Step(weight, dataclasses.replace(row, problem=_missing(candidates, contents, hints)))
    stored = [contents[name] for name in candidate.names]
    row = dataclasses.replace(row, names=candidate.names, source_shape=stored[0].shape)
    for array in stored:
        if not _can_be_cast(array, weight):
            return Step(weight, dataclasses.replace(row, problem=f"cannot cast {array.dtype} to {weight.dtype}"))
    if callable(candidate.part):
        return _by_function(weight, row, stored[0], candidate.part)
    if candidate.third is not None and math.prod(stored[0].shape[:1]) % 3:
        return Step(weight, dataclasses.replace(row, problem=f"the shape {stored[0].shape} has no thirds"))
    return _arranged(weight, row, stored, _index(candidate, stored[0].shape), layout)


def _can_be_cast(array: Stored, weight: ModelWeight) -> bool:
    return array.dtype == weight.dtype or {array.dtype, weight.dtype} <= set(DTYPES)


def _missing(candidates: Sequence[Candidate], contents: Mapping[str, Stored], hints: Iterator[int]) -> str:
    names = [" and ".join(map(repr, candidate.names)) for candidate in candidates]
    is_told = next(hints, None) is not None
    close = difflib.get_close_matches(candidates[-1].names[0], contents, cutoff=0.5) if is_told else []
    similar = f"; close matches are {', '.join(map(repr, close))}" if close else ""
    return f"no array {' or '.join(dict.fromkeys(names))}{similar}"


def _by_function(weight: ModelWeight, row: LoadedWeight, stored: Stored, function: Callable[[Array], Any]) -> Step:
    made = in_memory(function(stored.read()))
    if made.shape != weight.shape:
        return Step(weight, dataclasses.replace(row, problem=f"the function returns shape {made.shape}"))
    if not _can_be_cast(made, weight):
        return Step(weight, dataclasses.replace(row, problem=f"the function returns {made.dtype}"))
    change = f"{getattr(function, '__name__', type(function).__name__)}()"
    return Step(weight, dataclasses.replace(row, change=change), lambda: made.read().astype(weight.dtype))


def _index(candidate: Candidate, shape: Shape) -> Any:
    if candidate.third is None:
        return candidate.part
    length = shape[0] // 3
    return slice(candidate.third * length, (candidate.third + 1) * length)


def _arranged(weight: ModelWeight, row: LoadedWeight, stored: Sequence[Stored], index: Any, layout: Layout) -> Step:
    shapes = [array.shape for array in stored]
    if index is not None:
        try:
            # Arrays of these shapes that take no memory.
            shapes = [np.broadcast_to(np.int8(0), shape)[index].shape for shape in shapes]
        except (IndexError, TypeError) as error:
            return Step(weight, dataclasses.replace(row, problem=f"no part {_text(index)}: {error}"))
    ways = arrangements(weight, layout)
    way = next((way for way in ways if way.fits(shapes)), None)
    if way is None:
        return Step(weight, dataclasses.replace(row, problem=_misfit(weight, shapes, [way.source for way in ways])))

    def make() -> Array:
        arrays = [array.read() for array in stored]
        parts = arrays if index is None else [array[index] for array in arrays]
        return np.asarray(way.apply([part.astype(weight.dtype) for part in parts], weight.shape), order="C")

    steps = [_text(index) if index is not None else "", way.description(shapes, weight.shape)]
    return Step(weight, dataclasses.replace(row, change=", ".join(filter(None, steps))), make)


def _misfit(weight: ModelWeight, shapes: Sequence[Shape], expected: Sequence[Shape]) -> str:
    if not expected:
        return (
            f"the order of axes of a {type(weight.layer).__name__} in torch is unknown; pass a function of the array, "
            "as in `(name, function)`"
        )
    return f"the shape is {' and '.join(map(str, shapes))} instead of {' or '.join(map(str, expected))}"


def _text(index: Any) -> str:
    """Return an index as source text."""

    def part(value: Any) -> str:
        if not isinstance(value, slice):
            return "..." if value is ... else str(value)
        ends = ["" if end is None else str(end) for end in (value.start, value.stop)]
        return ":".join(ends if value.step is None else [*ends, str(value.step)])

    return f"[{', '.join(map(part, index if isinstance(index, tuple) else (index,)))}]"
