"""Pair the calls of one model with the calls of another.

A *call* is one use of a layer, an operation or a module in a forward pass. `names` maps patterns
for paths of layers, or of weights, to names in the other model; dots and slashes are the same:

    {"block_*": "blocks.{0}"}                   block_3/norm -> blocks/3/norm
    {"*/query/kernel": "{0}.q.weight"}          the layer block_3/query -> block_3/q
    {"head": None}                              head and what is inside: not compared
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from keras_initx._checks import suggest_matches, suggest_paths, truncate
from keras_initx._received import show
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._pairing import Pairs, pair_by_path_or_name
from keras_initx.inspection._patterns import (
    captured_texts,
    fill_template,
    find_first_matches,
    match_pattern,
)
from keras_initx.inspection._weights import ModelWeight
from keras_initx.report._text import group_names
from keras_initx.tools.compare_outputs._pairs import pair_tensors
from keras_initx.tools.compare_outputs._reading import name_operations
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
    """The counterparts of calls.

    Attributes:
        calls: The calls of the other model by the calls of this one.
        remarks: Dict from the paths of layers to why they have no counterpart, or what is not sure
            about it.
    """

    calls: dict[CallKey, RecordedCall] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)


def find_counterparts(
    calls: Sequence[RecordedCall],
    canonical_paths: Mapping[str, str],
    others: Sequence[RecordedCall],
    names: NamesDict | None,
    tolerance: float | None,
    weights: Sequence[ModelWeight] = (),
) -> Counterparts:
    """Find the counterparts of the calls of a model.

    The whole model is always compared with the whole other model.

    Args:
        calls: The calls of the model.
        canonical_paths: The canonical paths of the layers and operations in it by their paths.
        others: The calls of the other model.
        names: The names of layers in the other model by patterns, or `None` if they are the same.
        tolerance: The tolerance of `compare_outputs`.
        weights: The weights of the model, which patterns may match too.

    Raises:
        TypeError: If `names` is not a dict in the form of `load_pretrained`.
        ValueError: If a pattern matches no path, or leads to no name.
    """
    model_path = next(call.key.name for call in calls if call.is_model)
    others_by_name: dict[str, list[RecordedCall]] = {}
    calls_by_path: dict[str, list[RecordedCall]] = {}
    for call in others:
        if not call.is_model:
            others_by_name.setdefault(_replace_dots(call.key.name), []).append(call)
    for call in calls:
        calls_by_path.setdefault(call.key.name, []).append(call)
    inner = {path: text for path, text in canonical_paths.items() if path != model_path}
    pairs = match_layer_names(inner, others_by_name, names, weights)
    counterparts = Counterparts(remarks={**pairs.reasons, **pairs.notes})
    other_models = [call for call in others if call.is_model]
    paths_by_name = group_names((name, path) for path, name in pairs.names.items())
    for path, name in pairs.names.items():
        ours = calls_by_path.get(path, [])
        theirs = others_by_name.get(name, []) if name else other_models
        if len(paths_by_name[name]) > 1 and _have_several_layers(theirs):
            others_too = [other for other in paths_by_name[name] if other != path]
            counterparts.remarks[path] = (
                f"{theirs[0].key.name} there computes it together with {truncate(others_too)}"
            )
            continue
        counterparts.calls.update(_pair_calls(ours, theirs, tolerance))
    counterparts.calls.update(_pair_calls(calls_by_path[model_path], other_models, tolerance))
    return counterparts


def translate_names(names: NamesDict | None, inventory: Inventory) -> NamesDict | None:
    """Translate patterns for the names that Keras has into patterns for paths.

    Reports renumber automatic names: a layer that a user has called `lstm_0` has the path `lstm`.
    As in `load_pretrained`, patterns are for the names of Keras if more of them match these:

        {"lstm_0": "encoder", "lstm_1": "decoder"}  ->  {"lstm": "encoder", "lstm_1": "decoder"}

    Raises:
        TypeError: If `names` is not a dict in the form of `load_pretrained`.
    """
    if names is None:
        return None
    check_names(names)
    names_of_keras = _list_names_of_keras(inventory)
    by_path = [pattern for pattern in names if match_pattern(pattern, names_of_keras)]
    by_name = [pattern for pattern in names if match_pattern(pattern, names_of_keras.values())]
    if len(by_path) == len(names) or len(by_name) <= len(by_path):
        return names
    translated: dict[str, NamesValue] = {}
    for pattern, value in names.items():
        if pattern not in by_name:
            translated[pattern] = value  # whoever uses it says that it matches nothing
        for path, name in names_of_keras.items():
            texts = captured_texts(pattern, name)
            if texts is not None:
                translated.setdefault(path, _fill_value(value, texts, path))
    return translated


def _list_names_of_keras(inventory: Inventory) -> dict[str, str]:
    """List the names of layers, operations and weights, as Keras has them, by their paths."""
    names: dict[str, str] = {}
    for operation, path in name_operations(inventory).items():
        if operation is not inventory.model:
            around = names.get(path.rpartition("/")[0], "")
            names[path] = f"{around}/{operation.name}".removeprefix("/")
    for weight in inventory.weights_and_buffers:
        layer_path = weight.layer_paths[-1]
        in_layer = weight.shown.removeprefix(layer_path)
        names[weight.shown] = f"{names.get(layer_path, '')}{in_layer}".removeprefix("/")
    return names


def _fill_value(value: NamesValue, texts: Sequence[str], path: str) -> NamesValue:
    if isinstance(value, str):
        return fill_template(value, texts, path, "have names")
    if isinstance(value, list):
        return [fill_template(name, texts, path, "have names") for name in value]
    if isinstance(value, tuple):
        name, *others = value
        return (fill_template(name, texts, path, "have names"), *others)
    return value


def _have_several_layers(calls: Sequence[RecordedCall]) -> bool:
    # Recurrent modules of torch, which compute several layers of Keras.
    counts = [call.settings.get("num_layers") for call in calls]
    return any(isinstance(count, int) and count > 1 for count in counts)


def find_counterpart_path(
    path: str, counterparts: Counterparts, names: NamesDict | None
) -> str | None:
    """Find the path of the counterpart of a weight in the other model, if there is one.

    It follows the innermost layer of the weight that has a counterpart.

    Args:
        path: The path of the weight.
        counterparts: What `find_counterparts` has returned.
        names: See `find_counterparts`.
    """
    words = path.split("/")
    for count in range(len(words) - 1, 0, -1):
        layer = "/".join(words[:count])
        other = counterparts.calls.get(CallKey(layer, 1))
        if other is not None:
            module = [] if other.is_model else [_replace_dots(other.key.name)]
            return "/".join([*module, *words[count:]])
        if layer in counterparts.remarks:
            return None  # the remark says why
    # The weight is in the model itself, or in a layer that is not called.
    return path if names is None or len(words) == 1 else None


def match_layer_names(
    canonical_paths: Mapping[str, str],
    others: Mapping[str, Sequence[RecordedCall]],
    names: NamesDict | None,
    weights: Sequence[ModelWeight] = (),
) -> Pairs:
    """Match the paths of layers with the names of layers in another model.

    Args:
        canonical_paths: The canonical paths of layers by their paths.
        others: The calls of the other model by the names of layers, with slashes.
        names: See `find_counterparts`.
        weights: See `find_counterparts`.
    """
    if names is None:
        theirs = {}
        for name, (first, *_) in others.items():
            theirs[name] = name if first.canonical_path == first.key.name else first.canonical_path
        return pair_by_path_or_name(canonical_paths, theirs).worded("`like`")
    check_names(names)
    layer_names: dict[str, str | None] = {}
    weight_names: dict[str, NamesValue] = {}
    for pattern, value in names.items():
        covers_layer = any(match_pattern(pattern, [path]) for path in canonical_paths)
        if covers_layer and (value is None or isinstance(value, str)):
            layer_names[pattern] = value
        elif any(match_weight(pattern, weight) for weight in weights):
            weight_names[pattern] = value
        else:
            similar = suggest_paths(pattern, list(canonical_paths))
            raise ValueError(
                "Each of `names` must match a layer, or a weight. Received: "
                f"{show(pattern)}, which matches none{similar}"
            )
    by_weights = _match_by_weights(weight_names, weights, others)
    by_patterns = _match_by_patterns(canonical_paths, others, layer_names)
    return Pairs({**by_weights, **by_patterns})


def select_weight_names(
    names: NamesDict | None, weights: Sequence[ModelWeight]
) -> NamesDict | None:
    """Select the names that match weights: `load_pretrained` refuses layers without weights."""
    if names is None:
        return None
    selected = {}
    for pattern, value in names.items():
        if any(match_weight(pattern, weight) for weight in weights):
            selected[pattern] = value
    return selected


def _match_by_weights(
    names: NamesDict, weights: Sequence[ModelWeight], others: Mapping[str, object]
) -> dict[str, str]:
    """Match layers with the module that has the arrays of all their weights, by their paths."""
    modules: dict[str, set[str]] = {}
    for weight in weights:
        for pattern, value in names.items():
            matches = match_weight(pattern, weight)
            if matches:
                if value is not None:
                    name = parse_entry(value).name
                    full = fill_template(name, matches[0].texts, weight.path, "name arrays")
                    module = _replace_dots(full).rpartition("/")[0]
                    modules.setdefault(weight.layer_paths[-1], set()).add(module)
                break
    module_by_path = {}
    for path, names_of_layer in modules.items():
        if len(names_of_layer) == 1 and names_of_layer <= others.keys():
            module_by_path[path] = names_of_layer.pop()
    return module_by_path


def _pair_calls(
    calls: Sequence[RecordedCall], others: Sequence[RecordedCall], tolerance: float | None
) -> dict[CallKey, RecordedCall]:
    """Pair the calls of two layers: those with equal inputs first, then the rest in their order."""
    if len(calls) == len(others) == 1:
        return {calls[0].key: others[0]}
    pairs = {}
    left = list(others)
    for call in calls:
        candidates = [other for other in left if _have_equal_inputs(call, other, tolerance)]
        same_number = [other for other in candidates if other.key.number == call.key.number]
        for other in [*same_number, *candidates][:1]:
            pairs[call.key] = other
            left.remove(other)
    unmatched = [call for call in calls if call.key not in pairs]
    for call, other in zip(unmatched, left, strict=False):
        pairs[call.key] = other
    return pairs


def _have_equal_inputs(call: RecordedCall, other: RecordedCall, tolerance: float | None) -> bool:
    pairs = pair_tensors(call.inputs, other.inputs, tolerance)
    known = [pair for pair in pairs if pair.difference is not None]
    return bool(known) and not any(pair.differs for pair in known)


def _replace_dots(name: str) -> str:
    return name.replace(".", "/")


class _PatternMatch(NamedTuple):
    """A path that a pattern covers.

    Attributes:
        texts: The text that each `*` matches.
        rest: The path within the layer that the pattern matches, empty for this layer itself:
            `"norm"` if `block_*` covers `block_3/norm`.
    """

    texts: tuple[str, ...]
    rest: str


def _match_outermost_layer(pattern: str, path: str) -> _PatternMatch | None:
    """Match a pattern with the outermost layer of a path that it fits."""
    words = path.split("/")
    layers = ["/".join(words[:count]) for count in range(1, len(words) + 1)]
    for layer, texts in match_pattern(pattern, layers).items():
        return _PatternMatch(texts, path.removeprefix(layer).removeprefix("/"))
    return None


def _match_by_patterns(
    paths: Iterable[str], others: Mapping[str, object], names: _LayerNames
) -> dict[str, str]:
    """Match the paths of layers with names in the other model, by `names`.

    A pattern that leads to a recorded name for no path at all is an error. The name `""` is that of
    the other model itself. It is a layer if nothing inside of it was recorded; else it is only the
    beginning of the names inside.
    """
    matches = find_first_matches(
        "names", names, {path: path for path in paths}, _match_outermost_layer, kind="a layer"
    )
    name_by_path: dict[str, str] = {}
    missing: dict[str, str] = {}
    leading = set()
    for path, (pattern, match) in matches.items():
        template = names[pattern]
        if template is None:
            leading.add(pattern)
            continue
        name = fill_template(template, match.texts, path, "have names")
        full = "/".join(filter(None, (_replace_dots(name), match.rest)))
        if full in others or not full:
            leading.add(pattern)
            name_by_path[path] = full
        else:
            missing.setdefault(pattern, name)
    for pattern, name in missing.items():
        if pattern not in leading:
            similar = suggest_matches(name, list(others))
            raise ValueError(
                "`names` must lead to names that were recorded. "
                f"Received: {show(pattern)} leads to {show(name)}{similar}"
            )
    if others:
        return {path: name for path, name in name_by_path.items() if name}
    return name_by_path
