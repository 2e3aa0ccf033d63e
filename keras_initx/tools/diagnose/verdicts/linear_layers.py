"""Layers that follow each other without an activation: together they are one linear layer."""

from collections.abc import Iterator

import keras

from keras_initx._checks import summarize_names
from keras_initx.inspection._kernels import CONVOLUTIONS
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, list_titles, rule

# The number of layers in a row that are no factors of one kernel on purpose, as two may be.
IN_A_ROW = 3
# These multiply by their kernel, and do nothing else.
_LINEAR = (keras.layers.Dense, keras.layers.EinsumDense, *CONVOLUTIONS)
# These are linear for each example, a batch normalization after training.
_BETWEEN = (
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Reshape,
)


@rule("linear layers")
def linear_layers(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report layers that together are one linear layer.

    Reported if:
        {IN_A_ROW} or more layers with kernels follow each other without an activation, and each is
        the only one that gets the output of the layer before it.

    Level:
        note

    Why:
        Together they compute the same as one layer, because a product of kernels is a kernel. A row
        of only two may be the factors of one kernel.

    Typical causes:
        `Dense` layers without `activation`.

    Fix:
        Add `activation="relu"` to your layers, or keep one of them.
    """
    by_layer = {layer.layer: layer for layer in layers}
    following: dict[MeasuredLayer, MeasuredLayer] = {}
    for layer in layers:
        following_layer = _find_following(layer, diagnosis)
        if following_layer in by_layer:
            following[layer] = by_layer[following_layer]
    for layer in layers:
        row = [layer]
        while row[-1] in following:
            row.append(following[row[-1]])
        if len(row) < IN_A_ROW or layer in following.values():
            continue
        titles = summarize_names(list_titles(row), shown=IN_A_ROW)
        evidence = (
            f"{len(row)} layers follow each other without an activation: {titles}. Together they "
            "compute the same as one layer"
        )
        text = f'set activation="relu" in all of them but the last, or keep only {row[-1].title}'
        yield Finding(row, evidence, Remedy(text), "note")


def _find_following(layer: MeasuredLayer, diagnosis: Diagnosis) -> keras.Operation | None:
    """Find the linear layer that alone gets the output of a linear one, `None` if there is none."""
    if not isinstance(layer.layer, _LINEAR) or layer.activation not in (None, "linear"):
        return None
    consumer = diagnosis.watch.graph.only_consumer(layer.layer)
    while isinstance(consumer, _BETWEEN):
        consumer = diagnosis.watch.graph.only_consumer(consumer)
    return consumer if isinstance(consumer, _LINEAR) else None
