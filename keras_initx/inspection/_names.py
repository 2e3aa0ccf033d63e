"""List the layers within a layer and the weights that it holds itself, and split automatic names.

Keras numbers layers without a name in the process: `dense`, `dense_1`, and `dense_2` in the next
model. An automatic name has a stem, which comes from the class, and this number:

    dense_3            AutomaticName("dense", 3)            of a `Dense`
    dense              AutomaticName("dense", 0)
    forward_lstm_3     AutomaticName("forward_lstm", 3)     inside a `Bidirectional`
    encoder            None                                 chosen
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import keras

from keras_initx._keras import list_layers


class AutomaticName(NamedTuple):
    """The stem and the number of an automatic name."""

    stem: str
    number: int


def list_sublayers(layer: keras.Layer, *, recursive: bool = True) -> list[keras.Layer]:
    """List the layers inside `layer`, only those directly inside unless `recursive`."""
    return list_layers(layer, include_self=False, recursive=recursive)


def list_own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """List the weights of `layer` that do not belong to a layer inside it."""
    inner_ids: set[int] = set()
    for sublayer in list_sublayers(layer, recursive=False):
        inner_ids.update(id(weight) for weight in sublayer.weights)
    return [weight for weight in layer.weights if id(weight) not in inner_ids]


def make_distinct(name: str, taken: set[str]) -> str:
    """Number `name` if it is taken, as in `dense (2)`, and add the result to `taken`."""
    distinct = name
    number = 1
    while distinct in taken:
        number += 1
        distinct = f"{name} ({number})"
    taken.add(distinct)
    return distinct


def split_automatic_sublayer_name(
    layer: keras.Layer, sublayer: keras.Layer
) -> AutomaticName | None:
    """Split the automatic name of `sublayer`, directly inside `layer`; `None` for a chosen name."""
    class_name = type(sublayer).__name__
    automatic = split_automatic_name(sublayer.name, class_name)
    if not isinstance(layer, keras.layers.Bidirectional):
        return automatic
    if automatic is not None:
        return automatic  # the user gave this backward layer, so its name has no direction
    direction, _, name = sublayer.name.partition("_")  # `forward_lstm_3`
    automatic = split_automatic_name(name, class_name)
    if automatic is None:
        return None
    return automatic._replace(stem=f"{direction}_{automatic.stem}")


def split_automatic_name(name: str, class_name: str) -> AutomaticName | None:
    """Split an automatic name into its stem and number; `None` for a chosen name."""
    stem, _, number = name.rpartition("_")
    if not (stem and number.isdecimal()):
        stem = name
        number = "0"
    # Keras puts underscores between the words of a class.
    if stem.replace("_", "") != class_name.replace("_", "").lower():
        return None
    return AutomaticName(stem, int(number))


def renumber_names(
    names: Iterable[tuple[str, AutomaticName | None]], counts: Counter[str]
) -> list[str]:
    """Renumber the automatic names of each stem in the order of creation.

    `["dense_7", "encoder", "dense_3"]` becomes `["dense_1", "encoder", "dense"]`.

    Args:
        names: Pairs of a name, and its stem and number if it is automatic.
        counts: How often each stem was numbered before. These names are added.
    """
    renumbered = []
    automatic = []
    for index, (name, stem_and_number) in enumerate(names):
        renumbered.append(name)
        if stem_and_number is not None:
            stem, number = stem_and_number
            automatic.append((stem, number, index))
    # By number, which is the order of creation.
    for stem, _, index in sorted(automatic):
        renumbered[index] = f"{stem}_{counts[stem]}" if counts[stem] else stem
        counts[stem] += 1
    return renumbered
