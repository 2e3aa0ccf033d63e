"""Which arrays of a source a weight may have: by rules, by its path, by the names of frameworks."""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any, NamedTuple, TypeAlias

import keras

from keras_initx._checks import check_type, close_matches
from keras_initx._keras import saved_variables
from keras_initx._typing import Array
from keras_initx.arrays._formats import Contents
from keras_initx.models._paths import shown_paths
from keras_initx.pretrained._layouts import CELLS, LayoutName
from keras_initx.structure._kernels import is_adapter
from keras_initx.structure._names import (
    automatic_name,
    automatic_part_name,
    numbered,
    own_weights,
    walk,
)
from keras_initx.structure._patterns import captured_texts, first_matches
from keras_initx.structure._weights import ModelWeight, find_weights, name_in_module

# An index from `numpy.s_`, or a function that maps the array to the weight.
Index: TypeAlias = int | slice | EllipsisType | tuple[int | slice | EllipsisType | None, ...]
ArrayPart: TypeAlias = Index | Callable[[Array], Any]
# Maps patterns for the paths of weights or layers to names of arrays or modules.
NameRules: TypeAlias = Mapping[str, str | tuple[str, ArrayPart] | None]

# Names that other frameworks use for a Keras weight. They are tried in every layout.
_OTHER_NAMES = {
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
# What joins the names of modules or layers.
_MARKS = ("/", ".")
# In torch, the layers inside these have no names of their own.
_AROUND = (keras.layers.Bidirectional, keras.layers.RNN, keras.layers.Wrapper)
_RECURRENT = {
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
        third: Which third of the first axis to use, or `None` for the whole array.
        has_own_rule: Whether a rule names it for this weight alone.
    """

    names: tuple[str, ...]
    part: ArrayPart | None = None
    third: int | None = None
    has_own_rule: bool = False


def _joined(*names: str, mark: str = ".") -> str:
    """Return the name of an array inside modules. Empty names are left out."""
    return mark.join(filter(None, names))


# The names in the files of Keras.


def saved_names(contents: Contents, model: keras.Model) -> dict[str, str]:
    """Return the names of the arrays that Keras has saved by layers, by paths as in `model`.

    Keras 3 numbers the weights of a layer: `block/dense/0`; before it they have their names:
    `block/dense/kernel`. Automatic names of layers are numbered as in the paths of a model.
    """
    if not contents.layers and any("vars/" in str(name) for name in contents):
        return _names_by_groups(contents, model)
    counts: Counter[keras.Layer] = Counter()
    chosen = set()
    for layers, layer_paths in walk(model):
        counts[layers[-1]] += 1
        if len(layers) > 1 and automatic_part_name(layers[-2], layers[-1]) is None:
            chosen.add(layer_paths[-1])
    classes = {type(layer).__name__ for layer in counts}
    shared = {type(layer).__name__ for layer, n in counts.items() if n > 1 and layer.weights}
    chosen_names = {path.rpartition("/")[2] for path in chosen}

    def automatic(prefix: str, name: str) -> tuple[str, int] | None:
        return None if f"{prefix}{name}" in chosen else _automatic(name, classes)

    paths = []
    for name in map(str, contents):
        path = _layers_around(f"/{name}", contents.layers)
        # A layer that several have is saved in one of them, so numbers in the others are not known.
        if path and not any(
            _automatic(one, shared) for one in path[:-1] if one not in chosen_names
        ):
            paths.append((name, path))
    found = dict(_renumbered("", paths, automatic))
    for name in map(str, contents if contents.layers else [*found.values()]):
        # A rule may have the group of a layer in place of its name.
        found.setdefault(name.removesuffix(":0").replace("/vars/", "/"), name)
    return found


def _names_by_groups(contents: Contents, model: keras.Model) -> dict[str, str]:
    """Return the names of the arrays in a file of Keras 3.0 to 3.3, whose groups have no names.

    Groups have the names of classes, in the order of the layers of a model.
    """
    names = {id(variable): name for name, variable in saved_variables(model).items()}
    found = {}
    for weight in find_weights(model):
        name = names.get(id(weight.variable), "")
        if name in contents:
            found[weight.path] = name
    for name in map(str, contents):
        found.setdefault(name.replace("vars/", ""), name)
    return found


def _automatic(name: str, classes: Collection[str]) -> tuple[str, int] | None:
    """Return the stem and number of an automatic name of a layer of one of these classes."""
    direction, _, inner = name.partition("_")
    if direction in ("forward", "backward"):  # in a `Bidirectional`
        found = _automatic(inner, classes)
        return found and (f"{direction}_{found[0]}", found[1])
    return next(filter(None, (automatic_name(name, one) for one in classes)), None)


def _layers_around(name: str, layers: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the names of the layers around an array, and its own; `None` if it is in none."""
    group, found, key = name.rpartition("/vars/")
    parts = group.split("/")
    if found:
        if parts[1:2] == ["optimizer"] or parts[-1].startswith("seed_generator"):
            return None
        around = ["/".join(parts[1:end]) for end in range(2, len(parts) + 1)]
        return (*(layers[one] for one in around if one in layers), key)
    # Before Keras 3, the group of a layer has the whole names of its weights.
    parts = name[1:].removesuffix(":0").split("/")
    if parts[0] == "model_weights":
        parts = parts[1:]
    layer, *rest = parts
    is_layer = layer in layers or f"model_weights/{layer}" in layers or name.endswith(":0")
    if not is_layer or not rest:
        return None
    if layer in rest[:-1]:
        rest = rest[rest.index(layer) + 1 :]
    return (layer, *rest)


def _renumbered(
    prefix: str,
    paths: Sequence[tuple[str, tuple[str, ...]]],
    automatic: Callable[[str, str], tuple[str, int] | None],
) -> Iterator[tuple[str, str]]:
    """Yield paths joined, with automatic names renumbered within each layer, and what has them."""
    inside: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, (first, *rest) in paths:
        if rest:
            inside.setdefault(first, []).append((name, tuple(rest)))
        else:
            yield f"{prefix}{first}", name
    new_names = numbered(((name, automatic(prefix, name)) for name in inside), Counter())
    for new_name, parts in zip(new_names, inside.values(), strict=True):
        yield from _renumbered(f"{prefix}{new_name}/", parts, automatic)


def _saved_key(weight: ModelWeight) -> str | None:
    """Return what Keras calls a weight in the group of its layer, or `None` if that is unknown."""
    if isinstance(weight.layer, keras.layers.TorchModuleWrapper):
        return name_in_module(weight)
    store: dict[str, Any] = {}
    try:
        weight.layer.save_own_variables(store)
    except Exception:  # that of a user may want more than a dict
        return None
    keys = {id(value): key for key, value in store.items()}
    # With an adapter, Keras saves the product of the factors with the kernel, and not them.
    own = [one for one in own_weights(weight.layer) if not is_adapter(one.name)]
    left = [one for one in own if id(one) not in keys]
    unknown = [value for value in store.values() if not any(value is one for one in own)]
    if len(left) == len(unknown) == 1:
        keys[id(left[0])] = keys[id(unknown[0])]
    return keys.get(id(weight.variable))


# The candidates.


def candidates_of(
    weights: Sequence[ModelWeight],
    names: NameRules | None,
    layout: LayoutName,
    saved: Mapping[str, str],
) -> dict[str, list[Candidate] | None]:
    """Return the candidates from the first matching rule of each weight, by path.

    They are `None` if the rule skips the weight.

    Args:
        weights: The weights.
        names: See `load_pretrained`.
        layout: The layout of the source.
        saved: See `saved_names`.

    Raises:
        TypeError: If `names` is not a mapping of patterns to names.
        ValueError: If a rule matches no weight or its names cannot be filled in.
    """
    places = _Places()
    if names is None:
        by_name = functools.partial(_candidates_by_path, layout=layout, saved=saved, places=places)
        return {weight.path: by_name(weight) for weight in weights}
    check_type("names", names, Mapping, "a dict from patterns to names")
    for pattern, value in names.items():
        _check_rule(pattern, value)
    by_path = {weight.path: weight for weight in weights}
    shown = shown_paths(weights)
    known = {path: None for weight in weights for path in weight.layer_paths[1:]}
    known |= dict.fromkeys(shown.values())

    def matches_of(pattern: str, weight: ModelWeight) -> list[_Match]:
        return pattern_matches(pattern, weight, shown[weight.path])

    matches = first_matches(
        "names",
        names,
        by_path,
        matches_of,
        kind="a weight or a layer",
        hint=lambda pattern: close_matches(pattern, known, cutoff=0.0),
    )
    found: dict[str, list[Candidate] | None] = {}
    covered = Counter(pattern for pattern, _ in matches.values())
    for path, (pattern, own_matches) in matches.items():
        value = names[pattern]
        if value is None:
            found[path] = None
            continue
        candidates: list[Candidate] = []
        for match in own_matches:
            candidates += _candidates_of_rule(match, value, layout, saved, places)
        if covered[pattern] == 1:
            candidates = [replace(one, has_own_rule=True) for one in candidates]
        found[path] = candidates
    return found


class _Places:
    """The places of recurrent cells in modules of torch with several layers.

    The first layer of the model that a name covers is the first of the module, and so on.
    """

    def __init__(self) -> None:
        self._cells: dict[tuple[str, bool], list[keras.Layer]] = {}

    def of(self, cell: keras.Layer, module: str, *, is_backward: bool) -> int:
        """Return the place of a cell among those of one direction in a module of this name."""
        cells = self._cells.setdefault((module, is_backward), [])
        for place, other in enumerate(cells):
            if other is cell:
                return place
        cells.append(cell)
        return len(cells) - 1


def _check_rule(pattern: Any, value: Any) -> None:
    """Raise `TypeError` unless these may be a key and a value of `names`."""
    if not isinstance(pattern, str):
        raise TypeError(f"`names` must have path patterns as keys. Received: {pattern!r} as a key")
    if value is None or isinstance(value, str):
        return
    if isinstance(value, tuple) and len(value) == 2:
        name, part = value
        if isinstance(name, str) and _is_part(part):
            return
    raise TypeError(
        "The values of `names` must be a name, a pair of a name and a part (`numpy.s_[...]` or "
        f"a function), or `None`. Received: {value!r} for {pattern!r}"
    )


def _is_part(part: Any) -> bool:
    return part is ... or isinstance(part, int | slice | tuple) or callable(part)


class _Match(NamedTuple):
    """A weight that a pattern covers.

    Attributes:
        weight: The weight.
        path: What the pattern matches: its path, or that of a layer around it.
        texts: What each `*` stands for.
    """

    weight: ModelWeight
    path: str
    texts: tuple[str, ...]


def pattern_matches(pattern: str, weight: ModelWeight, shown: str) -> list[_Match]:
    """Return how a pattern covers a weight: by the outermost layer that it matches, or itself.

    Args:
        pattern: A pattern.
        weight: A weight.
        shown: Its path as it is shown, of which the texts are tried first.
    """
    for path in weight.layer_paths[1:]:
        texts = captured_texts(pattern, path)
        if texts is not None:
            return [_Match(weight, path, texts)]
    found = []
    for path in dict.fromkeys((shown, weight.path)):
        texts = captured_texts(pattern, path)
        if texts is not None:
            found.append(_Match(weight, path, texts))
    return found


def _candidates_of_rule(
    match: _Match,
    value: str | tuple[str, ArrayPart],
    layout: LayoutName,
    saved: Mapping[str, str],
    places: _Places,
) -> list[Candidate]:
    """Return the arrays that may hold a weight by the name in a rule whose pattern covers it."""
    weight = match.weight
    part: ArrayPart | None = None
    if isinstance(value, tuple):
        template, part = value
    else:
        template = value
    try:
        name = template.format(*match.texts)
    except (IndexError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(
            "`names` must name arrays, with `{0}` for the text that the first `*` of the pattern "
            f"matches. Received: {template!r} for {weight.path!r}: {error}"
        ) from None
    if match.path not in weight.layer_paths:
        if callable(part):
            # A function makes the weight from the array that it is given alone.
            return [Candidate((name,), part)]
        names = [name]
        if layout == "torch" and isinstance(weight.layer, CELLS) and "bias_ih" in name:
            names.append(name.replace("bias_ih", "bias_hh"))
        found = [Candidate(tuple(names), part)]
        found += [Candidate((one,), part) for one in _names_of_keras(weight, name, saved)]
        return found
    if part is not None:
        raise ValueError(
            "`names` must not have a part for a layer, which may have several weights: use the "
            f"pattern of one weight. Received: {value!r} for a layer of {weight.path!r}"
        )
    depth = match.path.count("/") + 1
    return _candidates_by_path(weight, layout, saved, places, name, depth)


def _candidates_by_path(
    weight: ModelWeight,
    layout: LayoutName,
    saved: Mapping[str, str],
    places: _Places,
    module: str = "",
    depth: int = 0,
) -> list[Candidate]:
    """Return the arrays that may hold `weight` by its path in the model, most likely first.

    Args:
        weight: A weight.
        layout: The layout of the source.
        saved: See `saved_names`.
        places: The places of recurrent cells so far.
        module: The name in the source of a layer around it, empty for the whole model.
        depth: The number of names in the path up to that layer.
    """
    names = weight.path.split("/")[depth:]
    found = [Candidate((_joined(module, *names, mark=mark),)) for mark in _MARKS]
    path = _joined(module, *names, mark="/")
    found += [Candidate((name,)) for name in _names_of_keras(weight, path, saved)]
    inner = []
    for name, around in zip(names[:-1], weight.layers[depth:], strict=False):
        if not isinstance(around, _AROUND):
            inner.append(name)
    if isinstance(weight.layer, keras.layers.TorchModuleWrapper):
        found.append(Candidate((_joined(module, *inner, name_in_module(weight)),)))
    if layout == "torch":
        found += _special_names(weight, module, inner, places)
    if weight.name in _OTHER_NAMES:
        for mark in reversed(_MARKS):
            name = _joined(module, *inner, _OTHER_NAMES[weight.name], mark=mark)
            found.append(Candidate((name,)))
    return found


def _names_of_keras(weight: ModelWeight, path: str, saved: Mapping[str, str]) -> list[str]:
    """Return the arrays at a path in a file of Keras, where a weight may have a number."""
    if not saved:
        return []
    names = [saved[path]] if path in saved else []
    layer, _, name = path.rpartition("/")
    if name == weight.path.rpartition("/")[2]:
        numbered_path = _joined(layer, _saved_key(weight) or name, mark="/")
        names.append(saved.get(numbered_path, numbered_path))
    return names


def _special_names(
    weight: ModelWeight, module: str, inner: Sequence[str], places: _Places
) -> Iterator[Candidate]:
    """Yield the arrays of torch modules that fuse the weights of several layers or gates.

    Args:
        weight: A weight.
        module: The name in the source of a layer around it, empty for the whole model.
        inner: The names of the layers within that layer, around the weight.
        places: The places of recurrent cells so far.
    """
    if isinstance(weight.layer, CELLS) and weight.name in _RECURRENT:
        is_backward = _is_backward(weight)
        around = _joined(module, *inner)
        place = places.of(weight.layer, around, is_backward=is_backward)
        suffixes = [f"_l{place}_reverse" if is_backward else f"_l{place}"]
        if not is_backward and place == 0:
            suffixes.append("")  # of a cell
        for suffix in suffixes:
            names = [f"{name}{suffix}" for name in _RECURRENT[weight.name]]
            yield Candidate(tuple(_joined(around, name) for name in names))
    if not inner or weight.name not in _OTHER_NAMES:
        return
    if isinstance(weight.layers[-2], keras.layers.MultiHeadAttention):
        *outer, kind = inner
        ending = _OTHER_NAMES[weight.name]
        if kind in _PROJECTIONS:
            fused = _joined(module, *outer, f"in_proj_{ending}")
            yield Candidate((fused,), third=_PROJECTIONS.index(kind))
            yield Candidate((_joined(module, *outer, f"{kind[0]}_proj_{ending}"),))
        elif kind == "attention_output":
            yield Candidate((_joined(module, *outer, "out_proj", ending),))


def _is_backward(weight: ModelWeight) -> bool:
    """Return whether `weight` is in the backward layer of a bidirectional one."""
    for layer in weight.layers:
        if isinstance(layer, keras.layers.Bidirectional) and layer.backward_layer in weight.layers:
            return True
    return False
