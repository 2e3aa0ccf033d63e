"""Which arrays of a source the weights of a model have by their own names, as Keras gives them."""

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import keras

from keras_initx._keras import layers_by_group
from keras_initx._typing import Shape
from keras_initx.files._formats import Contents
from keras_initx.files._keras_files import enclosing_groups, enclosing_layers
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._kernels import is_adapter
from keras_initx.inspection._names import (
    list_own_weights,
    split_automatic_name,
    split_automatic_part_name,
)
from keras_initx.inspection._pairing import (
    BY_ATTRIBUTES,
    BY_NUMBER,
    LIST,
    NOT_KNOWN,
    SAME,
    Order,
    Pairs,
    PathPart,
    canonical_weight_paths,
    canonicalize_paths,
    has_similar_siblings,
    is_ordered_by_calls,
    layer_paths,
    natural_sort_key,
    note_containers,
    pair_by_path,
    path_stems,
    shown_paths,
)
from keras_initx.inspection._weights import ModelWeight, module_weight_name

# The stem and number of a name if it is automatic, from the stems of the layers around, and it.
Automatic: TypeAlias = Callable[[tuple[str, ...], str], tuple[str, int] | None]


def source_names_by_path(contents: Mapping[Any, Any], inventory: Inventory) -> Pairs:
    """Return the name that each weight of a model has in a source, by path, as far as it has one.

    It is the path, with `/` or `.`, or the name in a file of Keras. It may also be the path that
    Keras gives the variable, as in `{variable.path: array}`, where that accounts for more arrays.

    Args:
        contents: The arrays of the source.
        inventory: What the model holds.
    """
    weights = inventory.held
    if isinstance(contents, Contents) and contents.places:  # those of a model
        return pair_by_path(canonical_weight_paths(inventory, weights), contents.places)
    has_layers = isinstance(contents, Contents) and contents.layers
    around = layer_paths(inventory)
    if not has_layers and any("vars/" in str(name) for name in contents):
        pairs = _names_by_groups(contents, inventory.model, weights)
        return _with_remarks(pairs, around, weights)
    arrays = _parts_in_file(contents, around)
    if arrays:
        pairs = _names_by_layers(contents, arrays, around, weights)
        return _with_remarks(pairs, around, weights)
    return _names_in_dict(contents, inventory.model, around, weights)


def _with_remarks(
    pairs: Pairs,
    around: Mapping[keras.Layer, tuple[PathPart, ...]],
    weights: Sequence[ModelWeight],
) -> Pairs:
    """Return pairs with arrays of a file, and what is to be said of layers in lists and dicts."""
    paths = {}
    for weight in weights:
        if weight.path in pairs.names and weight.path not in pairs.notes:
            paths[weight.path] = (*around[weight.layer], PathPart(_own_name(weight)))
    shapes = {weight.path: weight.shape for weight in weights}
    return replace(pairs, remarks=note_containers(canonicalize_paths(paths), shapes))


def have_equal_sizes(shapes: Iterable[Shape], others: Iterable[Shape]) -> bool:
    """Return whether both have as many arrays of each size, and one at least.

    Where no name of one is in the other, perhaps only names differ.
    """
    sizes = Counter(math.prod(shape) for shape in shapes)
    return bool(sizes) and sizes == Counter(math.prod(shape) for shape in others)


# The names in files.


def _names_by_layers(
    contents: Mapping[Any, Any],
    arrays: Mapping[str, tuple[PathPart, ...]],
    around: Mapping[keras.Layer, tuple[PathPart, ...]],
    weights: Sequence[ModelWeight],
) -> Pairs:
    """Return the names in a file of Keras in which layers have their names.

    Args:
        contents: The arrays of the file.
        arrays: What leads to them.
        around: What leads to the layers of the model.
        weights: The weights of the model.
    """
    inside: dict[str, dict[str, str]] = {}
    for name, place in canonicalize_paths(arrays).items():
        layer, _, key = place.rpartition("/")
        inside.setdefault(layer, {})[key] = name
    with_weights = dict.fromkeys(weight.layer for weight in weights)
    places = canonicalize_paths({layer: around[layer] for layer in with_weights})
    order: Order = "saved"
    if not any("/vars/" in f"/{name}" for name in arrays):  # a file of Keras 2
        order = "tracked" if getattr(contents, "are_in_order", False) else "none"
    own_places = {place: place for place in places.values()}
    layers = pair_by_path(own_places, {place: place for place in inside}, order=order)
    pairs = Pairs()
    keys = _Keys()
    for weight in weights:
        place = places[weight.layer]
        if place in layers.reasons:
            pairs.reasons[weight.path] = layers.reasons[place]
        if place not in layers.names:
            continue
        arrays_of_layer = inside[layers.names[place]]
        for own_key in (keys.of(weight), _own_name(weight)):
            if own_key is not None and own_key in arrays_of_layer:
                pairs.names[weight.path] = arrays_of_layer[own_key]
                if place in layers.notes:
                    pairs.notes[weight.path] = layers.notes[place]
                break
    return pairs


def _parts_in_file(
    contents: Mapping[Any, Any], around: Mapping[keras.Layer, tuple[PathPart, ...]]
) -> dict[str, tuple[PathPart, ...]]:
    """Return what leads to the arrays of layers in a file of Keras, and what they have there.

    Keras 3 numbers the weights of a layer: `block/dense/0`; before it they have their names:
    `block/dense/kernel`.

    Args:
        contents: The arrays.
        around: What leads to the layers of a model, which has names that are chosen.
    """
    automatic = _automatic_as_in(around)
    groups = contents.layers if isinstance(contents, Contents) else {}
    model = next(iter(around))
    found = {}
    for name in map(str, contents):
        path = enclosing_layers(name, groups)
        if path is not None:
            found[name] = _parts_of(path, automatic, enclosing_groups(name, groups))
            found[name] = _with_attributes(found[name], groups, model)
    return found


def _with_attributes(
    parts: Sequence[PathPart], groups: Mapping[str, str], model: keras.Model
) -> tuple[PathPart, ...]:
    """Return what leads to an array of a file, with what holds each layer in that around it.

    Args:
        parts: The layers.
        groups: The names of layers by groups.
        model: The model that is loaded. Layers within it have the same names, of a class or chosen.
    """
    found = []
    group = ""
    name = groups.get(group, "")
    for part in parts:
        attribute = part.group
        if attribute.startswith(f"{LIST}/"):
            attribute = _in_list(group, name, groups, model)
        found.append(part._replace(attribute=attribute))
        group = f"{group}/{part.group}".removeprefix("/")
        name = part.name
    return tuple(found)


def _in_list(group: str, name: str, groups: Mapping[str, str], model: keras.Model) -> str:
    """Return what stands for the attributes of layers in the list of a group, which has a name.

    It is empty for a list in the order of calls.
    """
    if _is_of_calls(name) or f"{group}/{LIST}/input_layer".removeprefix("/") in groups:
        return ""
    return SAME if group or _is_named_as(model, name) else NOT_KNOWN


def _is_of_calls(name: str) -> bool:
    """Return whether a name is that of a model whose layers are in the order of their calls."""
    return any(split_automatic_name(name, one) for one in ("Sequential", "Functional"))


def _is_named_as(model: keras.Model, name: str) -> bool:
    """Return whether a name is that of a model as this one: its own, or automatic for its class.

    A model of another class may have any name that is chosen. A functional one is told otherwise.
    """
    is_own = name == model.name and isinstance(model, keras.Sequential)
    return is_own or split_automatic_name(name, type(model).__name__) is not None


def _parts_of(
    names: Sequence[str], automatic: Automatic, groups: Sequence[str] | None = None
) -> tuple[PathPart, ...]:
    """Return the parts of a path: layers, and at the end the name of a weight."""
    parts: list[PathPart] = []
    stems: tuple[str, ...] = ()
    for place, name in enumerate(names[:-1]):
        found = automatic(stems, name)
        stems = (*stems, found[0] if found else name)
        parts.append(PathPart(name, found, groups[place] if groups else ""))
    return (*parts, PathPart(names[-1]))


def _automatic_as_in(around: Mapping[keras.Layer, tuple[PathPart, ...]]) -> Automatic:
    """Return a function that says which names are automatic: of a class that a model has.

    A name that is chosen at this place of the model is chosen in a source too.
    """
    of_class = _automatic_of(around)
    chosen = set()
    for parts in around.values():
        if parts and parts[-1].automatic is None:
            chosen.add((tuple(map(_stem, parts[:-1])), parts[-1].name))

    def automatic(stems: tuple[str, ...], name: str) -> tuple[str, int] | None:
        return None if (stems, name) in chosen else of_class(stems, name)

    return automatic


def _automatic_of(layers: Iterable[keras.Layer]) -> Automatic:
    """Return a function that says which names are automatic for the classes of layers."""
    classes = {type(layer).__name__ for layer in layers}

    @functools.cache
    def of_class(name: str) -> tuple[str, int] | None:
        direction, _, inner = name.partition("_")
        if direction in ("forward", "backward"):  # in a `Bidirectional`
            found = of_class(inner)
            return found and (f"{direction}_{found[0]}", found[1])
        return next(filter(None, (split_automatic_name(name, one) for one in classes)), None)

    return lambda stems, name: of_class(name)


def _stem(part: PathPart) -> str:
    return part.automatic[0] if part.automatic else part.name


def _own_name(weight: ModelWeight) -> str:
    """Return the name of a weight in its layer, as its path has it."""
    return weight.path.removeprefix(f"{weight.layer_paths[-1]}/")


def _saved_keys(layer: keras.Layer) -> dict[int, str]:
    """Return what Keras calls the weights of a layer in its group, by their ids.

    Those are left out of which this is unknown.
    """
    store: dict[str, Any] = {}
    try:
        layer.save_own_variables(store)
    except Exception:  # that of a user may want more than a dict
        return {}
    keys = {id(value): key for key, value in store.items()}
    own = []
    for one in list_own_weights(layer):
        # With an adapter, Keras saves the product of the factors with the kernel, and not them.
        if not is_adapter(one.name):
            own.append(id(one))
    left = [one for one in own if one not in keys]
    unknown = [one for one in keys if one not in own]
    if len(left) == len(unknown) == 1:
        keys[left[0]] = keys[unknown[0]]
    return keys


class _Keys:
    """What Keras calls weights in the groups of their layers, each of which is asked once."""

    def __init__(self) -> None:
        self._of_layers: dict[keras.Layer, dict[int, str]] = {}

    def of(self, weight: ModelWeight) -> str | None:
        """Return what Keras calls a weight, or `None` if that is unknown."""
        layer = weight.layer
        if isinstance(layer, keras.layers.TorchModuleWrapper):
            return module_weight_name(weight)
        if layer not in self._of_layers:
            self._of_layers[layer] = _saved_keys(layer)
        return self._of_layers[layer].get(id(weight.variable))


def _names_by_groups(
    contents: Mapping[Any, Any], model: keras.Model, weights: Sequence[ModelWeight]
) -> Pairs:
    """Return the names of the arrays in a file of Keras 3.0 to 3.3, whose groups have no names.

    Groups in lists have the names of classes, numbered in the order of the layers.
    """
    groups = layers_by_group(model)
    keys = _Keys()
    ours = {}
    for weight in weights:
        key = keys.of(weight)
        if key is not None and weight.layer in groups:
            ours[weight.path] = _numbered_parts(f"{groups[weight.layer]}/vars/{key}")
    theirs = {str(name): _numbered_parts(str(name)) for name in contents if "vars/" in str(name)}
    pairs = pair_by_path(canonicalize_paths(ours), canonicalize_paths(theirs), order="none")
    pairs.notes.clear()  # these numbers are the order
    return pairs


def _numbered_parts(name: str) -> tuple[PathPart, ...]:
    group, _, key = f"/{name.removeprefix('/')}".rpartition("/vars/")
    parts = []
    for one in group.split("/")[1:]:
        stem, _, number = one.rpartition("_")
        is_numbered = bool(stem) and number.isdecimal()
        parts.append(PathPart(one, (stem, int(number)) if is_numbered else (one, 0)))
    return (*parts, PathPart(key))


# The names in dicts.


def _names_in_dict(
    contents: Mapping[Any, Any],
    model: keras.Model,
    around: Mapping[keras.Layer, tuple[PathPart, ...]],
    weights: Sequence[ModelWeight],
) -> Pairs:
    """Return the names of arrays by paths, as they are shown or those of variables.

    Keras numbers automatic names in the process, so only their order counts, on both sides. In a
    `Sequential` or subclassed model the paths of variables begin with the name of the model, which
    may be another one.
    """
    shown = {weight.path: _shown_parts(weight) for weight in weights}
    chosen = _automatic_as_in(around)
    split = {name: re.split("[/.]", name) for name in map(str, contents)}
    order: Order = "none" if _are_sorted(contents) else "listed"
    as_shown = _paired_in_dict(shown, split, chosen, order)
    places = canonicalize_paths(shown)
    for path, name in as_shown.names.items():
        if name.replace(".", "/") == path.replace(".", "/") and has_similar_siblings(places[path]):
            as_shown.notes[path] = BY_NUMBER
    by_calls = is_ordered_by_calls(model)
    # The names in the dict do not begin with that of a model, so it is a functional one.
    if not by_calls:
        _note_attributes(as_shown, places, weights)
    readings = [as_shown]
    # Several variables may have one path, of which a dict has one array.
    counts = Counter(str(getattr(weight.variable, "path", "")) for weight in weights)
    variables = {}
    for weight in weights:
        if isinstance(weight.variable, keras.Variable) and counts[weight.variable.path] == 1:
            variables[weight.path] = weight.variable.path
    inner = {name: names[1:] for name, names in split.items() if len(names) > 1}
    if len({names[0] for names in split.values()}) == 1:
        in_model = _paired_in_dict(shown, inner, chosen, order)
        (outer,) = {names[0] for names in split.values()}
        # The name of a class does not say that its layers were made in this order.
        is_sequential = isinstance(model, keras.Sequential) and outer == model.name
        if not (is_sequential or (by_calls and _is_of_calls(outer))):
            _note_attributes(in_model, places, weights)
        # Those of a functional model do not begin with its name: then it may be that of a layer.
        begin = f"{model.name}/"
        are_in_model = all(path.startswith(begin) for path in variables.values())
        if len(in_model.names) == len(split) or are_in_model:
            readings.append(in_model)
    automatic = _automatic_of(around)
    own = {path: _parts_of(name.split("/"), automatic) for path, name in variables.items()}
    with_slashes = {name: name.split("/") for name in split if "/" in name}
    readings.append(_paired_in_dict(own, with_slashes, automatic, order))
    return max(readings, key=lambda pairs: (len(pairs.names), len(pairs.reasons)))


def _note_attributes(
    pairs: Pairs, places: Mapping[str, str], weights: Sequence[ModelWeight]
) -> None:
    """Say of layers that are one of several that the other model may call them in another order.

    If no other layer has these shapes, no other array would fit.

    Args:
        pairs: The pairs.
        places: The places of weights.
        weights: The weights of the model.
    """
    shapes: dict[keras.Layer, list[tuple[str, Shape]]] = {}
    for weight in weights:
        shapes.setdefault(weight.layer, []).append((_own_name(weight), weight.shape))
    alike: dict[Any, set[keras.Layer]] = {}
    for weight in weights:
        kind = (path_stems(places[weight.path]), tuple(shapes[weight.layer]))
        alike.setdefault(kind, set()).add(weight.layer)
    for weight in weights:
        kind = (path_stems(places[weight.path]), tuple(shapes[weight.layer]))
        if weight.path in pairs.names and len(alike[kind]) > 1:
            pairs.notes.setdefault(weight.path, BY_ATTRIBUTES)


def _paired_in_dict(
    ours: Mapping[str, tuple[PathPart, ...]],
    names: Mapping[str, Sequence[str]],
    automatic: Automatic,
    order: Order,
) -> Pairs:
    """Pair paths of weights with the names in a dict, which are split into those of layers."""
    theirs = {name: _parts_of(parts, automatic) for name, parts in names.items()}
    return pair_by_path(canonicalize_paths(ours), canonicalize_paths(theirs), order=order)


def _are_sorted(contents: Mapping[Any, Any]) -> bool:
    """Return whether names are sorted, as texts or with their numbers as such, and have no order.

    Those in a `.safetensors` file are sorted within each dtype.
    """
    runs = itertools.groupby(contents, lambda name: getattr(contents[name], "dtype", None))
    names_by_dtype = [(dtype, list(map(str, run))) for dtype, run in runs]
    if len({str(dtype) for dtype, _ in names_by_dtype}) != len(names_by_dtype):
        names_by_dtype = [(None, list(map(str, contents)))]
    return all(
        names in (sorted(names), sorted(names, key=natural_sort_key)) for _, names in names_by_dtype
    )


def _shown_parts(weight: ModelWeight) -> tuple[PathPart, ...]:
    """Return the parts of the path of a weight as it is shown."""
    parts = []
    around = ""
    for place, path in enumerate(weight.layer_paths[1:]):
        name = path[len(around) :].removeprefix("/")
        around = path
        found = split_automatic_part_name(weight.layers[place], weight.layers[place + 1])
        if found is None:
            parts += [PathPart(one) for one in re.split("[/.]", name)]
        else:
            number = name.removeprefix(found[0]).removeprefix("_")
            parts.append(PathPart(name, (found[0], int(number or 0))))
    return (*parts, *(PathPart(one) for one in re.split("[/.]", _own_name(weight))))


# Names that users give.


def keras_names_by_path(contents: Mapping[Any, Any], inventory: Inventory) -> dict[str, str]:
    """Return the names of the arrays that Keras has saved by layers, by paths as they are shown.

    Automatic names are numbered within each layer of the file.
    """
    found: dict[str, str] = {}
    groups = contents.layers if isinstance(contents, Contents) else {}
    if not groups and any("vars/" in str(name) for name in contents):
        found.update(source_names_by_path(contents, inventory).names)
        for name in map(str, contents):
            found.setdefault(name.replace("vars/", ""), name)
        return found
    for name, shown in shown_paths(_parts_in_file(contents, layer_paths(inventory))).items():
        found.setdefault(shown, name)
    named = contents if groups else list(found.values())
    for name in map(str, named):
        # `names` may have the group of a layer in place of its name.
        found.setdefault(name.removesuffix(":0").replace("/vars/", "/"), name)
    return found


def find_names_in_file(weight: ModelWeight, path: str, saved: Mapping[str, str]) -> list[str]:
    """Return the arrays at a path in a file of Keras, where a weight may have a number."""
    if not saved:
        return []
    names = [saved[path]] if path in saved else []
    layer, _, name = path.rpartition("/")
    if name == weight.path.rpartition("/")[2]:
        numbered_path = f"{layer}/{_Keys().of(weight) or name}".removeprefix("/")
        names.append(saved.get(numbered_path, numbered_path))
    return names
