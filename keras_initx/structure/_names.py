"""The layers within a layer, which of them holds a weight, and names that tell them apart.

Keras numbers layers without a name in the process. A path has the names of the layers around one,
numbered within each of them, so it is the same in each build of a model.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import keras

from keras_initx._keras import layers_of


def parts_of(layer: keras.Layer, *, recursive: bool = True) -> list[keras.Layer]:
    """Return the layers inside `layer`, only those directly inside unless `recursive`."""
    return layers_of(layer, include_self=False, recursive=recursive)


def own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights of `layer` that do not belong to a layer inside it."""
    inside: set[int] = set()
    for part in parts_of(layer, recursive=False):
        inside.update(id(weight) for weight in part.weights)
    return [weight for weight in layer.weights if id(weight) not in inside]


def named_layers(model: keras.Model) -> dict[keras.Layer, str]:
    """Return all layers of `model`, starting with the model, as a dict from layer to name.

    A name is that of Keras, after those of the layers around the layer. Layers inside a recurrent
    layer are left out: they run inside a compiled loop, and their weights count as its own.
    """
    names: dict[keras.Layer, str] = {model: model.name}
    taken = {model.name}
    for layers, _ in walk(model):
        layer = layers[-1]
        is_inside_loop = any(isinstance(around, keras.layers.RNN) for around in layers[:-1])
        if layer in names or is_inside_loop or isinstance(layer, keras.layers.InputLayer):
            continue
        prefix = f"{names[layers[-2]]}/" if len(layers) > 2 else ""
        names[layer] = distinct(f"{prefix}{layer.name}", taken)
    return names


def layer_paths(model: keras.Model) -> dict[keras.Layer, str]:
    """Return the layers of `named_layers` with their paths, of which each is another one.

    The paths of the weights of a layer begin with its path, unless the layer around it has two of
    one name. The model, whose path is empty, has its name.
    """
    paths: dict[keras.Layer, str] = {}
    taken: set[str] = set()
    for layers, around in walk(model):
        if layers[-1] not in paths and around[-1]:
            paths[layers[-1]] = distinct(around[-1], taken)
    paths[model] = distinct(model.name, taken)
    return {layer: paths[layer] for layer in named_layers(model)}


def distinct(name: str, taken: set[str]) -> str:
    """Return `name`, with a number if it is `taken`, to which it is added."""
    found = name
    number = 1
    while found in taken:
        number += 1
        found = f"{name} ({number})"
    taken.add(found)
    return found


def walk(layer: keras.Layer) -> Iterator[tuple[tuple[keras.Layer, ...], tuple[str, ...]]]:
    """Yield `layer` and each layer inside it, with those around it, and the paths of all.

    The paths begin inside `layer`, whose own is empty. A layer that several others have is yielded
    as often. Layers of one name have the same path.

    Yields:
        The layers from `layer` to the one inside it, and their paths.
    """
    yield from _walk((layer,), ("",))


def _walk(
    layers: tuple[keras.Layer, ...], paths: tuple[str, ...]
) -> Iterator[tuple[tuple[keras.Layer, ...], tuple[str, ...]]]:
    """Yield the last of `layers`, which has the last of `paths`, and the layers inside it."""
    yield layers, paths
    prefix = f"{paths[-1]}/" if paths[-1] else ""
    for part, name in _names_within(layers[-1]).items():
        yield from _walk((*layers, part), (*paths, f"{prefix}{name}"))


def _names_within(layer: keras.Layer) -> dict[keras.Layer, str]:
    """Return the layers directly inside `layer` with their names, automatic ones renumbered."""
    parts = parts_of(layer, recursive=False)
    with_weights: list[keras.Layer] = []
    others: list[keras.Layer] = []
    for part in parts:
        group = with_weights if part.weights else others
        group.append(part)
    names = dict.fromkeys(parts, "")
    counts: Counter[str] = Counter()
    # The others are numbered last, so that paths of weights do not depend on them.
    for group in (with_weights, others):
        pairs = ((part.name, automatic_part_name(layer, part)) for part in group)
        names.update(zip(group, numbered(pairs, counts), strict=True))
    return names


def automatic_part_name(layer: keras.Layer, part: keras.Layer) -> tuple[str, int] | None:
    """Return the stem and number of an automatic name of `part`, which is directly inside `layer`.

    It is `None` for other names.
    """
    class_name = type(part).__name__
    found = automatic_name(part.name, class_name)
    if not isinstance(layer, keras.layers.Bidirectional) or found is not None:
        return found  # of a `Bidirectional` that of a backward layer that it was given
    direction, _, name = part.name.partition("_")  # `forward_lstm_3`
    found = automatic_name(name, class_name)
    if found is None:
        return None
    stem, number = found
    return f"{direction}_{stem}", number


def automatic_name(name: str, class_name: str) -> tuple[str, int] | None:
    """Return the stem and number of an automatic name, such as `dense_3` for a `Dense`.

    It is `None` for other names. Keras numbers the layers of each class in the process, so the
    number depends on other models.
    """
    stem, _, number = name.rpartition("_")
    if not (stem and number.isdecimal()):
        stem = name
        number = "0"
    # Keras puts underscores between the words of a class.
    if stem.replace("_", "") != class_name.replace("_", "").lower():
        return None
    return stem, int(number)


def numbered(
    names: Iterable[tuple[str, tuple[str, int] | None]], counts: Counter[str]
) -> list[str]:
    """Return the names, with automatic names of each stem renumbered in the order of creation.

    Args:
        names: Pairs of a name, and its stem and number if it is automatic.
        counts: How often each stem was numbered before, to which these are added.
    """
    result = []
    automatic = []
    for place, (name, stem_and_number) in enumerate(names):
        result.append(name)
        if stem_and_number is not None:
            stem, number = stem_and_number
            automatic.append((stem, number, place))
    for stem, _, place in sorted(automatic):
        result[place] = f"{stem}_{counts[stem]}" if counts[stem] else stem
        counts[stem] += 1
    return result
