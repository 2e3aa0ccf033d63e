"""Features of a model: kinds of layers, and how its branches are merged and normalized."""

import enum
from collections.abc import Mapping
from typing import Any, TypeAlias

import keras

from keras_initx.initializers._activations import activation_facts
from keras_initx.inspection._architecture import Architecture
from keras_initx.inspection._hooks import activation_name
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._kernels import (
    CONVOLUTIONS,
    DEPTHWISE,
    is_depthwise,
    normalizes,
)
from keras_initx.inspection._norm_scales import adds_one_to_scale
from keras_initx.inspection._patterns import match_pattern
from keras_initx.inspection._weights import ModelWeight


class Feature(enum.Enum):
    """A feature of a model. The value is its name in messages."""

    FIRST = "a normalization before each branch"
    LAST = "a normalization after each sum"
    LAST_IN_TEXT = "a normalization after each sum in a transformer of text"
    ADDED = "added branches"
    ATTENTION = "attention"
    ATTENTION_IN_BRANCH = "attention in a branch"
    BATCH_NORMALIZATION = "batch normalization"
    CELL = "a recurrent cell"
    CONCATENATED = "concatenated branches"
    CONVOLUTIONS = "convolutions"
    CROSS_ATTENTION = "cross-attention"
    DEPTHWISE = "depthwise convolutions"
    EMBEDDING = "an embedding of tokens or labels"
    HE = "ReLU or another activation for He's weights"
    LAYER_NORMALIZATION = "layer normalization"
    NORMALIZATION = "normalization"
    PLAIN_SCALES = "normalizations that multiply by their scales"
    SCALES_PLUS_ONE = "normalizations that multiply by 1 plus their scales"
    SELU = "SELU"
    SEPARABLE = "separable convolutions"

    def __str__(self) -> str:
        return self.value

    @property
    def without_article(self) -> str:
        """The name of the feature after a "no"."""
        return self.value.removeprefix("a ").removeprefix("an ")


# How authors call layers that attend to another stream.
_CROSS_ATTENTION = ("*cross_attention*", "*crossattention*")
# How KerasHub calls the kernels of gates.
_GATE = "*gat*/kernel"
# What a model has, each with the paths or names of examples.
Features: TypeAlias = dict[Feature, list[str]]
# Layers that are features.
_KINDS = {
    keras.layers.Add: Feature.ADDED,
    keras.layers.BatchNormalization: Feature.BATCH_NORMALIZATION,
    keras.layers.Concatenate: Feature.CONCATENATED,
    keras.layers.LayerNormalization: Feature.LAYER_NORMALIZATION,
}
_CONVOLUTIONS = (*CONVOLUTIONS, *DEPTHWISE, keras.layers.TorchModuleWrapper)
_CELLS = (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


def list_features(inventory: Inventory, found: Architecture) -> Features:
    """List the features of a model, each with the paths or names of examples.

    Args:
        inventory: The layers and weights of a built model.
        found: Its architecture, read from its graph.
    """
    has: Features = {}
    layers = inventory.paths
    for layer, path in layers.items():
        for feature in _list_layer_features(layer, path):
            has.setdefault(feature, []).append(path)
        # Of a functional model.
        operations = getattr(layer, "operations", ()) if isinstance(layer, keras.Model) else ()
        for operation in operations:
            kind = type(operation).__name__
            if isinstance(operation, keras.Layer) or kind not in ("Add", "Concatenate"):
                continue
            if len(keras.tree.flatten(operation.input)) > 1:
                merged = Feature.ADDED if kind == "Add" else Feature.CONCATENATED
                has.setdefault(merged, []).append(operation.name)
    for weight in inventory.weights:
        _note_convolution(weight, has)
        if isinstance(weight.layer, _CELLS):
            has.setdefault(Feature.CELL, []).append(weight.path)
    paths = [weight.path for weight in inventory.weights]
    for pattern in _CROSS_ATTENTION:
        matching = match_pattern(pattern, paths)
        if matching:
            has.setdefault(Feature.CROSS_ATTENTION, []).extend(matching)
    _note_graph(found, has, layers)
    if found.gates or match_pattern(_GATE, paths):
        for layer, path in layers.items():
            adds_one = adds_one_to_scale(layer) if normalizes(layer) else None
            if adds_one is not None:
                scales = Feature.SCALES_PLUS_ONE if adds_one else Feature.PLAIN_SCALES
                has.setdefault(scales, []).append(path)
    return has


def _list_layer_features(layer: keras.Layer, path: str) -> list[Feature]:
    features = []
    if "attention" in f"{type(layer).__name__} {path}".lower():
        features.append(Feature.ATTENTION)
    if isinstance(layer, keras.layers.Embedding) and "position" not in layer.name:
        features.append(Feature.EMBEDDING)
    if normalizes(layer):
        features.append(Feature.NORMALIZATION)
    for kind, feature in _KINDS.items():
        if isinstance(layer, kind):
            features.append(feature)
    activation = activation_name(layer)
    if activation_facts(activation).suits == "he":
        features.append(Feature.HE)
    if activation == "selu":
        features.append(Feature.SELU)
    return features


def _note_convolution(weight: ModelWeight, has: Features) -> None:
    """Note the kind of convolution whose kernel a weight is."""
    if not isinstance(weight.layer, _CONVOLUTIONS) or len(weight.shape) < 3:
        return
    kinds = [Feature.CONVOLUTIONS]
    if isinstance(weight.layer, _SEPARABLE):
        kinds.append(Feature.SEPARABLE)
    elif is_depthwise_kernel(weight):
        kinds.append(Feature.DEPTHWISE)
    # What a layer or model of a user adds in its `call` is not known here.
    if not all(
        isinstance(layer, keras.Sequential) or hasattr(layer, "operations")
        for layer in weight.layers[:-1]
    ):
        kinds.append(Feature.ADDED)
    for kind in kinds:
        has.setdefault(kind, []).append(weight.path)


def is_depthwise_kernel(weight: ModelWeight) -> bool:
    """Return whether a weight is the kernel of a depthwise convolution."""
    if is_depthwise(weight.layer, weight.name):
        return True
    # A `Conv2D` with a group for each channel is depthwise too.
    groups = weight.groups[1]
    return 1 < groups == weight.shape[-1]


def _note_graph(found: Architecture, has: Features, layers: Mapping[keras.Layer, str]) -> None:
    """Note the features that only the graph shows."""
    if found.is_placement_seen and found.normalizes_first is not None:
        ends: list[str] = []
        for branch in found.branches:
            ends += [layer.name for layer in branch.last]
        placement = Feature.FIRST if found.normalizes_first else Feature.LAST
        has[placement] = ends
        # FNet has Fourier transforms in place of attention.
        mixes = found.attends or found.fourier
        if not found.normalizes_first and found.tokens and mixes:
            has[Feature.LAST_IN_TEXT] = ends
    if found.selu:
        has.setdefault(Feature.SELU, []).extend(found.selu)
    if found.hidden:
        return
    if found.attends:
        names = [layers.get(layer, layer.name) for layer in found.attention]
        has[Feature.ATTENTION_IN_BRANCH] = names or ["softmax"]
    crossing: list[Any] = [*found.crossing_layers]
    written: list[Any] = []
    for branch in found.branches:
        if branch.attends:
            written += branch.last
            crossing += branch.last if branch in found.crossing_branches else ()
    for feature, of in ((Feature.ATTENTION, written), (Feature.CROSS_ATTENTION, crossing)):
        if of:
            paths = [layers.get(layer, layer.name) for layer in dict.fromkeys(of)]
            has.setdefault(feature, []).extend(paths)
    if found.positions and not (found.tokens or found.labels):
        has.pop(Feature.EMBEDDING, None)
