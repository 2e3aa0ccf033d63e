"""Which calls of one model are compared with which of another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from keras_initx._checks import suggest_matches, suggest_paths
from keras_initx.inspection._pairing import Pairs, pair_by_path_or_name
from keras_initx.inspection._patterns import fill_template, find_first_matches, match_pattern
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.compare_outputs._pairs import paired_tensors
from keras_initx.tools.compare_outputs._recorded import CallKey, RecordedCall
from keras_initx.tools.load_pretrained._array_names import (
    NamesDict,
    NamesValue,
    check_names,
    match_weight,
    parse_entry,
)

# Maps patterns for the paths of layers to the names of layers or modules.
_LayerNames: TypeAlias = Mapping[str, str | None]


@dataclass
class Counterparts:
    """What calls are compared with.

    Attributes:
        calls: The calls of the other model by those of this one.
        remarks: What is to be said of this, by the paths of layers: why there is none, or what is
            not sure.
    """

    calls: dict[CallKey, RecordedCall] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)


def counterparts_of(
    calls: Sequence[RecordedCall],
    places: Mapping[str, str],
    others: Sequence[RecordedCall],
    names: NamesDict | None,
    tolerance: float | None,
    weights: Sequence[ModelWeight] = (),
) -> Counterparts:
    """Return the calls that those of a model are compared with.

    Args:
        calls: The calls of the model.
        places: The places of the layers and operations in it by their paths.
        others: The calls of the other model, which is compared with the model itself.
        names: The names of layers in the other model by patterns, or `None` if they are the same.
        tolerance: That of `compare_outputs`.
        weights: The weights of the model, which patterns may match too.

    Raises:
        TypeError: If `names` is no dict as that of `load_pretrained`.
        ValueError: If a pattern matches no path, or leads to no name.
    """
    model_path = next(call.key.name for call in calls if call.is_model)
    by_name: dict[str, list[RecordedCall]] = {}
    by_path: dict[str, list[RecordedCall]] = {}
    for call in others:
        if not call.is_model:
            by_name.setdefault(_with_slashes(call.key.name), []).append(call)
    for call in calls:
        by_path.setdefault(call.key.name, []).append(call)
    inner = {path: place for path, place in places.items() if path != model_path}
    pairs = names_of_others(inner, by_name, names, weights)
    counterparts = Counterparts(remarks={**pairs.reasons, **pairs.notes})
    for path, name in pairs.names.items():
        own = by_path.get(path, [])
        counterparts.calls.update(_paired(own, by_name.get(name, []), tolerance))
    of_model = [call for call in others if call.is_model]
    counterparts.calls.update(_paired(by_path[model_path], of_model, tolerance))
    return counterparts


def path_of_other(path: str, counterparts: Counterparts, names: NamesDict | None) -> str | None:
    """Return the path of the weight of the other model that one is compared with, if there is one.

    Args:
        path: The path of the weight.
        counterparts: What `counterparts_of` has returned.
        names: See `counterparts_of`.
    """
    parts = path.split("/")
    for count in range(len(parts) - 1, 0, -1):
        layer = "/".join(parts[:count])
        other = counterparts.calls.get(CallKey(layer, 1))
        if other is not None:
            return "/".join([_with_slashes(other.key.name), *parts[count:]])
        if layer in counterparts.remarks:
            return None  # which says why it has none
    # One that the model itself has, or in a layer that is not called.
    return path if names is None or len(parts) == 1 else None


def names_of_others(
    places: Mapping[str, str],
    others: Mapping[str, Sequence[RecordedCall]],
    names: NamesDict | None,
    weights: Sequence[ModelWeight] = (),
) -> Pairs:
    """Return the names of layers in another model, by the paths of those that they stand for.

    Args:
        places: The places of layers by their paths.
        others: The calls of the other model by the names of layers, with slashes.
        names: See `counterparts_of`.
        weights: See `counterparts_of`.
    """
    if names is None:
        theirs = {}
        for name, (first, *_) in others.items():
            theirs[name] = name if first.place == first.key.name else first.place
        return pair_by_path_or_name(places, theirs).worded("`like`")
    check_names(names)
    of_layers: dict[str, str | None] = {}
    of_weights: dict[str, NamesValue] = {}
    for pattern, value in names.items():
        covers_layer = any(match_pattern(pattern, [path]) for path in places)
        if covers_layer and (value is None or isinstance(value, str)):
            of_layers[pattern] = value
        elif any(match_weight(pattern, weight) for weight in weights):
            of_weights[pattern] = value
        else:
            raise ValueError(
                "Each of `names` must match a layer, or a weight. Received: "
                f"{pattern!r}, which matches none{suggest_paths(pattern, list(places))}"
            )
    by_weights = _by_weights(of_weights, weights, others)
    by_rules = _by_rules(places, others, of_layers)
    return Pairs({**by_weights, **by_rules})


def names_of_weights(names: NamesDict | None, weights: Sequence[ModelWeight]) -> NamesDict | None:
    """Return those of names that `load_pretrained` takes, which refuses layers without weights."""
    if names is None:
        return None
    found = {}
    for pattern, value in names.items():
        if any(match_weight(pattern, weight) for weight in weights):
            found[pattern] = value
    return found


def _by_weights(
    names: NamesDict, weights: Sequence[ModelWeight], others: Mapping[str, object]
) -> dict[str, str]:
    """Return the modules that have the arrays of all weights of a layer, by its path."""
    modules: dict[str, set[str]] = {}
    for weight in weights:
        for pattern, value in names.items():
            matches = match_weight(pattern, weight)
            if matches:
                if value is not None:
                    name = parse_entry(value).name
                    full = fill_template(name, matches[0].texts, weight.path, "name arrays")
                    module = _with_slashes(full).rpartition("/")[0]
                    modules.setdefault(weight.layer_paths[-1], set()).add(module)
                break
    found = {}
    for path, own in modules.items():
        if len(own) == 1 and own <= others.keys():
            found[path] = own.pop()
    return found


def _paired(
    calls: Sequence[RecordedCall], others: Sequence[RecordedCall], tolerance: float | None
) -> dict[CallKey, RecordedCall]:
    """Return which of several calls is compared with which: that with equal inputs, or number."""
    if len(calls) == len(others) == 1:
        return {calls[0].key: others[0]}
    found = {}
    left = list(others)
    for call in calls:
        alike = [other for other in left if _have_equal_inputs(call, other, tolerance)]
        same_number = [other for other in alike if other.key.number == call.key.number]
        for other in [*same_number, *alike][:1]:
            found[call.key] = other
            left.remove(other)
    unmatched = [call for call in calls if call.key not in found]
    for call, other in zip(unmatched, left, strict=False):
        found[call.key] = other
    return found


def _have_equal_inputs(call: RecordedCall, other: RecordedCall, tolerance: float | None) -> bool:
    pairs = paired_tensors(call.inputs, other.inputs, tolerance)
    known = [pair for pair in pairs if pair.difference is not None]
    return bool(known) and not any(pair.differs for pair in known)


def _with_slashes(name: str) -> str:
    return name.replace(".", "/")


class _Match(NamedTuple):
    """A path that a pattern covers.

    Attributes:
        texts: What each `*` stands for.
        rest: The path within the layer that the pattern matches, empty for this layer itself.
    """

    texts: tuple[str, ...]
    rest: str


def _match(pattern: str, path: str) -> _Match | None:
    """Return how a pattern covers a path: by the outermost layer that it matches."""
    parts = path.split("/")
    around = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    for layer, texts in match_pattern(pattern, around).items():
        return _Match(texts, path.removeprefix(layer).removeprefix("/"))
    return None


def _by_rules(
    paths: Iterable[str], by_name: Mapping[str, object], names: _LayerNames
) -> dict[str, str]:
    """Return the names in the other model that the rules give, by path."""
    matches = find_first_matches(
        "names", names, {path: path for path in paths}, _match, kind="a layer"
    )
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    leading = set()
    for path, (pattern, match) in matches.items():
        template = names[pattern]
        if template is None:
            leading.add(pattern)
            continue
        name = fill_template(template, match.texts, path, "have names")
        full = "/".join(filter(None, (_with_slashes(name), match.rest)))
        if full in by_name:
            leading.add(pattern)
            found[path] = full
        else:
            missing.setdefault(pattern, name)
    for pattern, name in missing.items():
        if pattern not in leading:
            raise ValueError(
                "`names` must lead to names that were recorded. "
                f"Received: {pattern!r} leads to {name!r}{suggest_matches(name, list(by_name))}"
            )
    return found
