"""Likeness: examples, or positions, of which later layers get almost the same."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_initx._keras import layers_of
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._remedy import Remedy, remedy_in_depth
from keras_initx.diagnostics._signal import likeness
from keras_initx.diagnostics._verdict import Finding, Threshold, exceeds, layer_count, rule
from keras_initx.diagnostics.verdicts.gates import are_unread
from keras_initx.diagnostics.verdicts.inputs import InputProbe
from keras_initx.diagnostics.verdicts.no_gradient import is_held_back
from keras_initx.structure import NORMALIZATIONS, Call, Probe, Watch

EXAMPLES_ALIKE = Threshold(
    "examples_alike",
    0.99,
    "mean cosine between the normalized outputs for different examples above which they have "
    "become alike",
)
POSITIONS_ALIKE = Threshold(
    "positions_alike", 0.9999, "the same between the positions of an example"
)
INPUTS_DIFFER = Threshold(
    "inputs_differ",
    0.01,
    "standard deviation between examples of the inputs of the last layer, relative to their root "
    "mean square, below which they have become alike",
)

# These add noise in training mode. Those of whole channels are subclasses.
_NOISES = (
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)
# These keep the size of a signal that is the same everywhere, which no other measurement shows
# then.
_OF_EACH_EXAMPLE = tuple(
    kind for kind in NORMALIZATIONS if kind is not keras.layers.BatchNormalization
)


class LikenessProbe(Probe):
    """Measures how alike the outputs of the first layer, and of normalizations, are.

    Args:
        reports: Dict with the layers that were seen before.

    Attributes:
        examples: Dict from a layer to the mean cosine between its outputs for different examples.
        positions: The same between the positions of an example.
    """

    def __init__(self, reports: Mapping[keras.Layer, LayerReport]) -> None:
        self.examples: dict[keras.Layer, float | None] = {}
        self.positions: dict[keras.Layer, float | None] = {}
        self._reports = reports

    def after(self, call: Call) -> None:
        layer = call.operation
        is_first = len(self._reports) == 1
        if not call.is_seen or not (is_first or isinstance(layer, _OF_EACH_EXAMPLE)):
            return
        values = call.values
        self.examples[layer] = likeness(values.reshape(len(values), -1))
        if values.ndim > 2:
            self.positions[layer] = likeness(values.reshape(len(values), -1, values.shape[-1]))


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
    finds="a layer, group or RMS normalization whose outputs have a mean cosine above "
    "{examples_alike} between examples, or above {positions_alike} between positions, if that of "
    "the first layer is ten times as far from 1; or a last layer whose inputs differ between "
    "examples by at most {inputs_differ} of their size, if those of the first do by ten times as "
    "much",
    reason="later layers get almost the same for all, which the standard deviation does not show. "
    "ReLU makes examples alike with depth (Cho and Saul, 2009), attention makes positions alike "
    "(Dong and others, 2021), and so do sigmoids, or biases beside small kernels",
    remedy="residual connections, normalization inside the branches; `Orthogonal` with biases of "
    "zeros",
)
def alike(measured: Measurements) -> Iterator[Finding]:
    if is_held_back(measured):
        return
    examples: list[tuple[LayerReport, float]] = []
    positions: list[tuple[LayerReport, float]] = []
    for layer in measured.layers:
        if layer.flow.examples_alike is not None:
            examples.append((layer, layer.flow.examples_alike))
        if layer.flow.positions_alike is not None:
            positions.append((layer, layer.flow.positions_alike))
    found = list(_alike("examples", examples, EXAMPLES_ALIKE.of(measured)))
    yield from found
    yield from _alike("positions", positions, POSITIONS_ALIKE.of(measured))
    # The last layer gets what these have made alike.
    if not found:
        yield from _alike_at_the_end(measured)


def _alike(
    what: str, cosines: Sequence[tuple[LayerReport, float]], limit: float
) -> Iterator[Finding]:
    """Yield the finding on the outputs for different examples, or for different positions.

    Args:
        what: `"examples"` or `"positions"`.
        cosines: Each layer with the mean cosine between them.
        limit: The cosine above which they have become alike.
    """
    hit = [(layer, cosine) for layer, cosine in cosines if cosine > limit]
    if not hit:
        return
    first, start = cosines[0]
    if not start < 1 - 10 * (1 - limit):
        return
    last, end = hit[-1]
    layers = [layer for layer, _ in hit]
    evidence = (
        f"the mean cosine of the outputs for different {what} is {end:.5f} in {last.name} and "
        f"{start:.2f} in {first.name}{layer_count(layers)}: later layers get the same for all"
    )
    remedy = Remedy(
        "residual connections with the normalization inside each branch, or the rules of "
        "keras_initx.recipes.deepnorm"
    )
    yield Finding(layers, evidence, remedy)


def _alike_at_the_end(measured: Measurements) -> Iterator[Finding]:
    """Yield the finding on the inputs of the last layers, which differ too little."""
    limit = INPUTS_DIFFER.of(measured)
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
