"""The layers within a layer, which of them holds a weight, and names that tell them apart."""

from collections import Counter
from collections.abc import Iterable

import keras

from keras_initx._keras import layers_of

__all__ = ["automatic_name", "named_layers", "own_weights", "parts_of"]


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

    Layers inside a recurrent layer are left out: they run inside a compiled loop, and their weights
    count as its own.
    """
    names: dict[keras.Layer, str] = {model: model.name}
    _name_parts(model, "", names, {model.name})
    return names


def _name_parts(
    layer: keras.Layer, prefix: str, names: dict[keras.Layer, str], taken: set[str]
) -> None:
    """Add the layers inside `layer` to `names`, each with a name that is not yet `taken`."""
    if isinstance(layer, keras.layers.RNN):
        return
    for part in parts_of(layer, recursive=False):
        if part in names or isinstance(part, keras.layers.InputLayer):
            continue
        name = f"{prefix}{part.name}"
        number = 1
        while name in taken:
            number += 1
            name = f"{prefix}{part.name} ({number})"
        taken.add(name)
        names[part] = name
        _name_parts(part, f"{name}/", names, taken)


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


def numbered(names: Iterable[tuple[str, tuple[str, int] | None]]) -> list[str]:
    """Return the names, with automatic names of each stem renumbered 0, 1, 2, ...

    The numbers are in the order of creation.

    Args:
        names: Pairs of a name, and its stem and number if it is automatic.
    """
    result = []
    automatic = []
    for place, (name, stem_and_number) in enumerate(names):
        result.append(name)
        if stem_and_number is not None:
            stem, number = stem_and_number
            automatic.append((stem, number, place))
    counts: Counter[str] = Counter()
    for stem, _, place in sorted(automatic):
        result[place] = f"{stem}_{counts[stem]}" if counts[stem] else stem
        counts[stem] += 1
    return result
