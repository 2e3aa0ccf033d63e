"""Pair the weights of a model with the arrays of a source, by the names that Keras gives both.

Files of Keras have these names:

    layers/dense_1/vars/0             Keras 3: groups of layers, and a number of the weight. Since
                                      3.4 groups say the name of their layer, before only its class
    dense_1/dense_1/kernel:0          Keras 2: the layer, and the whole name of the weight

A dict can have any names. Three forms are common:

    dense_1/kernel                    the path that this package shows, with `/` or `.`
    net/dense_1/kernel                the same inside a model or module `net`
    sequential/dense/kernel           `variable.path` of Keras

The path of an array or a weight is a tuple of `PathPart`: a layer each, and at its end the name of
the weight. Layers with automatic names are paired by their canonical paths, see `_pairing.py`.
"""

import functools
import itertools
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
    AutomaticName,
    list_own_weights,
    split_automatic_name,
    split_automatic_sublayer_name,
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

# Splits a name into stem and number, `dense_1` into `("dense", 1)`; `None` for a chosen name. It
# takes the stems of the layers around the layer, and the name.
SplitAutomatic: TypeAlias = Callable[[tuple[str, ...], str], AutomaticName | None]


def source_names_by_path(contents: Mapping[Any, Any], inventory: Inventory) -> Pairs:
    """Find the name that each weight of a model has in a source, by path, if it has one.

    It is the path, with `/` or `.`, or the name in a file of Keras. If it pairs more arrays, it is
    the path that Keras gives the variable, as in `{variable.path: array}`.

    Args:
        contents: The arrays of the source.
        inventory: The layers and weights of the model.
    """
    weights = inventory.weights_and_buffers
    if isinstance(contents, Contents) and contents.canonical_paths:  # those of a model
        return pair_by_path(canonical_weight_paths(inventory, weights), contents.canonical_paths)
    has_layers = isinstance(contents, Contents) and contents.layers
    paths_by_layer = layer_paths(inventory)
    if not has_layers and any("vars/" in str(name) for name in contents):
        pairs = _pair_by_groups(contents, inventory.model, weights)
        return _add_remarks(pairs, paths_by_layer, weights)
    array_paths = _read_paths_in_file(contents, paths_by_layer)
    if array_paths:
        pairs = _pair_by_layers(contents, array_paths, paths_by_layer, weights)
        return _add_remarks(pairs, paths_by_layer, weights)
    return _pair_in_dict(contents, inventory.model, paths_by_layer, weights)


def _add_remarks(
    pairs: Pairs,
    paths_by_layer: Mapping[keras.Layer, tuple[PathPart, ...]],
    weights: Sequence[ModelWeight],
) -> Pairs:
    """Add remarks on layers in lists and dicts to pairs with arrays of a file."""
    paths = {}
    for weight in weights:
        if weight.path in pairs.names and weight.path not in pairs.notes:
            paths[weight.path] = (*paths_by_layer[weight.layer], PathPart(_name_in_layer(weight)))
    shapes = {weight.path: weight.shape for weight in weights}
    return replace(pairs, remarks=note_containers(canonicalize_paths(paths), shapes))


# The names in files.


def _pair_by_layers(
    contents: Mapping[Any, Any],
    array_paths: Mapping[str, tuple[PathPart, ...]],
    paths_by_layer: Mapping[keras.Layer, tuple[PathPart, ...]],
    weights: Sequence[ModelWeight],
) -> Pairs:
    """Pair weights with the arrays of a file that has the names of layers: Keras 3.4, Keras 2.

    Args:
        contents: The arrays of the file.
        array_paths: The paths of these arrays.
        paths_by_layer: The paths of the layers of the model.
        weights: The weights of the model.
    """
    arrays_by_layer: dict[str, dict[str, str]] = {}
    for name, path in canonicalize_paths(array_paths).items():
        their_layer, _, weight_key = path.rpartition("/")
        arrays_by_layer.setdefault(their_layer, {})[weight_key] = name
    with_weights = dict.fromkeys(weight.layer for weight in weights)
    our_layers = canonicalize_paths({layer: paths_by_layer[layer] for layer in with_weights})
    order: Order = "saved"
    if not any("/vars/" in f"/{name}" for name in array_paths):  # a file of Keras 2
        order = "tracked" if getattr(contents, "are_in_order", False) else "none"
    layer_pairs = pair_by_path(
        {path: path for path in our_layers.values()},
        {path: path for path in arrays_by_layer},
        order=order,
    )
    pairs = Pairs()
    saved_keys = _SavedKeys()
    for weight in weights:
        our_layer = our_layers[weight.layer]
        if our_layer in layer_pairs.reasons:
            pairs.reasons[weight.path] = layer_pairs.reasons[our_layer]
        if our_layer not in layer_pairs.names:
            continue
        arrays = arrays_by_layer[layer_pairs.names[our_layer]]
        for key in (saved_keys.get(weight), _name_in_layer(weight)):
            if key is not None and key in arrays:
                pairs.names[weight.path] = arrays[key]
                if our_layer in layer_pairs.notes:
                    pairs.notes[weight.path] = layer_pairs.notes[our_layer]
                break
    return pairs


def _read_paths_in_file(
    contents: Mapping[Any, Any], paths_by_layer: Mapping[keras.Layer, tuple[PathPart, ...]]
) -> dict[str, tuple[PathPart, ...]]:
    """Read the paths of the arrays of layers in a file of Keras.

    Keras 3 numbers the weights of a layer: `block/dense/0`. Keras 2 keeps their names:
    `block/dense/kernel`.

    Args:
        contents: The arrays.
        paths_by_layer: The paths of the layers of a model, which show the chosen names.
    """
    split_name = _make_model_splitter(paths_by_layer)
    groups = contents.layers if isinstance(contents, Contents) else {}
    model = next(iter(paths_by_layer))
    array_paths = {}
    for name in map(str, contents):
        enclosing = enclosing_layers(name, groups)
        if enclosing is not None:
            path = _make_path(enclosing, split_name, enclosing_groups(name, groups))
            array_paths[name] = _add_attributes(path, groups, model)
    return array_paths


def _add_attributes(
    path: Sequence[PathPart], groups: Mapping[str, str], model: keras.Model
) -> tuple[PathPart, ...]:
    """Add to the path of an array of a file the attribute that holds each layer.

    Args:
        path: The path of the array.
        groups: The names of layers by groups.
        model: The model to load. Layers within it have the same names, chosen or of a class.
    """
    complete = []
    group = ""
    name = groups.get(group, "")
    for part in path:
        attribute = part.group
        if attribute.startswith(f"{LIST}/"):
            attribute = _choose_list_attribute(group, name, groups, model)
        complete.append(part._replace(attribute=attribute))
        group = f"{group}/{part.group}"
        name = part.name
    return tuple(complete)


def _choose_list_attribute(
    group: str, name: str, groups: Mapping[str, str], model: keras.Model
) -> str:
    # In place of the attributes of layers in the list of a group, whose layer has this name. It is
    # empty for a list in the order of calls, in which Keras saves inputs too.
    if _is_call_model_name(name) or f"{group}/{LIST}/input_layer".removeprefix("/") in groups:
        return ""
    return SAME if group or _may_be_name_of(model, name) else NOT_KNOWN


def _is_call_model_name(name: str) -> bool:
    # Whether it is that of a model whose layers are in the order of their calls.
    return any(split_automatic_name(name, kind) for kind in ("Sequential", "Functional"))


def _may_be_name_of(model: keras.Model, name: str) -> bool:
    # Whether it is the name of a model, or automatic for its class. A model of another class may
    # have any name that is chosen. A functional one is known by its inputs.
    is_own = name == model.name and isinstance(model, keras.Sequential)
    return is_own or split_automatic_name(name, type(model).__name__) is not None


def _make_path(
    names: Sequence[str], split_name: SplitAutomatic, groups: Sequence[str] | None = None
) -> tuple[PathPart, ...]:
    # `names` are those of layers, and at the end that of a weight.
    parts: list[PathPart] = []
    stems: tuple[str, ...] = ()
    for index, name in enumerate(names[:-1]):
        automatic = split_name(stems, name)
        stems = (*stems, automatic.stem if automatic else name)
        parts.append(PathPart(name, automatic, groups[index] if groups else ""))
    return (*parts, PathPart(names[-1]))


def _make_model_splitter(
    paths_by_layer: Mapping[keras.Layer, tuple[PathPart, ...]],
) -> SplitAutomatic:
    """Make a function that splits the automatic names of the classes of layers in a model.

    A name that is chosen in this layer of the model counts as chosen in a source too.
    """
    split_class_name = _make_class_splitter(paths_by_layer)
    chosen = set()
    for parts in paths_by_layer.values():
        if parts and parts[-1].automatic is None:
            chosen.add((tuple(map(_stem, parts[:-1])), parts[-1].name))

    def split_name(stems: tuple[str, ...], name: str) -> AutomaticName | None:
        return None if (stems, name) in chosen else split_class_name(stems, name)

    return split_name


def _make_class_splitter(layers: Iterable[keras.Layer]) -> SplitAutomatic:
    """Make a function that splits the automatic names of the classes of all layers."""
    classes = {type(layer).__name__ for layer in layers}

    @functools.cache
    def split_name(name: str) -> AutomaticName | None:
        direction, _, inner_name = name.partition("_")
        if direction in ("forward", "backward"):  # in a `Bidirectional`
            inner = split_name(inner_name)
            return inner and inner._replace(stem=f"{direction}_{inner.stem}")
        return next(filter(None, (split_automatic_name(name, kind) for kind in classes)), None)

    return lambda stems, name: split_name(name)


def _stem(part: PathPart) -> str:
    return part.automatic.stem if part.automatic else part.name


def _name_in_layer(weight: ModelWeight) -> str:
    # As its path has it, in which `variable_1` is numbered within the layer.
    return weight.path.removeprefix(f"{weight.layer_paths[-1]}/")


def _read_saved_keys(layer: keras.Layer) -> dict[int, str]:
    """Read the keys of the weights of a layer in its group of a file, such as `0`, by their ids.

    Weights without a known key are left out.
    """
    store: dict[str, Any] = {}
    try:
        layer.save_own_variables(store)
    except Exception:  # that of a user may want more than a dict
        return {}
    keys = {id(value): key for key, value in store.items()}
    # With an adapter, Keras saves the product of the factors with the kernel, and not them.
    ids = [id(weight) for weight in list_own_weights(layer) if not is_adapter(weight.name)]
    unsaved = [identity for identity in ids if identity not in keys]
    unknown = [identity for identity in keys if identity not in ids]
    if len(unsaved) == len(unknown) == 1:
        keys[unsaved[0]] = keys[unknown[0]]
    return keys


class _SavedKeys:
    """The keys of weights in the groups of their layers. Each layer is read once."""

    def __init__(self) -> None:
        self._keys_by_layer: dict[keras.Layer, dict[int, str]] = {}

    def get(self, weight: ModelWeight) -> str | None:
        """Return the key of a weight, or `None` if it is unknown."""
        layer = weight.layer
        if isinstance(layer, keras.layers.TorchModuleWrapper):
            return module_weight_name(weight)
        if layer not in self._keys_by_layer:
            self._keys_by_layer[layer] = _read_saved_keys(layer)
        return self._keys_by_layer[layer].get(id(weight.variable))


def _pair_by_groups(
    contents: Mapping[Any, Any], model: keras.Model, weights: Sequence[ModelWeight]
) -> Pairs:
    """Pair weights with the arrays of a file of Keras 3.0 to 3.3, whose groups have no names.

    Groups in lists have the names of classes, numbered in the order of the layers.
    `layers/dense_1/vars/0` belongs to the second dense layer.
    """
    groups = layers_by_group(model)
    saved_keys = _SavedKeys()
    ours = {}
    for weight in weights:
        key = saved_keys.get(weight)
        if key is not None and weight.layer in groups:
            ours[weight.path] = _make_numbered_path(f"{groups[weight.layer]}/vars/{key}")
    theirs = {
        str(name): _make_numbered_path(str(name)) for name in contents if "vars/" in str(name)
    }
    pairs = pair_by_path(canonicalize_paths(ours), canonicalize_paths(theirs), order="none")
    pairs.notes.clear()  # these numbers are the order
    return pairs


def _make_numbered_path(name: str) -> tuple[PathPart, ...]:
    group, _, key = f"/{name.removeprefix('/')}".rpartition("/vars/")
    parts = []
    for group_name in group.split("/")[1:]:
        stem, _, number = group_name.rpartition("_")
        if not stem or not number.isdecimal():
            stem, number = group_name, "0"
        parts.append(PathPart(group_name, AutomaticName(stem, int(number))))
    return (*parts, PathPart(key))


# The names in dicts.


def _pair_in_dict(
    contents: Mapping[Any, Any],
    model: keras.Model,
    paths_by_layer: Mapping[keras.Layer, tuple[PathPart, ...]],
    weights: Sequence[ModelWeight],
) -> Pairs:
    """Pair weights with the arrays of a dict. The way to read its names that pairs most counts."""
    readings = _DictReadings(contents, model, paths_by_layer, weights)
    ways = [readings.read_shown(), readings.read_inside_model(), readings.read_variables()]
    return max(
        (pairs for pairs in ways if pairs is not None),
        key=lambda pairs: (len(pairs.names), len(pairs.reasons)),
    )


class _DictReadings:
    """The ways to read the names in a dict: as shown paths, or as paths of variables.

    Keras numbers automatic names in the process, so only their order counts, on both sides.

    Args:
        contents: The arrays of the dict.
        model: The model.
        paths_by_layer: The paths of its layers.
        weights: Its weights.
    """

    def __init__(
        self,
        contents: Mapping[Any, Any],
        model: keras.Model,
        paths_by_layer: Mapping[keras.Layer, tuple[PathPart, ...]],
        weights: Sequence[ModelWeight],
    ) -> None:
        self._model = model
        self._paths_by_layer = paths_by_layer
        self._weights = weights
        self._names = {name: re.split("[/.]", name) for name in map(str, contents)}
        self._order: Order = "none" if _are_sorted(contents) else "listed"
        self._split_name = _make_model_splitter(paths_by_layer)
        self._shown = {weight.path: _make_shown_path(weight) for weight in weights}
        self._canonical_paths = canonicalize_paths(self._shown)
        # Several variables may have one path, of which a dict has one array.
        counts = Counter(str(getattr(weight.variable, "path", "")) for weight in weights)
        self._variables = {}
        for weight in weights:
            if isinstance(weight.variable, keras.Variable) and counts[weight.variable.path] == 1:
                self._variables[weight.path] = weight.variable.path

    def read_shown(self) -> Pairs:
        """Read `dense_1/kernel`: the path that this package shows."""
        pairs = _pair_dict_names(self._shown, self._names, self._split_name, self._order)
        for path, name in pairs.names.items():
            is_same = name.replace(".", "/") == path.replace(".", "/")
            if is_same and has_similar_siblings(self._canonical_paths[path]):
                pairs.notes[path] = BY_NUMBER
        # The names in the dict do not begin with that of a model, so it is a functional one.
        if not is_ordered_by_calls(self._model):
            _note_similar_layers(pairs, self._canonical_paths, self._weights)
        return pairs

    def read_inside_model(self) -> Pairs | None:
        """Read `net/dense_1/kernel`: the shown path inside a model or a module.

        In a `Sequential` or subclassed model the paths of variables begin with the name of the
        model, which may be another one.
        """
        outer_names = {names[0] for names in self._names.values()}
        if len(outer_names) != 1:
            return None
        (outer_name,) = outer_names
        inner_names = {name: names[1:] for name, names in self._names.items() if len(names) > 1}
        pairs = _pair_dict_names(self._shown, inner_names, self._split_name, self._order)
        # The name of a class does not say that its layers were made in this order.
        is_sequential = isinstance(self._model, keras.Sequential) and outer_name == self._model.name
        by_calls = is_ordered_by_calls(self._model) and _is_call_model_name(outer_name)
        if not (is_sequential or by_calls):
            _note_similar_layers(pairs, self._canonical_paths, self._weights)
        # Those of a functional model do not begin with its name: then it may be that of a layer.
        begin = f"{self._model.name}/"
        are_in_model = all(path.startswith(begin) for path in self._variables.values())
        return pairs if len(pairs.names) == len(self._names) or are_in_model else None

    def read_variables(self) -> Pairs:
        """Read `sequential/dense/kernel`: `variable.path` of Keras."""
        split_name = _make_class_splitter(self._paths_by_layer)
        variables = {
            path: _make_path(name.split("/"), split_name) for path, name in self._variables.items()
        }
        with_slashes = {name: name.split("/") for name in self._names if "/" in name}
        return _pair_dict_names(variables, with_slashes, split_name, self._order)


def _note_similar_layers(
    pairs: Pairs, canonical_paths: Mapping[str, str], weights: Sequence[ModelWeight]
) -> None:
    """Note that the other model may call similar layers in another order.

    Layers get no note if no other layer has their shapes, because no other array would fit.

    Args:
        pairs: The pairs, to which notes are added.
        canonical_paths: The canonical paths of weights.
        weights: The weights of the model.
    """
    shapes: dict[keras.Layer, list[tuple[str, Shape]]] = {}
    for weight in weights:
        shapes.setdefault(weight.layer, []).append((_name_in_layer(weight), weight.shape))
    similar_layers: dict[Any, set[keras.Layer]] = {}
    for weight in weights:
        kind = (path_stems(canonical_paths[weight.path]), tuple(shapes[weight.layer]))
        similar_layers.setdefault(kind, set()).add(weight.layer)
    for weight in weights:
        kind = (path_stems(canonical_paths[weight.path]), tuple(shapes[weight.layer]))
        if weight.path in pairs.names and len(similar_layers[kind]) > 1:
            pairs.notes.setdefault(weight.path, BY_ATTRIBUTES)


def _pair_dict_names(
    ours: Mapping[str, tuple[PathPart, ...]],
    parts_by_name: Mapping[str, Sequence[str]],
    split_name: SplitAutomatic,
    order: Order,
) -> Pairs:
    # The names in the dict are split into those of layers, and that of the weight.
    theirs = {name: _make_path(parts, split_name) for name, parts in parts_by_name.items()}
    return pair_by_path(canonicalize_paths(ours), canonicalize_paths(theirs), order=order)


def _are_sorted(contents: Mapping[Any, Any]) -> bool:
    """Return whether names are sorted, as texts or by their numbers, so that they have no order.

    Names in a `.safetensors` file are sorted within each dtype.
    """
    runs = itertools.groupby(contents, lambda name: getattr(contents[name], "dtype", None))
    names_by_dtype = [(dtype, list(map(str, run))) for dtype, run in runs]
    if len({str(dtype) for dtype, _ in names_by_dtype}) != len(names_by_dtype):
        names_by_dtype = [(None, list(map(str, contents)))]
    return all(
        names in (sorted(names), sorted(names, key=natural_sort_key)) for _, names in names_by_dtype
    )


def _make_shown_path(weight: ModelWeight) -> tuple[PathPart, ...]:
    """Split the shown path of a weight, which numbers names within each layer."""
    parts = []
    outer_path = ""
    for depth, path in enumerate(weight.layer_paths[1:]):
        name = path[len(outer_path) :].removeprefix("/")
        outer_path = path
        automatic = split_automatic_sublayer_name(weight.layers[depth], weight.layers[depth + 1])
        if automatic is None:
            parts += [PathPart(piece) for piece in re.split("[/.]", name)]
        else:
            number = name.removeprefix(automatic.stem).removeprefix("_")
            parts.append(PathPart(name, AutomaticName(automatic.stem, int(number or 0))))
    return (*parts, *(PathPart(piece) for piece in re.split("[/.]", _name_in_layer(weight))))


# Paths for `names` of users.


def keras_names_by_path(contents: Mapping[Any, Any], inventory: Inventory) -> dict[str, str]:
    """List the names of the arrays that Keras has saved by layers, by their shown paths.

    Automatic names are numbered within each layer of the file.
    """
    names_by_path: dict[str, str] = {}
    groups = contents.layers if isinstance(contents, Contents) else {}
    if not groups and any("vars/" in str(name) for name in contents):
        names_by_path.update(source_names_by_path(contents, inventory).names)
        for name in map(str, contents):
            names_by_path.setdefault(name.replace("vars/", ""), name)
        return names_by_path
    for name, shown in shown_paths(_read_paths_in_file(contents, layer_paths(inventory))).items():
        names_by_path.setdefault(shown, name)
    names_in_use = contents if groups else list(names_by_path.values())
    for name in map(str, names_in_use):
        # `names` may have the group of a layer in place of its name.
        names_by_path.setdefault(name.removesuffix(":0").replace("/vars/", "/"), name)
    return names_by_path


def find_names_in_file(
    weight: ModelWeight, path: str, names_by_path: Mapping[str, str]
) -> list[str]:
    """Return the arrays at a path in a file of Keras, in which a weight may be `dense/0`."""
    if not names_by_path:
        return []
    names = [names_by_path[path]] if path in names_by_path else []
    layer, _, name = path.rpartition("/")
    if name == weight.path.rpartition("/")[2]:
        numbered_path = f"{layer}/{_SavedKeys().get(weight) or name}".removeprefix("/")
        names.append(names_by_path.get(numbered_path, numbered_path))
    return names
