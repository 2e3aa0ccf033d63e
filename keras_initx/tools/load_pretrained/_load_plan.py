"""Plan a load: the array and the conversion for each weight, and what a load does with it.

head/kernel  "fc.weight"   Outcome.LOADED    transposed
head/bias    "fc.bias"     Outcome.MISSING   no array 'fc.bias'
stem/kernel  None          Outcome.SKIPPED   None in names
"""

import enum
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from keras_initx._checks import LISTED, suggest_matches, truncate
from keras_initx.checkpoints._keras_names import keras_names_by_path, source_names_by_path
from keras_initx.checkpoints._sources import LayoutName, choose_layout
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray
from keras_initx.files._resizing import Resizing
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._pairing import Pairs
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.load_pretrained._array_names import (
    Candidate,
    NamesDict,
    find_candidates,
    serialize_names,
)
from keras_initx.tools.load_pretrained._conversion import MismatchError, convert, take_part
from keras_initx.tools.load_pretrained._differences import Differences
from keras_initx.tools.load_pretrained._layouts import find_fitting_layouts
from keras_initx.tools.load_pretrained._load_report import LoadedWeight, LoadReport
from keras_initx.tools.load_pretrained._parametrized import (
    Parametrized,
    find_parametrized,
    is_member_name,
)


class Outcome(enum.Enum):
    """What a load does with a weight."""

    LOADED = "it gets an array"
    SKIPPED = "`names` says `None` for it, so it keeps its values"
    NOT_NAMED = "no pattern of `names` matches it, so it keeps its values"
    NOT_IN_SOURCE = "the source has no array for it, so it keeps its values"
    MISSING = "a pattern of `names` names an array that the source does not have"
    MISMATCH = "its array cannot be converted to its values"

    @property
    def status(self) -> str:
        """The word for it in the row of the report."""
        if self is Outcome.LOADED:
            return "loaded"
        return "error" if self in (Outcome.MISSING, Outcome.MISMATCH) else "left"


class Assignment(NamedTuple):
    """A weight and its new values.

    Attributes:
        weight: The weight.
        outcome: What a load does with it.
        row: Its row in the result.
        array: Its new values, or `None` if it keeps its values.
    """

    weight: ModelWeight
    outcome: Outcome
    row: LoadedWeight
    array: LazyArray | None = None

    @property
    def is_skipped(self) -> bool:
        """Whether `names` says `None` for it."""
        return self.outcome is Outcome.SKIPPED


def _assign(
    weight: ModelWeight,
    outcome: Outcome,
    detail: str,
    *,
    sources: tuple[str, ...] = (),
    stored: Sequence[LazyArray] = (),
    array: LazyArray | None = None,
) -> Assignment:
    """Make the assignment of a weight, with its row.

    Args:
        weight: The weight.
        outcome: What a load does with it.
        detail: The conversions of its array, or the reason why it is not loaded.
        sources: The names of the arrays in the source.
        stored: The arrays that are converted.
        array: Its new values.
    """
    size = math.prod(weight.shape)
    row = LoadedWeight(
        weight.shown,
        outcome.status,
        detail,
        weight.shape,
        weight.dtype,
        size,
        changed=size if outcome is Outcome.LOADED else 0,
        sources=sources,
        source_shape=stored[0].shape if stored else None,
    )
    return Assignment(weight, outcome, row, array)


class LoadPlan(NamedTuple):
    """The plan of a load.

    Attributes:
        steps: An assignment for each weight.
        chosen: The candidates that the source has, by the paths of weights.
        differences: The differences between the model and torch, if torch is the layout.
        own: The pairs of weights and arrays by their own names, with notes and reasons; empty if
            `names` decides.
        layout: The layout of the source.
        report: The report of a load.
    """

    steps: list[Assignment]
    chosen: dict[str, Candidate | None]
    differences: Differences | None
    own: Pairs
    layout: LayoutName
    report: LoadReport


@dataclass(frozen=True)
class _Arrays:
    """The arrays of a source.

    Attributes:
        available: The arrays by their names, and weights that are computed from them.
        parametrized: The weights that are several arrays, by their names.
    """

    available: Mapping[str, LazyArray]
    parametrized: Mapping[str, Parametrized]


def plan_load(
    inventory: Inventory,
    contents: Contents,
    own_layout: LayoutName | None,
    names: NamesDict | None,
    layout: LayoutName | None,
    kinds: Mapping[str, Resizing],
    parametrized: Mapping[str, Parametrized] | None = None,
) -> LoadPlan:
    """Plan the array and the conversion for each weight. Mismatches are in the report.

    Args:
        inventory: The layers and weights of the model.
        contents: The arrays of the source.
        own_layout: The certain layout of the source, `None` if it may have any.
        names: See `load_pretrained`.
        layout: See `load_pretrained`.
        kinds: The kinds of `resize`, by the paths of weights.
        parametrized: The weights that the source has as several arrays, by default those that
            `find_parametrized` finds.
    """
    weights = inventory.weights_and_buffers
    chosen_layout = choose_layout(layout, own_layout)
    saved = keras_names_by_path(contents, inventory)
    own = source_names_by_path(contents, inventory).worded("the source")
    is_of_keras = own_layout == "keras" or bool(contents.layers)
    candidates = find_candidates(weights, names, chosen_layout, saved, own, is_of_keras=is_of_keras)
    differences = Differences(inventory.model) if chosen_layout == "torch" else None
    if parametrized is None:
        parametrized = {} if is_of_keras else find_parametrized(contents)
    arrays = _list_arrays(contents, parametrized)
    chosen = _choose_candidates(candidates, arrays)
    required_names: list[str] | None = None
    if names is not None:
        all_names = map(str, (*arrays.available, *saved))
        required_names = [name for name in all_names if not is_member_name(name)]
    pairs = own if names is None else Pairs()
    planner = _Planner(arrays, candidates, chosen, kinds, differences, pairs, required_names)
    steps = [planner.plan(weight) for weight in weights]
    if own_layout is None:
        # Also arrays of weights that are not loaded show the layout of the source.
        by_own_names = find_candidates(weights, None, chosen_layout, saved, own)
        for path, by_own_name in by_own_names.items():
            chosen.setdefault(path, _find_stored(by_own_name or [], arrays.available))
        steps = _refuse_other_layout(steps, arrays.available, chosen, chosen_layout)
    report = LoadReport(
        [step.row for step in steps],
        unused=_list_unused(steps, contents),
        notes=[
            *_note_shared_arrays(steps, chosen),
            *_note_recurrent_modules(steps, chosen),
            *_note_reasons(steps, pairs),
            *pairs.remarks,
            *inventory.note_unbuilt(),
        ],
        names=serialize_names(names),
        layout=chosen_layout,
    )
    return LoadPlan(steps, chosen, differences, pairs, chosen_layout, report)


def _list_arrays(contents: Contents, parametrized: Mapping[str, Parametrized]) -> _Arrays:
    available = {**contents}
    for weight in parametrized.values():
        if weight.array is not None:
            available[weight.name] = weight.array
    return _Arrays(available, parametrized)


def _list_unused(steps: Iterable[Assignment], contents: Contents) -> dict[str, Any]:
    used: set[str] = set()
    for step in steps:
        used.update(step.row.sources)
    return {str(name): array.shape for name, array in contents.items() if name not in used}


class _Planner:
    """Plans an assignment for each weight.

    Args:
        arrays: The arrays of the source.
        candidates_by_path: The candidates of weights, `None` for a weight that is skipped.
        chosen: The candidates that the source has.
        kinds: The kinds of `resize`, by the paths of weights.
        differences: The differences between the model and torch, if torch is the layout.
        own: The pairs by own names, with notes and reasons.
        required_names: The names in the source, if `names` is passed: then each weight that a
            pattern covers must have one of them.
    """

    def __init__(
        self,
        arrays: _Arrays,
        candidates_by_path: Mapping[str, list[Candidate] | None],
        chosen: Mapping[str, Candidate | None],
        kinds: Mapping[str, Resizing],
        differences: Differences | None,
        own: Pairs,
        required_names: Sequence[str] | None,
    ) -> None:
        self._arrays = arrays
        self._candidates_by_path = candidates_by_path
        self._chosen = chosen
        self._kinds = kinds
        self._differences = differences
        self._own = own
        self._required_names = required_names
        self._missing_count = 0

    def plan(self, weight: ModelWeight) -> Assignment:
        """Plan the assignment of a weight. A mismatch is reported in its row."""
        candidate = self._chosen.get(weight.path)
        if candidate is not None:
            return self._plan_with_array(weight, candidate)
        return self._plan_without_array(weight)

    def _plan_with_array(self, weight: ModelWeight, candidate: Candidate) -> Assignment:
        problem = _find_problem(candidate, self._arrays.parametrized)
        if problem is not None:
            return _assign(weight, Outcome.MISMATCH, problem)
        stored = [self._arrays.available[name] for name in candidate.names]
        sources = _list_stored_names(candidate, self._arrays.parametrized)
        try:
            kind = self._kinds.get(weight.path)
            array = convert(weight, candidate, stored, kind, self._differences)
        except MismatchError as mismatch:
            problem = str(mismatch)
            return _assign(weight, Outcome.MISMATCH, problem, sources=sources, stored=stored)
        if weight.path in self._own.notes:
            array = array.noted(self._own.notes[weight.path])
        detail = ", ".join(array.how)
        return _assign(weight, Outcome.LOADED, detail, sources=sources, stored=stored, array=array)

    def _plan_without_array(self, weight: ModelWeight) -> Assignment:
        candidates = self._candidates_by_path.get(weight.path)
        if candidates is None and weight.path in self._candidates_by_path:
            return _assign(weight, Outcome.SKIPPED, "None in names")
        if candidates is None:
            return _assign(weight, Outcome.NOT_NAMED, "not in names")
        if self._required_names is None or weight.kind == "counter":
            reason = self._own.reasons.get(weight.path, "not in the source")
            return _assign(weight, Outcome.NOT_IN_SOURCE, reason)
        self._missing_count += 1
        # Comparing all names with all others would be slow.
        compared = self._required_names if self._missing_count <= LISTED else ()
        return _assign(weight, Outcome.MISSING, _explain_missing(candidates, compared))


def _refuse_other_layout(
    steps: Sequence[Assignment],
    available: Mapping[str, LazyArray],
    chosen: Mapping[str, Candidate | None],
    layout: LayoutName,
) -> list[Assignment]:
    """Turn assignments into errors if arrays show that the source has the other layout.

    A square kernel has the same shape in both. So the others decide, also those that are not
    loaded.

    Args:
        steps: The assignments.
        available: The arrays of the source, and arrays computed from them.
        chosen: The candidates that the source has, also of weights that are not loaded.
        layout: The layout that was passed.
    """
    fit_only: dict[str, list[str]] = {"torch": [], "keras": []}
    layouts_by_path: dict[str, list[LayoutName]] = {}
    for step in steps:
        path = step.weight.path
        candidate = chosen.get(path)
        if candidate is None or any(name not in available for name in candidate.names):
            continue
        if callable(candidate.part) or candidate.is_joined or len(step.weight.shape) < 2:
            continue
        arrays = [available[name] for name in candidate.names]
        try:
            parts = [take_part(array, candidate) for array in arrays]
        except MismatchError:
            continue
        layouts_by_path[path] = find_fitting_layouts(step.weight, parts)
        if len(layouts_by_path[path]) == 1:
            fit_only[layouts_by_path[path][0]].append(f"{candidate.names[0]!r} {arrays[0].shape}")
    other = "keras" if layout == "torch" else "torch"
    if fit_only[layout] or not fit_only[other]:
        return list(steps)
    name = {"keras": "Keras", "torch": "torch"}[other]
    how = f"{fit_only[other][0]} fits only in the layout of {name}: pass layout={other!r}"
    refused = []
    for step in steps:
        row = step.row
        if row.sources and layouts_by_path.get(step.weight.path):
            reason = f"{row.detail}; {how}" if row.status == "error" else how
            row = replace(row, status="error", detail=reason, changed=0)
            step = step._replace(outcome=Outcome.MISMATCH, row=row)
        refused.append(step)
    return refused


def _note_shared_arrays(
    steps: Sequence[Assignment], chosen: Mapping[str, Candidate | None]
) -> list[str]:
    """Note arrays that several weights get, unless each weight has its own pattern."""
    paths_by_array: dict[str, list[str]] = {}
    have_own_patterns: dict[str, bool] = {}
    for step in steps:
        used = chosen.get(step.weight.path)
        if step.array is None or used is None:
            continue
        # Query, key and value get different thirds of one array.
        third = "" if used.third is None else f" [{used.third} of 3]"
        array = f"{' + '.join(used.names)}{third}"
        paths_by_array.setdefault(array, []).append(step.row.path)
        are_meant = have_own_patterns.get(array, True)
        have_own_patterns[array] = are_meant and used.has_own_pattern
    shared = []
    for array, paths in paths_by_array.items():
        if len(paths) > 1 and not have_own_patterns[array]:
            shared.append(f"{array} ({', '.join(paths)})")
    if not shared:
        return []
    return [
        f"Several weights get one array: {truncate(shared)}. Remedy: if this is not meant, name an "
        "array for each weight in `names`."
    ]


def _note_recurrent_modules(
    steps: Sequence[Assignment], chosen: Mapping[str, Candidate | None]
) -> list[str]:
    used = [chosen.get(step.weight.path) for step in steps if step.array is not None]
    notes = [candidate.note for candidate in used if candidate is not None and candidate.note]
    return list(dict.fromkeys(notes))


def _note_reasons(steps: Sequence[Assignment], own: Pairs) -> list[str]:
    """Note each reason why weights have no array under their own names, with these weights."""
    paths_by_reason: dict[str, list[str]] = {}
    for step in steps:
        reason = own.reasons.get(step.weight.path)
        if reason is not None and not step.row.sources:
            paths_by_reason.setdefault(reason, []).append(step.row.path)
    notes = []
    for reason, paths in paths_by_reason.items():
        notes.append(
            f"Left unchanged because of {reason}: {truncate(paths)}. Remedy: name their arrays in "
            "`names`."
        )
    return notes


def _choose_candidates(
    candidates_by_path: Mapping[str, list[Candidate] | None],
    arrays: _Arrays,
) -> dict[str, Candidate | None]:
    """Choose the first candidate of each weight that the source has, or has as several arrays.

    The name of a member, such as `fc.weight_v`, means the whole weight, unless a weight of the
    model uses another member by its own name.
    """
    names = {**arrays.available, **arrays.parametrized}
    chosen = {
        path: _find_stored(candidates, names)
        for path, candidates in candidates_by_path.items()
        if candidates
    }
    used: set[str] = set()
    for candidate in chosen.values():
        if candidate is not None:
            used.update(candidate.names)
    weight_by_member = {}
    for weight in arrays.parametrized.values():
        for member in weight.members if weight.problem else weight.members[:1]:
            if used.isdisjoint(set(weight.members) - {member}):
                weight_by_member[member] = weight.name
    for path, candidate in chosen.items():
        if candidate is not None and not callable(candidate.part):
            whole_weights = tuple(weight_by_member.get(name, name) for name in candidate.names)
            chosen[path] = replace(candidate, names=whole_weights)
    return chosen


def _find_stored(candidates: Sequence[Candidate], names: Mapping[str, Any]) -> Candidate | None:
    for candidate in candidates:
        if all(name in names for name in candidate.names):
            return candidate
    return None


def _find_problem(candidate: Candidate, parametrized: Mapping[str, Parametrized]) -> str | None:
    # The reason why an array of the candidate cannot be computed.
    for name in candidate.names:
        if name in parametrized and parametrized[name].problem:
            return parametrized[name].problem
    return None


def _list_stored_names(
    candidate: Candidate, parametrized: Mapping[str, Parametrized]
) -> tuple[str, ...]:
    names: list[str] = []
    for name in candidate.names:
        names += parametrized[name].members if name in parametrized else [name]
    return tuple(names)


def _explain_missing(candidates: Sequence[Candidate], stored_names: Iterable[str]) -> str:
    names = dict.fromkeys(" and ".join(map(repr, candidate.names)) for candidate in candidates)
    # A bias is no match for a kernel.
    endings = {_last_name(candidate.names[0]) for candidate in candidates}
    with_ending = [name for name in stored_names if _last_name(name) in endings]
    hint = suggest_matches(candidates[-1].names[0], with_ending or stored_names)
    return f"no array {' or '.join(names)}{hint}"


def _last_name(name: str) -> str:
    return re.split("[/.]", name.removesuffix(":0"))[-1]
