"""The names that Keras gives the weights of a model: as variables, and in its files."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_initx._keras import saved_variables
from keras_initx._typing import Shape
from keras_initx.arrays._formats import Contents
from keras_initx.arrays._keras_files import layers_around
from keras_initx.structure._kernels import is_adapter
from keras_initx.structure._names import (
    automatic_name,
    automatic_part_name,
    numbered,
    own_weights,
    walk,
)
from keras_initx.structure._weights import ModelWeight, find_weights, held_by, name_in_module


def own_names(
    contents: Mapping[Any, Any],
    model: keras.Model,
    saved: Mapping[str, str],
    *,
    may_be_variables: bool = True,
) -> dict[str, str]:
    """Return the name that each weight of a model has in a source, by path, as far as it has one.

    It is the path, with `/` or `.`, or the name in a file of Keras. It may also be the path that
    Keras gives the variable, as in `{variable.path: array}`, where that accounts for more arrays.

    Args:
        contents: The arrays of the source.
        model: The model.
        saved: See `saved_names`.
        may_be_variables: Whether names may be paths of variables.
    """
    weights = held_by(model)
    found = {}
    for weight in weights:
        path = weight.path
        for name in (path, path.replace("/", "."), *names_in_file(weight, path, saved)):
            if name in contents:
                found[path] = name
                break
    if saved or not may_be_variables:
        return found
    by_variables = _names_of_variables(contents, model, weights)
    return by_variables if len(by_variables) > len(found) else found


def have_equal_sizes(shapes: Iterable[Shape], others: Iterable[Shape]) -> bool:
    """Return whether both have as many arrays of each size, and one at least.

    Where no name of one is in the other, perhaps only names differ.
    """
    sizes = Counter(math.prod(shape) for shape in shapes)
    return bool(sizes) and sizes == Counter(math.prod(shape) for shape in others)


# The paths of variables.


def _names_of_variables(
    names: Iterable[str], model: keras.Model, weights: Sequence[ModelWeight]
) -> dict[str, str]:
    """Return which names are those of the variables of a model, by the paths of its weights.

    Keras numbers automatic names in the process, so they are numbered anew, on both sides. In a
    `Sequential` or subclassed model the paths begin with the name of the model, which may be
    another one.
    """
    variables: dict[str, list[str]] = {}
    for weight in weights:
        if isinstance(weight.variable, keras.Variable):
            variables.setdefault(weight.variable.path, []).append(weight.path)
    # Several variables may have one path, of which a dict has one array.
    alone = {path: found[0] for path, found in variables.items() if len(found) == 1}
    classes = {type(layers[-1]).__name__ for layers, _ in walk(model)}
    ours = {name: alone[path] for name, path in _numbered_anew(alone, classes).items()}
    theirs = _numbered_anew(names, classes)
    paths = {weight.path: weight.path for weight in weights}
    readings = [_in_both(ours, theirs), _in_both(paths, theirs)]
    in_model = _in_both(paths, _without_first(theirs))
    # Those of a functional model do not begin with its name: then it may be that of a layer.
    if len(in_model) == len(theirs) or all(path.startswith(f"{model.name}/") for path in alone):
        readings.append(in_model)
    return max(readings, key=len)


def _numbered_anew(names: Iterable[str], classes: Collection[str]) -> dict[str, str]:
    """Return names of the form `layer/weight` by the same with automatic names numbered anew."""
    paths = [(name, tuple(name.split("/"))) for name in names if "/" in name]
    return dict(_renumbered("", paths, lambda _, name: _automatic(name, classes)))


def _without_first(named: Mapping[str, str]) -> dict[str, str]:
    """Return the same without the first part of the keys, nothing if it is not one for all."""
    if len({key.partition("/")[0] for key in named}) != 1:
        return {}
    return {key.partition("/")[2]: value for key, value in named.items()}


def _in_both(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, str]:
    """Return the names of arrays by the paths of weights, for the keys that both have."""
    return {path: theirs[key] for key, path in ours.items() if key in theirs}


# The names in files.


def saved_names(contents: Mapping[Any, Any], model: keras.Model) -> dict[str, str]:
    """Return the names of the arrays that Keras has saved by layers, by paths as in `model`.

    Keras 3 numbers the weights of a layer: `block/dense/0`; before it they have their names:
    `block/dense/kernel`. Automatic names of layers are numbered as in the paths of a model.
    """
    groups = contents.layers if isinstance(contents, Contents) else {}
    if not groups and any("vars/" in str(name) for name in contents):
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
        path = layers_around(name, groups) or ()
        around = [one for one in path[:-1] if one not in chosen_names]
        # A layer that several have is saved in one of them, so numbers in the others are not known.
        if path and not any(_automatic(one, shared) for one in around):
            paths.append((name, path))
    found = dict(_renumbered("", paths, automatic))
    named = contents if groups else list(found.values())
    for name in map(str, named):
        # `names` may have the group of a layer in place of its name.
        found.setdefault(name.removesuffix(":0").replace("/vars/", "/"), name)
    return found


def _names_by_groups(contents: Mapping[Any, Any], model: keras.Model) -> dict[str, str]:
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
    own = []
    for one in own_weights(weight.layer):
        # With an adapter, Keras saves the product of the factors with the kernel, and not them.
        if not is_adapter(one.name):
            own.append(id(one))
    left = [one for one in own if one not in keys]
    unknown = [one for one in keys if one not in own]
    if len(left) == len(unknown) == 1:
        keys[left[0]] = keys[unknown[0]]
    return keys.get(id(weight.variable))


def names_in_file(weight: ModelWeight, path: str, saved: Mapping[str, str]) -> list[str]:
    """Return the arrays at a path in a file of Keras, where a weight may have a number."""
    if not saved:
        return []
    names = [saved[path]] if path in saved else []
    layer, _, name = path.rpartition("/")
    if name == weight.path.rpartition("/")[2]:
        numbered_path = f"{layer}/{_saved_key(weight) or name}".removeprefix("/")
        names.append(saved.get(numbered_path, numbered_path))
    return names
