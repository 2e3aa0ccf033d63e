"""Layers that follow each other without an activation: together they are one linear layer."""

from collections.abc import Iterator

import keras

from keras_initx._checks import summarize_names
from keras_initx.inspection._kernels import CONVOLUTIONS
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule, titles_of
from keras_initx.tools.diagnose._seen import SeenLayer

# So many layers without an activation between them are no factors of a kernel on purpose.
IN_A_ROW = 3
# These multiply by their kernel, and do nothing else.
_LINEAR = (keras.layers.Dense, keras.layers.EinsumDense, *CONVOLUTIONS)
# These keep what is linear so, for each example or, once it is trained, for all.
_BETWEEN = (
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Reshape,
)


@rule("linear layers")
def linear_layers(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report layers that together are one linear layer.

    Finds:
        {IN_A_ROW} layers or more with kernels, each the only one that takes what the one before
        gives, without an activation between them

    Why:
        they give what a single one would: a product of kernels is a kernel. Two may be its factors

    Level:
        note

    Remedy:
        `activation="relu"`; one layer
    """
    by_layer = {layer.layer: layer for layer in layers}
    following: dict[SeenLayer, SeenLayer] = {}
    for layer in layers:
        after = _after(layer, of)
        if after in by_layer:
            following[layer] = by_layer[after]
    for layer in layers:
        row = [layer]
        while row[-1] in following:
            row.append(following[row[-1]])
        if len(row) < IN_A_ROW or layer in following.values():
            continue
        names = summarize_names(titles_of(row), shown=IN_A_ROW)
        evidence = f"{len(row)} layers follow each other without an activation: {names}"
        remedy = Remedy(f'activation="relu" in all but the last of them, or {row[-1].title} alone')
        yield Finding(row, evidence, remedy, "note")


def _after(layer: SeenLayer, of: Diagnosis) -> keras.Operation | None:
    """Return the layer with a kernel that alone gets what a linear one gives, otherwise `None`."""
    if not isinstance(layer.layer, _LINEAR) or layer.activation not in (None, "linear"):
        return None
    consumer = of.watch.graph.only_consumer(layer.layer)
    while isinstance(consumer, _BETWEEN):
        consumer = of.watch.graph.only_consumer(consumer)
    return consumer if isinstance(consumer, _LINEAR) else None
