"""Likeness: examples of which the last layer gets almost the same."""

from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._keras import layers_of
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics._remedy import remedy_in_depth
from keras_initx.diagnostics._verdict import Finding, exceeds, layer_count, rule
from keras_initx.diagnostics.verdicts.gates import are_unread
from keras_initx.diagnostics.verdicts.inputs import InputProbe
from keras_initx.diagnostics.verdicts.no_gradient import is_held_back
from keras_initx.structure import Watch

# Standard deviation between examples of the inputs of the last layer, relative to their root mean
# square, below which they have become alike.
INPUTS_DIFFER = 0.01

# These add noise in training mode. Those of whole channels are subclasses.
_NOISES = (
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)


def differences_without_noise(model: keras.Model, x: Any) -> dict[keras.Layer, float | None]:
    """Return how much the inputs of kernels differ between examples in inference mode.

    In training mode dropout makes alike examples different. There is nothing to add for models
    without, and for those with batch normalization, whose signals are others in inference mode.

    Args:
        model: The model.
        x: Its inputs, as tensors.
    """
    layers = layers_of(model)
    has_noise = any(isinstance(layer, _NOISES) for layer in layers)
    if not has_noise or any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers):
        return {}
    watch = Watch(model)
    probe = InputProbe(watch)
    with watch.watching(probe), backend.preserve_state(layers):
        model(x, training=False)
    return {layer: record.difference for layer, record in probe.records.items()}


@rule(
    "alike",
    levels={"warning": ""},
    finds=f"a last layer whose inputs differ between examples by at most {INPUTS_DIFFER:g} of "
    "their size, if those of the first do by ten times as much",
    reason="the last layer gets almost the same for all, which the standard deviation does not "
    "show. ReLU makes examples alike with depth (Cho and Saul, 2009), and so do sigmoids, or "
    "biases beside small kernels",
    remedy="`Orthogonal` with biases of zeros",
)
def alike(measured: Measurements) -> Iterator[Finding]:
    if is_held_back(measured):
        return
    limit = INPUTS_DIFFER
    differences = []
    for layer in measured.layers:
        if layer.inputs is not None and layer.inputs.difference is not None:
            differences.append((layer, layer.inputs.difference))
    hit = []
    for layer, difference in differences:
        if layer.output is not None and difference <= limit:  # not NaN
            hit.append((layer, difference))
    # What differs little from the start is not made so by the network.
    if not hit or not exceeds(differences[0][1], 10 * limit):
        return
    # What is forgotten, and weights that are no random numbers, have their own verdicts.
    if are_unread(measured):
        return
    for layer in measured.layers:
        if layer.flow.loses_signal or any(
            weight.constant or weight.zero for weight in layer.weights
        ):
            return
    first, start = differences[0]
    last, end = hit[0]
    layers = [layer for layer, _ in hit]
    evidence = (
        f"the inputs of {last.name} differ between examples by {end:.1g} of their root mean "
        f"square, those of {first.name} by {start:.1g}{layer_count(layers)}: the last layer gets "
        "the same for all"
    )
    hidden = measured.layers[: measured.layers.index(last)]
    yield Finding(layers, evidence, remedy_in_depth(hidden, measured.layers))
