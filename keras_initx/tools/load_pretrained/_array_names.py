"""Find the arrays of a source that fit a weight: by `names`, by its path, by torch's names.

The *candidates* of a weight are the names that are tried, in this order. The first that the source
has is loaded. For `block_0/norm/gamma` they are

    blocks.0.norm/gamma, blocks.0.norm.gamma, blocks.0.norm.weight   with {"block_*": "blocks.{0}"}
    block_0/norm/gamma, block_0.norm.weight                          without `names`

A candidate may have several arrays, such as both biases of an LSTM or those of a list in `names`,
or a third of one, such as the queries in `in_proj_weight`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any, NamedTuple, TypeAlias

import keras

from keras_initx._checks import check_type, suggest_matches
from keras_initx._received import show
from keras_initx._typing import Array
from keras_initx.checkpoints._keras_names import find_names_in_file
from keras_initx.checkpoints._sources import LayoutName
from keras_initx.files._lazy import format_index
from keras_initx.inspection._pairing import Pairs
from keras_initx.inspection._patterns import (
    captured_texts,
    fill_template,
    find_first_matches,
    match_pattern,
)
from keras_initx.inspection._weights import ModelWeight, module_weight_name
from keras_initx.tools.load_pretrained._layouts import CELLS
from keras_initx.tools.load_pretrained._recurrent_modules import RecurrentModules

# An index from `numpy.s_`, or a function that maps the array to the weight.
Index: TypeAlias = int | slice | EllipsisType | tuple[int | slice | EllipsisType | None, ...]
ArrayPart: TypeAlias = Index | Callable[[Array], Any]
NamesValue: TypeAlias = (
    str
    | list[str]
    | tuple[str, ArrayPart]
    | tuple[str, Callable[[Array], Any], Callable[[Array], Any]]
    | None
)
# Maps patterns for the paths of weights or layers to names of arrays or modules.
NamesDict: TypeAlias = Mapping[str, NamesValue]
# This text stands for a function in the JSON of a report.
FUNCTION_TEXT = "a function"

# Names that other frameworks use for a Keras weight. They are tried in every layout.
_TORCH_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "embeddings": "weight",
    "gamma": "weight",
    "beta": "bias",
    "scale": "weight",
    "alpha": "weight",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_SEPARATORS = ("/", ".")
# In torch, the layers inside these have no names of their own.
_NAMELESS_IN_TORCH = (keras.layers.Bidirectional, keras.layers.RNN, keras.layers.Wrapper)
_RECURRENT_NAMES = {
    "kernel": ("weight_ih",),
    "recurrent_kernel": ("weight_hh",),
    "bias": ("bias_ih", "bias_hh"),
}
_PROJECTIONS = ("query", "key", "value")


@dataclass(frozen=True)
class Candidate:
    """Arrays that a weight may be built from. All of them must exist.

    Attributes:
        names: Their names, usually one.
        part: The index of the part to use, or a function that maps the array to the weight.
        inverse: A function that maps the weight to the array.
        third: Which third of the first axis to use, or `None` for the whole array.
        is_joined: Whether the arrays lie side by side along the units.
        has_own_pattern: Whether a pattern names it for this weight alone.
        note: A sentence for the report, if the candidate is loaded.
    """

    names: tuple[str, ...]
    part: ArrayPart | None = None
    inverse: Callable[[Array], Any] | None = None
    third: int | None = None
    is_joined: bool = False
    has_own_pattern: bool = False
    note: str = ""


def _join_names(*names: str, separator: str = ".") -> str:
    # `""` is the whole model.
    return separator.join(filter(None, names))


def find_candidates(
    weights: Sequence[ModelWeight],
    names: NamesDict | None,
    layout: LayoutName,
    saved: Mapping[str, str],
    own: Pairs,
    *,
    is_of_keras: bool = False,
) -> dict[str, list[Candidate] | None]:
    """Find the candidates of each weight, by path. The first matching pattern decides.

    They are `None` if `names` skips the weight.

    Args:
        weights: The weights.
        names: See `load_pretrained`.
        layout: The layout of the source.
        saved: See `keras_names_by_path`.
        own: See `source_names_by_path`.
        is_of_keras: Whether Keras has named the arrays, and torch has not.

    Raises:
        TypeError: If `names` is not a mapping of patterns to names.
        ValueError: If a pattern matches no weight or its name cannot be filled in.
    """
    if names is not None:
        check_names(names)

    def find_with(modules: RecurrentModules) -> dict[str, list[Candidate] | None]:
        if names is None:
            return _find_by_own_names(weights, layout, own, modules, is_of_keras=is_of_keras)
        return _find_by_patterns(weights, names, layout, saved, modules)

    modules = RecurrentModules()
    candidates = find_with(modules)
    if modules.have_several_layers:
        # Only now all layers are known that a name covers. So they are numbered again.
        candidates = find_with(modules.sort_by_calls())
    return candidates


def _find_by_own_names(
    weights: Sequence[ModelWeight],
    layout: LayoutName,
    own: Pairs,
    modules: RecurrentModules,
    *,
    is_of_keras: bool,
) -> dict[str, list[Candidate] | None]:
    candidates_by_path: dict[str, list[Candidate] | None] = {}
    for weight in weights:
        path = weight.path
        candidates = [Candidate((own.names[path],))] if path in own.names else []
        if path not in own.reasons and not is_of_keras:
            candidates += _list_torch_candidates(weight, layout, modules, "", 0)
        candidates_by_path[path] = candidates
    return candidates_by_path


def _find_by_patterns(
    weights: Sequence[ModelWeight],
    names: NamesDict,
    layout: LayoutName,
    saved: Mapping[str, str],
    modules: RecurrentModules,
) -> dict[str, list[Candidate] | None]:
    matches = match_weights("names", names, weights)
    candidates_by_path: dict[str, list[Candidate] | None] = {}
    weights_by_pattern = Counter(pattern for pattern, _ in matches.values())
    for path, (pattern, match_weight) in matches.items():
        value = names[pattern]
        if value is None:
            candidates_by_path[path] = None
            continue
        candidates: list[Candidate] = []
        for match in match_weight:
            candidates += _list_candidates(match, value, layout, saved, modules)
        if weights_by_pattern[pattern] == 1:
            candidates = [replace(candidate, has_own_pattern=True) for candidate in candidates]
        candidates_by_path[path] = candidates
    return candidates_by_path


def check_names(names: Any) -> None:
    """Raise `TypeError` unless these may be the `names` of `load_pretrained`."""
    check_type("names", names, Mapping, "a dict from patterns to names")
    for pattern, value in names.items():
        _check_entry(pattern, value)


def _check_entry(pattern: Any, value: Any) -> None:
    if not isinstance(pattern, str):
        raise TypeError(
            f"`names` must have path patterns as keys. Received: {show(pattern)} as a key"
        )
    if value is None or isinstance(value, str):
        return
    are_names = isinstance(value, list) and all(isinstance(name, str) for name in value)
    if are_names and len(value) > 1:
        return
    if isinstance(value, tuple) and len(value) == 2:
        name, part = value
        if isinstance(name, str) and _is_array_part(part):
            return
    if isinstance(value, tuple) and len(value) == 3:
        name, *functions = value
        if isinstance(name, str) and all(map(callable, functions)):
            return
    raise TypeError(
        "The values of `names` must be a name, a list of names whose arrays lie side by side, a "
        "pair of a name and a part (`numpy.s_[...]` or a function), a name with a function and its "
        "inverse, or `None`. "
        f"Received: {show(value)} for {show(pattern)}"
    )


class NamesEntry(NamedTuple):
    """A value of `names` that is not `None`.

    Attributes:
        names: The names of arrays or modules, usually one.
        part: The part of the array, or the function that maps it to the weight.
        inverse: The function that maps the weight to the array.
    """

    names: tuple[str, ...]
    part: ArrayPart | None = None
    inverse: Callable[[Array], Any] | None = None

    @property
    def name(self) -> str:
        """The names as one text."""
        return " + ".join(self.names)


def parse_entry(value: Any) -> NamesEntry:
    if isinstance(value, tuple):
        name, *others = value
        return NamesEntry((name,), *others)
    return NamesEntry(tuple(value) if isinstance(value, list) else (value,))


def serialize_names(names: NamesDict | None) -> dict[str, Any] | None:
    """Turn names into data for JSON: an index is a text, `"[:64]"`, a function `FUNCTION_TEXT`."""
    if names is None:
        return None
    data: dict[str, Any] = {}
    for pattern, value in names.items():
        data[pattern] = value
        if isinstance(value, tuple):
            entry = parse_entry(value)
            part = FUNCTION_TEXT if callable(entry.part) else format_index(entry.part)
            data[pattern] = (entry.name, part)
    return data


def _is_array_part(part: Any) -> bool:
    return part is ... or isinstance(part, int | slice | tuple) or callable(part)


class Match(NamedTuple):
    """A weight that a pattern covers.

    Attributes:
        weight: The weight.
        path: The path that the pattern matches, of the weight or of a layer around it.
        texts: The text that each `*` matches.
    """

    weight: ModelWeight
    path: str
    texts: tuple[str, ...]


def match_weights(
    argument: str, patterns: Collection[str], weights: Sequence[ModelWeight]
) -> dict[str, tuple[str, list[Match]]]:
    """Find the first pattern that covers each weight, by path, and its matches.

    Patterns are for the paths that reports show, where automatic names are renumbered: a layer that
    a user has called `lstm_0` is `lstm`. If more of the patterns cover weights by the names that
    Keras has, all are for those.

    Args:
        argument: Name of the argument that holds the patterns, in error messages.
        patterns: Patterns for the paths of weights or layers.
        weights: The weights.

    Raises:
        ValueError: If a pattern covers no weight.
    """
    layer_paths: dict[str, None] = {}
    for weight in weights:
        layer_paths |= dict.fromkeys(weight.layer_paths[1:])

    def hint(pattern: str) -> str:
        paths = [*layer_paths, *(weight.shown for weight in weights)]
        return suggest_matches(pattern, paths, cutoff=0.0)

    def count_used(match: Callable[[str, ModelWeight], list[Match]]) -> int:
        return sum(any(match(pattern, weight) for weight in weights) for pattern in patterns)

    match = match_weight
    used = count_used(match)
    if used < len(patterns) and count_used(_match_by_names_of_keras) > used:
        match = _match_by_names_of_keras
    by_path = {weight.path: weight for weight in weights}
    kind = "a weight or a layer"
    return find_first_matches(argument, patterns, by_path, match, kind=kind, hint=hint)


def match_weight(pattern: str, weight: ModelWeight) -> list[Match]:
    """Match a pattern with the outermost layer around a weight that it fits, or with the weight."""
    of_layer = list(match_pattern(pattern, weight.layer_paths[1:]).items())[:1]
    texts_by_path = of_layer or match_pattern(pattern, (weight.shown, weight.path)).items()
    return [Match(weight, path, texts) for path, texts in texts_by_path]


def _match_by_names_of_keras(pattern: str, weight: ModelWeight) -> list[Match]:
    names = ""
    for layer, path in zip(weight.layers[1:], weight.layer_paths[1:], strict=True):
        names = f"{names}/{layer.name}".removeprefix("/")
        texts = captured_texts(pattern, names)
        if texts is not None:
            return [Match(weight, path, texts)]
    in_layer = weight.shown.removeprefix(weight.layer_paths[-1])
    texts = captured_texts(pattern, f"{names}{in_layer}".removeprefix("/"))
    return [] if texts is None else [Match(weight, weight.shown, texts)]


def _list_candidates(
    match: Match,
    value: NamesValue,
    layout: LayoutName,
    saved: Mapping[str, str],
    modules: RecurrentModules,
) -> list[Candidate]:
    """List the arrays that may hold a weight, from the name of the pattern that covers it."""
    weight = match.weight
    templates, part, inverse = parse_entry(value)
    if len(templates) > 1:
        return _list_joined_candidates(match, templates, layout, modules)
    name = fill_template(templates[0], match.texts, weight.path, "name arrays")
    if match.path not in weight.layer_paths:
        if callable(part):
            # A function makes the weight from this array alone, so there is no second bias.
            return [Candidate((name,), part, inverse)]
        names = [name]
        if layout == "torch" and isinstance(weight.layer, CELLS) and "bias_ih" in name:
            names.append(name.replace("bias_ih", "bias_hh"))
        in_file = find_names_in_file(weight, name, saved)
        return [Candidate(tuple(names), part), *(Candidate((each,), part) for each in in_file)]
    if part is not None:
        raise ValueError(
            "`names` must not have a part for a layer, which may have several weights: use the "
            f"pattern of one weight. Received: {show(value)} for a layer of {show(weight.path)}"
        )
    depth = match.path.count("/") + 1
    below = weight.path.split("/")[depth:]
    names = [_join_names(name, *below, separator=separator) for separator in _SEPARATORS]
    names += find_names_in_file(weight, names[0], saved)
    by_names_of_keras = [Candidate((each,)) for each in names]
    return by_names_of_keras + _list_torch_candidates(weight, layout, modules, name, depth)


def _list_joined_candidates(
    match: Match, templates: Sequence[str], layout: LayoutName, modules: RecurrentModules
) -> list[Candidate]:
    """List the arrays that may lie side by side in a weight, under one form of their names."""
    weight = match.weight
    if isinstance(weight.layer, CELLS):
        raise ValueError(
            "`names` must not have a list for a recurrent layer, whose units are gates: join its "
            f"arrays yourself. Received: {list(templates)} for {show(weight.path)}"
        )
    by_name = [_list_candidates(match, name, layout, {}, modules) for name in templates]
    joined = []
    for candidates in zip(*by_name, strict=True):
        if all(candidate.third is None for candidate in candidates):
            names = tuple(candidate.names[0] for candidate in candidates)
            joined.append(Candidate(names, is_joined=True))
    return joined


def _list_torch_candidates(
    weight: ModelWeight, layout: LayoutName, modules: RecurrentModules, module: str, depth: int
) -> list[Candidate]:
    """List the arrays that may hold a weight under torch's names, most likely first.

    Args:
        weight: A weight.
        layout: The layout of the source.
        modules: The recurrent modules so far.
        module: The name in the source of a layer around it, empty for the whole model.
        depth: The number of names in the path up to that layer.
    """
    candidates = []
    names = weight.path.split("/")[depth:]
    inner = []
    for name, layer in zip(names[:-1], weight.layers[depth:], strict=False):
        if not isinstance(layer, _NAMELESS_IN_TORCH):
            inner.append(name)
    if isinstance(weight.layer, keras.layers.TorchModuleWrapper):
        candidates.append(Candidate((_join_names(module, *inner, module_weight_name(weight)),)))
    if layout == "torch":
        candidates += _list_fused_candidates(weight, module, inner, modules)
    if weight.name in _TORCH_NAMES:
        for separator in reversed(_SEPARATORS):
            name = _join_names(module, *inner, _TORCH_NAMES[weight.name], separator=separator)
            candidates.append(Candidate((name,)))
    return candidates


def _list_fused_candidates(
    weight: ModelWeight, module: str, inner: Sequence[str], modules: RecurrentModules
) -> Iterator[Candidate]:
    """Yield the arrays of torch modules that fuse the weights of several layers or gates.

        lstm.weight_ih_l0, lstm.weight_ih_l1_reverse   recurrent layers of one module
        attention.in_proj_weight                       query, key and value
        attention.q_proj_weight                        query, if key or value has another width

    Args:
        weight: A weight.
        module: The name in the source of a layer around it, empty for the whole model.
        inner: The names of the layers within that layer, around the weight.
        modules: The recurrent modules so far.
    """
    if isinstance(weight.layer, CELLS) and weight.name in _RECURRENT_NAMES:
        is_backward = _is_backward(weight)
        recurrent = _join_names(module, *inner)
        number = modules.number_layer(weight, recurrent, is_backward=is_backward)
        note = modules.get_note(recurrent, is_backward=is_backward)
        suffixes = [f"_l{number}_reverse" if is_backward else f"_l{number}"]
        if not is_backward and number == 0:
            suffixes.append("")  # of a cell
        for suffix in suffixes:
            names = [f"{name}{suffix}" for name in _RECURRENT_NAMES[weight.name]]
            yield Candidate(tuple(_join_names(recurrent, name) for name in names), note=note)
    if not inner or weight.name not in _TORCH_NAMES:
        return
    if isinstance(weight.layers[-2], keras.layers.MultiHeadAttention):
        *outer, kind = inner
        ending = _TORCH_NAMES[weight.name]
        if kind in _PROJECTIONS:
            fused = _join_names(module, *outer, f"in_proj_{ending}")
            yield Candidate((fused,), third=_PROJECTIONS.index(kind))
            yield Candidate((_join_names(module, *outer, f"{kind[0]}_proj_{ending}"),))
        elif kind == "attention_output":
            yield Candidate((_join_names(module, *outer, "out_proj", ending),))


def _is_backward(weight: ModelWeight) -> bool:
    for layer in weight.layers:
        if isinstance(layer, keras.layers.Bidirectional) and layer.backward_layer in weight.layers:
            return True
    return False
