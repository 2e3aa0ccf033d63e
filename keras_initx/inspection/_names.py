"""The layers within a layer, which of them holds a weight, and names that tell them apart.

Keras numbers layers without a name in the process, so these numbers are those of other models too.
"""

from collections import Counter
from collections.abc import Iterable

import keras

from keras_initx._keras import list_layers


def list_sublayers(layer: keras.Layer, *, recursive: bool = True) -> list[keras.Layer]:
    """Return the layers inside `layer`, only those directly inside unless `recursive`."""
    return list_layers(layer, include_self=False, recursive=recursive)


def list_own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights of `layer` that do not belong to a layer inside it."""
    inside: set[int] = set()
    for part in list_sublayers(layer, recursive=False):
        inside.update(id(weight) for weight in part.weights)
    return [weight for weight in layer.weights if id(weight) not in inside]


def make_distinct(name: str, taken: set[str]) -> str:
    """Return `name`, with a number if it is `taken`, to which it is added."""
    found = name
    number = 1
    while found in taken:
        number += 1
        found = f"{name} ({number})"
    taken.add(found)
    return found


def split_automatic_part_name(layer: keras.Layer, part: keras.Layer) -> tuple[str, int] | None:
    """Return the stem and number of an automatic name of `part`, which is directly inside `layer`.

    It is `None` for other names.
    """
    class_name = type(part).__name__
    found = split_automatic_name(part.name, class_name)
    if not isinstance(layer, keras.layers.Bidirectional) or found is not None:
        return found  # of a `Bidirectional` that of a backward layer that it was given
    direction, _, name = part.name.partition("_")  # `forward_lstm_3`
    found = split_automatic_name(name, class_name)
    if found is None:
        return None
    stem, number = found
    return f"{direction}_{stem}", number


def split_automatic_name(name: str, class_name: str) -> tuple[str, int] | None:
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


def renumber_names(
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
