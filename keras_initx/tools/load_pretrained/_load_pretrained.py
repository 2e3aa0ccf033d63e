"""Load the weights of a whole model from arrays with other names and layouts."""

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._checks import LISTED, check_flag, suggest_matches, truncate
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.checkpoints._keras_names import (
    keras_names_by_path,
    source_names_by_path,
)
from keras_initx.checkpoints._sources import (
    LayoutName,
    Source,
    are_in_memory,
    choose_layout,
    copy_shared,
    is_torch_module,
    open_source,
    read_module,
    to_lazy,
)
from keras_initx.files._casts import can_be_cast, cast
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray, Selection, format_index
from keras_initx.files._resizing import Grid, Resizing
from keras_initx.inspection._inventory import Inventory, checked_inventory
from keras_initx.inspection._kernels import SECOND_FACTORS
from keras_initx.inspection._pairing import Pairs
from keras_initx.inspection._unwritten_mark import count_unwritten
from keras_initx.inspection._weights import ModelWeight
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.sampling._namespace import HOST
from keras_initx.tools.initialize._assign import refresh_normalizations, undo_after_error
from keras_initx.tools.load_pretrained._array_names import (
    Candidate,
    NamesDict,
    find_candidates,
    serialize_names,
)
from keras_initx.tools.load_pretrained._layouts import (
    UnknownOrderError,
    convert_from_keras,
    convert_from_torch,
    find_fitting_layouts,
    join_units,
)
from keras_initx.tools.load_pretrained._load_report import LoadedWeight, LoadReport
from keras_initx.tools.load_pretrained._resize import ResizeRules, fit_to_weight, match_kinds
from keras_initx.tools.load_pretrained._row_orders import Differences

# Weights that torch computes of several arrays, its *members*:
#
#     fc.weight_g, fc.weight_v                            weight normalization
#     fc.parametrizations.weight.original0, .original1    the same since torch 2.0
#     fc.weight_orig, fc.weight_mask                      pruning, which is refused
#     fc.weight_orig, fc.weight_u, fc.weight_v            spectral normalization, which is refused
#
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


@shorten_signature
@takes_verbose
def load_pretrained(
    model: keras.Model,
    source: Source,
    names: NamesDict | None = None,
    *,
    layout: LayoutName | None = None,
    resize: ResizeRules | None = None,
    atomic: bool = True,
    dry_run: bool = False,
    verbose: Verbose = "auto",
) -> LoadReport:
    """Load the weights of a built model from arrays with other names, layouts or shapes.

    Use it for a file, another model or a module of torch. First pass
    `dry_run=True`. Each row of the plan then shows you the array of a weight, and its conversion.

    Without `names`, each weight gets the array with its own path. Layers with automatic names, such
    as `dense_1`, are paired by their position among the layers of their class. A weight without an
    array keeps its values, and its row gives the reason.

    All names, shapes and dtypes are checked before the model changes. Values are cast to the dtype
    of the weight, once. Only the arrays that are used are read, one at a time.

    The page "Initialize from a checkpoint" explains patterns, layouts, and the conversions from
    torch: recurrent modules, attention, weight normalization and flattened images.

    Args:
        model: A built model.
        source: The arrays, a `Source`. Nothing is unpickled. One of:

            - a file: `.safetensors`, `.npz`, `.h5`, `.hdf5` or `.keras`,
            - the index of several files: `model.safetensors.index.json` or `.weights.json`,
            - a folder with such an index or with `.safetensors` files, or a list of files,
            - another Keras model, or a module of torch,
            - a dict from names to arrays or tensors, such as a `state_dict()`.
        names: Dict from patterns of paths to names, a `NamesDict`. The patterns have the form of
            `initialize`. The first that matches counts, and `{0}` is the text of the first `*`. A
            value is one of:

            - a name of an array, or of a module for the weights of a layer,
            - a list of such names, whose arrays lie side by side along the units,
            - `(name, index)`: a part of an array, such as `numpy.s_[:64]`,
            - `(name, function)`: the function takes the array and returns the weight,
            - `(name, function, inverse)`: the same, for `save_pretrained`,
            - `None`: the weights keep their values.
        layout: The order of axes in the source, a `LayoutName`. A model or a file of Keras and a
            module of torch need none. One of:

            - `"torch"`: axes, gates and flattened images are converted for your layers,
            - `"keras"`: the order is kept.
        resize: Dict from patterns of paths to the kind of change, `ResizeRules`, if shapes may
            differ. A kind is one of:

            - `"channels"`, `"rows"`, `"units"`,
            - `Channels`, `Rows`, `Units` or `Grid` of `keras_initx.types`.
        atomic: If true, your model is as before after an error or an interruption. The former
            values then take as much memory as the weights. If false, a note of the exception says
            how many weights have new values.
        dry_run: If true, only return the plan and do not change the model. Missing names and shapes
            that do not fit are then reported in the plan instead of raising an error.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        A `LoadReport` with a row for each weight, and the unused arrays. The rows have the names of
        the arrays as `sources`, and how they were converted. The summary names arrays that several
        weights get, unless each has a pattern of its own.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, a pattern matches nothing, or no weight has an array;
            if an array does not exist, does not fit, or has a finite number beyond the range of its
            weight; if the layout is unknown, or the source has another layout; if a file cannot be
            read, or two files have arrays of one name; if one of the models has trained factors of
            LoRA, which Keras merges when it saves; or if other processes hold parts of a source
            model on JAX.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> state = {"fc.weight": np.array([[1, 2, 3], [4, 5, 6.0]]), "fc.bias": np.zeros(2)}
        >>> plan = load_pretrained(model, state, {"dense": "fc"}, layout="torch")
        >>> keras.ops.convert_to_numpy(model.layers[0].kernel).tolist()
        [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]

    See Also:
        `save_pretrained` for the way back, and `compare_outputs` to check that outputs are equal.
    """
    inventory = checked_inventory("model", model)
    check_flag("atomic", atomic)
    check_flag("dry_run", dry_run)
    _check_adapters("model", inventory)
    opened: Any = source  # `open_source` checks its type
    if isinstance(source, keras.Model):
        opened = checked_inventory("source", source)
        _check_adapters("source", opened)
    elif is_torch_module(source):
        opened, layout = read_module(source, layout)
    kinds = match_kinds(resize, inventory.weights_and_buffers)
    with open_source(opened) as (contents, own_layout):
        plan = plan_load(inventory, contents, own_layout, names, layout, kinds)
        report = replace(plan.report, dry_run=dry_run)
        if dry_run:
            return report
        _check_can_load(report, plan.own)
        used = {name for row in report.rows for name in row.sources}
        copy_shared([contents[name] for name in used], inventory.weights_and_buffers)
        _assign_values(plan.steps, contents, atomic)
    return report


class LoadPlan(NamedTuple):
    """The plan of a load.

    Attributes:
        steps: An assignment for each weight.
        chosen: The candidates that the source has, by the paths of weights.
        differences: The differences between the model and torch, if torch is the layout.
        own: The pairs of weights and arrays by their own names, with notes and reasons; empty if
            `names` decides.
        skipped: The paths of the weights that `names` maps to `None`.
        layout: The layout of the source.
        report: The report of a load.
    """

    steps: list["Assignment"]
    chosen: dict[str, Candidate | None]
    differences: Differences | None
    own: Pairs
    skipped: set[str]
    layout: LayoutName
    report: LoadReport


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
    available = {**contents}
    for weight in parametrized.values():
        if weight.array is not None:
            available[weight.name] = weight.array
    chosen = _choose_candidates(candidates, available, parametrized)
    required_names: list[str] | None = None
    if names is not None:
        all_names = map(str, (*available, *saved))
        required_names = [name for name in all_names if not is_member_name(name)]
    pairs = own if names is None else Pairs()
    steps = _plan_assignments(
        weights,
        available,
        parametrized,
        candidates,
        chosen,
        kinds,
        differences,
        pairs,
        required_names,
    )
    if own_layout is None:
        # Also arrays of weights that are not loaded show the layout of the source.
        by_own_names = find_candidates(weights, None, chosen_layout, saved, own)
        for path, by_own_name in by_own_names.items():
            chosen.setdefault(path, _find_stored(by_own_name or [], available))
        steps = _refuse_other_layout(steps, available, chosen, chosen_layout)
    used: set[str] = set()
    for step in steps:
        used.update(step.row.sources)
    unused = {str(name): array.shape for name, array in contents.items() if name not in used}
    notes = [
        *_note_shared_arrays(steps, chosen),
        *_note_recurrent_modules(steps, chosen),
        *_note_reasons(steps, pairs),
        *pairs.remarks,
        *inventory.note_unbuilt(),
    ]
    rows = [step.row for step in steps]
    report = LoadReport(
        rows, unused=unused, notes=notes, names=serialize_names(names), layout=chosen_layout
    )
    skipped = {path for path, of_weight in candidates.items() if of_weight is None}
    return LoadPlan(steps, chosen, differences, pairs, skipped, chosen_layout, report)


def _check_adapters(name: str, inventory: Inventory) -> None:
    """Raise `ValueError` if layers of a model add factors of adapters, which would be lost."""
    for weight in inventory.weights:
        value = weight.variable.value
        if weight.name not in SECOND_FACTORS or count_unwritten(value).unwritten:
            continue
        enabled = [getattr(weight.layer, f"{kind}_enabled", False) for kind in ("lora", "dora")]
        if any(enabled) and backend.has_nonzero(value):
            raise ValueError(
                f"`{name}` must not have trained factors of LoRA or DoRA, without which its "
                "kernels have other values: save it with Keras, which merges them, and pass the "
                f"model that it loads. Received: {name}={show(inventory.model.name)} with "
                f"{show(weight.path)}"
            )


def _note_shared_arrays(
    steps: Sequence["Assignment"], chosen: Mapping[str, Candidate | None]
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
    steps: Sequence["Assignment"], chosen: Mapping[str, Candidate | None]
) -> list[str]:
    used = [chosen.get(step.weight.path) for step in steps if step.array is not None]
    notes = [candidate.note for candidate in used if candidate is not None and candidate.note]
    return list(dict.fromkeys(notes))


def _note_reasons(steps: Sequence["Assignment"], own: Pairs) -> list[str]:
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


class Assignment(NamedTuple):
    """A weight and its new values.

    Attributes:
        weight: The weight.
        row: Its row in the result.
        array: Its new values, or `None` if it keeps its values.
        is_skipped: Whether `names` say `None` for it.
    """

    weight: ModelWeight
    row: LoadedWeight
    array: LazyArray | None = None
    is_skipped: bool = False


def _plan_assignments(
    weights: Sequence[ModelWeight],
    available: Mapping[str, LazyArray],
    parametrized: Mapping[str, Parametrized],
    candidates_by_path: Mapping[str, list[Candidate] | None],
    chosen: Mapping[str, Candidate | None],
    kinds: Mapping[str, Resizing],
    differences: Differences | None,
    own: Pairs,
    required_names: Sequence[str] | None,
) -> list[Assignment]:
    """Plan an assignment for each weight. Mismatches are reported in its row.

    Args:
        weights: The weights.
        available: The arrays of the source, and arrays computed from them.
        parametrized: The weights that the source has as several arrays.
        candidates_by_path: The candidates of weights, `None` for a weight that is skipped.
        chosen: The candidates that the source has.
        kinds: The kinds of `resize`, by the paths of weights.
        differences: The differences between the model and torch, if torch is the layout.
        own: The pairs by own names, with notes and reasons.
        required_names: The names in the source, if `names` is passed: then each weight that a
            pattern covers must have one of them.
    """
    steps = []
    missing_count = 0
    for weight in weights:
        size = math.prod(weight.shape)
        row = LoadedWeight(weight.shown, "left", "", weight.shape, weight.dtype, size, changed=0)
        array = None
        candidates = candidates_by_path.get(weight.path)
        is_skipped = candidates is None and weight.path in candidates_by_path
        candidate = chosen.get(weight.path)
        problem = None if candidate is None else _find_problem(candidate, parametrized)
        if problem is not None:
            row = replace(row, status="error", detail=problem)
        elif candidate is not None:
            stored = [available[name] for name in candidate.names]
            sources = _list_stored_names(candidate, parametrized)
            row = replace(row, sources=sources, source_shape=stored[0].shape)
            try:
                kind = kinds.get(weight.path)
                array = _convert(weight, candidate, stored, kind, differences)
                if weight.path in own.notes:
                    array = array.noted(own.notes[weight.path])
                row = replace(row, status="loaded", detail=", ".join(array.how), changed=size)
            except _MismatchError as mismatch:
                row = replace(row, status="error", detail=str(mismatch))
        elif candidates is None:
            row = replace(row, detail="None in names" if is_skipped else "not in names")
        elif required_names is None or weight.kind == "counter":
            row = replace(row, detail=own.reasons.get(weight.path, "not in the source"))
        else:
            missing_count += 1
            # Comparing all names with all others would be slow.
            compared = required_names if missing_count <= LISTED else ()
            row = replace(row, status="error", detail=_explain_missing(candidates, compared))
        steps.append(Assignment(weight, row, array, is_skipped))
    return steps


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
            parts = [_take_part(array, candidate) for array in arrays]
        except _MismatchError:
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
        refused.append(step._replace(row=row))
    return refused


def _choose_candidates(
    candidates_by_path: Mapping[str, list[Candidate] | None],
    available: Mapping[str, LazyArray],
    parametrized: Mapping[str, Parametrized],
) -> dict[str, Candidate | None]:
    """Choose the first candidate of each weight that the source has, or has as several arrays.

    The name of a member, such as `fc.weight_v`, means the whole weight, unless a weight of the
    model uses another member by its own name.
    """
    names = {**available, **parametrized}
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
    for weight in parametrized.values():
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


def _check_can_load(report: LoadReport, own: Pairs) -> None:
    """Raise `ValueError` if an array is missing or does not fit, or if no weight has an array.

    If the names of the weights find no arrays, the report has the reasons instead.
    """
    if report.problems:
        raise ValueError(
            "`source` must have an array for each weight that is to be loaded. Received: "
            f"{truncate([problem.text for problem in report.problems], '; ')}"
        )
    if not any(row.sources for row in report.rows) and not own.reasons:
        paths = [repr(row.path) for row in report.rows]
        names = [repr(name) for name in report.unused]
        raise ValueError(
            "`names` must map weights to arrays, because no array has the name of a weight. "
            f"Received: weights {truncate(paths)}; arrays {truncate(names)}"
            f"{suggest_names({row.path: row.shape or () for row in report.rows}, report.unused)}"
        )


# Layers of which you see at a glance that none is missing.
_FEW = 4


def suggest_names(ours: Mapping[str, Shape], arrays: Mapping[str, Shape]) -> str:
    """Return the end of a message about other names: a mapping to copy, if the sizes allow one.

    The layers of both are taken in their order, each with the sizes of its weights.

    Args:
        ours: The shapes of the weights by their paths.
        arrays: The shapes of the arrays by their names.
    """
    # torch counts the batches that a normalization has seen.
    theirs = {name: shape for name, shape in arrays.items() if shape or "." not in name}
    sizes = sorted(math.prod(shape) for shape in ours.values())
    if not sizes or sizes != sorted(math.prod(shape) for shape in theirs.values()):
        return ""
    layers, modules = _group_sizes(ours), _group_sizes(theirs)
    if list(layers.values()) != list(modules.values()):
        return "; they have the same sizes, so perhaps only their names differ"
    names = dict(zip(layers, modules, strict=True))
    hint = f"; if their order is the same, pass names={names}"
    if len(names) > _FEW:
        hint += ". A pattern names several, such as {'block_*': 'blocks.{0}'}"
    return hint


def _group_sizes(shapes: Mapping[str, Shape]) -> dict[str, list[int]]:
    """Return the sizes of the weights of each layer or module, sorted."""
    sizes: dict[str, list[int]] = {}
    for name, shape in shapes.items():
        layer = re.sub("[/.][^/.]*$", "", name)
        sizes.setdefault(layer, []).append(math.prod(shape))
    return {layer: sorted(of_layer) for layer, of_layer in sizes.items()}


def _assign_values(steps: Sequence[Assignment], contents: Contents, atomic: bool) -> None:
    """Read the new values of each weight and assign them."""
    with (
        undo_after_error(atomic) as assign,
        show_progress("Loading weights", len(steps), "weights") as advance,
    ):
        for step in steps:
            if step.array is not None:
                arrays = [contents[name] for name in step.row.sources]
                value = _make_value(step, step.array, are_in_memory(arrays))
                assign(step.weight.variable, value)
                del value  # before the next one takes its memory
            advance(1)
        refresh_normalizations(step.weight.layer for step in steps if step.array is not None)


def _make_value(step: Assignment, array: LazyArray, is_in_memory: bool) -> Tensor:
    """Make the new value of a weight, distributed over devices like its present value."""
    # The dtype that the weight has on this backend.
    dtype = backend.available_dtype(step.weight.dtype)

    def read(region: Selection) -> Array:
        values = array.read(region)
        try:
            values = cast(values, dtype, copy=False)
        except OverflowError as error:
            names = " + ".join(map(repr, step.row.sources))
            raise ValueError(
                "`source` must have numbers that the weights can hold. "
                f"Received: {names} for {show(step.row.path)}, with {error}"
            ) from None
        # A backend may take over the memory of what it gets.
        copy = HOST.empty(values.shape, values.dtype)
        np.copyto(copy, values)
        return copy

    layout = backend.layout_of(step.weight.variable.value)
    if layout is None:
        return backend.to_tensor(read(...))
    if is_in_memory:
        # Arrays in memory may be spread over devices and processes, so they are read whole, once.
        return backend.placed(read(...).__getitem__, step.weight.shape, layout)
    return backend.placed(read, step.weight.shape, layout)


class _MismatchError(Exception):
    """Raised if arrays cannot be converted to a weight."""


def _convert(
    weight: ModelWeight,
    candidate: Candidate,
    stored: Sequence[LazyArray],
    kind: Resizing | None,
    differences: Differences | None,
) -> LazyArray:
    """Convert arrays to the new values of a weight, when they are read."""
    for name, array in zip(candidate.names, stored, strict=True):
        if not can_be_cast(array.dtype, weight.dtype):
            raise _MismatchError(f"cannot cast {name!r}, {array.dtype}, to {weight.dtype}")
    reordered: set[int] = set()
    if callable(candidate.part):
        parts = [_apply_function(weight, candidate.part, stored[0])]
        convert = functools.partial(_check_returned_shape, parts[0])
    else:
        if candidate.is_joined:
            parts = [_join_units(weight, stored, differences)]
        else:
            parts = [_take_part(array, candidate) for array in stored]
        convert = functools.partial(_convert_layout, weight, parts, differences, kind)
        if differences is not None:
            reordered = differences.list_reordered_axes(weight)
    try:
        return fit_to_weight(weight, kind, convert, math.prod(parts[0].shape), reordered)
    except ValueError as error:
        raise _MismatchError(str(error)) from None


def _convert_layout(
    weight: ModelWeight,
    parts: Sequence[LazyArray],
    differences: Differences | None,
    kind: Resizing | None,
    shape: Shape,
) -> LazyArray:
    if differences is None:
        return convert_from_keras(weight, parts, shape)
    try:
        array = convert_from_torch(weight, parts, shape)
    except UnknownOrderError:
        # A table has its positions in the order of the image in both layouts.
        if not isinstance(kind, Grid):
            raise
        return convert_from_keras(weight, parts, shape)
    return differences.reorder_and_note(weight, array)


def _check_returned_shape(array: LazyArray, shape: Shape) -> LazyArray:
    if array.shape != shape:
        raise ValueError(f"the function returns shape {array.shape}")
    return array


def _join_units(
    weight: ModelWeight, arrays: Sequence[LazyArray], differences: Differences | None
) -> LazyArray:
    try:
        return join_units(weight, arrays, "keras" if differences is None else "torch")
    except ValueError as error:
        raise _MismatchError(str(error)) from None


def _take_part(array: LazyArray, candidate: Candidate) -> LazyArray:
    if candidate.third is not None:
        if math.prod(array.shape[:1]) % 3:
            raise _MismatchError(
                f"the shape {array.shape} cannot be split into query, key and value"
            )
        length = array.shape[0] // 3
        return array.part(np.s_[candidate.third * length : (candidate.third + 1) * length])
    if candidate.part is None:
        return array
    try:
        return array.part(candidate.part)
    except (IndexError, TypeError) as error:
        raise _MismatchError(f"no part {format_index(candidate.part)}: {error}") from None


def _apply_function(
    weight: ModelWeight, function: Callable[[Array], Any], array: LazyArray
) -> LazyArray:
    """Make an array that a user's function computes. Call it once now, as a check."""

    def call() -> LazyArray:
        return to_lazy(function(np.array(array.read(...))))  # a copy, which it may change

    result = call()
    if not can_be_cast(result.dtype, weight.dtype):
        raise _MismatchError(f"the function returns {result.dtype}")
    name = getattr(function, "__name__", type(function).__name__)

    def read(region: Selection) -> Array:
        return call().read(region)  # so that not all results are kept until the end

    return LazyArray(result.shape, result.dtype, read, (f"{name}()",))
