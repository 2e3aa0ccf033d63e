"""Which arrays of a source the weights of a model have by their own names, as Keras gives them."""

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from keras_initx._keras import saved_layers
from keras_initx._typing import Shape
from keras_initx.files._formats import Contents
from keras_initx.files._keras_files import groups_around, layers_around
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._kernels import is_adapter
from keras_initx.inspection._names import automatic_name, automatic_part_name, own_weights
from keras_initx.inspection._pairing import (
    BY_ATTRIBUTES,
    BY_NUMBER,
    LIST,
    NOT_KNOWN,
    SAME,
    Order,
    Pairs,
    Part,
    is_in_order_of_calls,
    is_one_of_several,
    paired,
    parts_around,
    placed,
    shown_names,
    weight_places,
)
from keras_initx.inspection._weights import ModelWeight, name_in_module

# The stem and number of a name if it is automatic, from the stems of the layers around, and it.
Automatic: TypeAlias = Callable[[tuple[str, ...], str], tuple[str, int] | None]


def own_names(contents: Mapping[Any, Any], inventory: Inventory) -> Pairs:
    """Return the name that each weight of a model has in a source, by path, as far as it has one.

    It is the path, with `/` or `.`, or the name in a file of Keras. It may also be the path that
    Keras gives the variable, as in `{variable.path: array}`, where that accounts for more arrays.

    Args:
        contents: The arrays of the source.
        inventory: What the model holds.
    """
    weights = inventory.held
    if isinstance(contents, Contents) and contents.places:  # those of a model
        return paired(weight_places(inventory, weights), contents.places)
    has_layers = isinstance(contents, Contents) and contents.layers
    if not has_layers and any("vars/" in str(name) for name in contents):
        return _names_by_groups(contents, inventory.model, weights)
    around = parts_around(inventory)
    arrays = _parts_in_file(contents, around)
    if arrays:
        return _names_by_layers(contents, arrays, around, weights)
    return _names_in_dict(contents, inventory.model, around, weights)


def have_equal_sizes(shapes: Iterable[Shape], others: Iterable[Shape]) -> bool:
    """Return whether both have as many arrays of each size, and one at least.

    Where no name of one is in the other, perhaps only names differ.
    """
    sizes = Counter(math.prod(shape) for shape in shapes)
    return bool(sizes) and sizes == Counter(math.prod(shape) for shape in others)


# The names in files.


def _names_by_layers(
    contents: Mapping[Any, Any],
    arrays: Mapping[str, tuple[Part, ...]],
    around: Mapping[keras.Layer, tuple[Part, ...]],
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
    for name, place in placed(arrays).items():
        layer, _, key = place.rpartition("/")
        inside.setdefault(layer, {})[key] = name
    with_weights = dict.fromkeys(weight.layer for weight in weights)
    places = placed({layer: around[layer] for layer in with_weights})
    order: Order = "saved"
    if not any("/vars/" in f"/{name}" for name in arrays):  # a file of Keras 2
        order = "tracked" if getattr(contents, "are_in_order", False) else "none"
    own_places = {place: place for place in places.values()}
    layers = paired(own_places, {place: place for place in inside}, order=order)
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
    contents: Mapping[Any, Any], around: Mapping[keras.Layer, tuple[Part, ...]]
) -> dict[str, tuple[Part, ...]]:
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
        path = layers_around(name, groups)
        if path is not None:
            found[name] = _parts_of(path, automatic, groups_around(name, groups))
            found[name] = _with_attributes(found[name], groups, model)
    return found


def _with_attributes(
    parts: Sequence[Part], groups: Mapping[str, str], model: keras.Model
) -> tuple[Part, ...]:
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
    return any(automatic_name(name, one) for one in ("Sequential", "Functional"))


def _is_named_as(model: keras.Model, name: str) -> bool:
    """Return whether a name is that of a model as this one: its own, or automatic for its class.

    A model of another class may have any name that is chosen. A functional one is told otherwise.
    """
    is_own = name == model.name and isinstance(model, keras.Sequential)
    return is_own or automatic_name(name, type(model).__name__) is not None


def _parts_of(
    names: Sequence[str], automatic: Automatic, groups: Sequence[str] | None = None
) -> tuple[Part, ...]:
    """Return the parts of a path: layers, and at the end the name of a weight."""
    parts: list[Part] = []
    stems: tuple[str, ...] = ()
    for place, name in enumerate(names[:-1]):
        found = automatic(stems, name)
        stems = (*stems, found[0] if found else name)
        parts.append(Part(name, found, groups[place] if groups else ""))
    return (*parts, Part(names[-1]))


def _automatic_as_in(around: Mapping[keras.Layer, tuple[Part, ...]]) -> Automatic:
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
        return next(filter(None, (automatic_name(name, one) for one in classes)), None)

    return lambda stems, name: of_class(name)


def _stem(part: Part) -> str:
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
    for one in own_weights(layer):
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
            return name_in_module(weight)
        if layer not in self._of_layers:
            self._of_layers[layer] = _saved_keys(layer)
        return self._of_layers[layer].get(id(weight.variable))


def _names_by_groups(
    contents: Mapping[Any, Any], model: keras.Model, weights: Sequence[ModelWeight]
) -> Pairs:
    """Return the names of the arrays in a file of Keras 3.0 to 3.3, whose groups have no names.

    Groups in lists have the names of classes, numbered in the order of the layers.
    """
    groups = saved_layers(model)
    keys = _Keys()
    ours = {}
    for weight in weights:
        key = keys.of(weight)
        if key is not None and weight.layer in groups:
            ours[weight.path] = _numbered_parts(f"{groups[weight.layer]}/vars/{key}")
    theirs = {str(name): _numbered_parts(str(name)) for name in contents if "vars/" in str(name)}
    pairs = paired(placed(ours), placed(theirs), order="none")
    pairs.notes.clear()  # these numbers are the order
    return pairs


def _numbered_parts(name: str) -> tuple[Part, ...]:
    group, _, key = f"/{name.removeprefix('/')}".rpartition("/vars/")
    parts = []
    for one in group.split("/")[1:]:
        stem, _, number = one.rpartition("_")
        is_numbered = bool(stem) and number.isdecimal()
        parts.append(Part(one, (stem, int(number)) if is_numbered else (one, 0)))
    return (*parts, Part(key))


# The names in dicts.


def _names_in_dict(
    contents: Mapping[Any, Any],
    model: keras.Model,
    around: Mapping[keras.Layer, tuple[Part, ...]],
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
    as_shown = _paired_in_dict(shown, split, chosen)
    places = placed(shown)
    for path, name in as_shown.names.items():
        if name.replace(".", "/") == path.replace(".", "/") and is_one_of_several(places[path]):
            as_shown.notes[path] = BY_NUMBER
    by_calls = is_in_order_of_calls(model)
    # The names in the dict do not begin with that of a model, so it is a functional one.
    if not by_calls:
        _note_attributes(as_shown, places)
    readings = [as_shown]
    # Several variables may have one path, of which a dict has one array.
    counts = Counter(str(getattr(weight.variable, "path", "")) for weight in weights)
    variables = {}
    for weight in weights:
        if isinstance(weight.variable, keras.Variable) and counts[weight.variable.path] == 1:
            variables[weight.path] = weight.variable.path
    inner = {name: names[1:] for name, names in split.items() if len(names) > 1}
    if len({names[0] for names in split.values()}) == 1:
        in_model = _paired_in_dict(shown, inner, chosen)
        (outer,) = {names[0] for names in split.values()}
        is_same = _is_named_as(model, outer) or (by_calls and _is_of_calls(outer))
        if not is_same:
            _note_attributes(in_model, places)
        # Those of a functional model do not begin with its name: then it may be that of a layer.
        begin = f"{model.name}/"
        are_in_model = all(path.startswith(begin) for path in variables.values())
        if len(in_model.names) == len(split) or are_in_model:
            readings.append(in_model)
    automatic = _automatic_of(around)
    own = {path: _parts_of(name.split("/"), automatic) for path, name in variables.items()}
    with_slashes = {name: name.split("/") for name in split if "/" in name}
    readings.append(_paired_in_dict(own, with_slashes, automatic))
    return max(readings, key=lambda pairs: (len(pairs.names), len(pairs.reasons)))


def _note_attributes(pairs: Pairs, places: Mapping[str, str]) -> None:
    """Say of layers that are one of several that the other model may call them in another order.

    Args:
        pairs: The pairs.
        places: The places of weights.
    """
    for path in pairs.names:
        if is_one_of_several(places[path]):
            pairs.notes.setdefault(path, BY_ATTRIBUTES)


def _paired_in_dict(
    ours: Mapping[str, tuple[Part, ...]],
    names: Mapping[str, Sequence[str]],
    automatic: Automatic,
) -> Pairs:
    """Pair paths of weights with the names in a dict, which are split into those of layers.

    Names that are sorted have no order.
    """
    theirs = {name: _parts_of(parts, automatic) for name, parts in names.items()}
    order: Order = "none" if list(names) == sorted(names) else "listed"
    return paired(placed(ours), placed(theirs), order=order)


def _shown_parts(weight: ModelWeight) -> tuple[Part, ...]:
    """Return the parts of the path of a weight as it is shown."""
    parts = []
    around = ""
    for place, path in enumerate(weight.layer_paths[1:]):
        name = path[len(around) :].removeprefix("/")
        around = path
        found = automatic_part_name(weight.layers[place], weight.layers[place + 1])
        if found is None:
            parts += [Part(one) for one in re.split("[/.]", name)]
        else:
            number = name.removeprefix(found[0]).removeprefix("_")
            parts.append(Part(name, (found[0], int(number or 0))))
    return (*parts, *(Part(one) for one in re.split("[/.]", _own_name(weight))))


# Names that users give.


def saved_names(contents: Mapping[Any, Any], inventory: Inventory) -> dict[str, str]:
    """Return the names of the arrays that Keras has saved by layers, by paths as they are shown.

    Automatic names are numbered within each layer of the file.
    """
    found: dict[str, str] = {}
    groups = contents.layers if isinstance(contents, Contents) else {}
    if not groups and any("vars/" in str(name) for name in contents):
        found.update(own_names(contents, inventory).names)
        for name in map(str, contents):
            found.setdefault(name.replace("vars/", ""), name)
        return found
    for name, shown in shown_names(_parts_in_file(contents, parts_around(inventory))).items():
        found.setdefault(shown, name)
    named = contents if groups else list(found.values())
    for name in map(str, named):
        # `names` may have the group of a layer in place of its name.
        found.setdefault(name.removesuffix(":0").replace("/vars/", "/"), name)
    return found


def names_in_file(weight: ModelWeight, path: str, saved: Mapping[str, str]) -> list[str]:
    """Return the arrays at a path in a file of Keras, where a weight may have a number."""
    if not saved:
        return []
    names = [saved[path]] if path in saved else []
    layer, _, name = path.rpartition("/")
    if name == weight.path.rpartition("/")[2]:
        numbered_path = f"{layer}/{_Keys().of(weight) or name}".removeprefix("/")
        names.append(saved.get(numbered_path, numbered_path))
    return names
