"""What a model has, in words: kinds of layers, and how its branches are merged and normalized."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_initx.initializers._activations import activation_facts
from keras_initx.structure._architecture import Architecture
from keras_initx.structure._hooks import activation_name
from keras_initx.structure._kernels import CONVOLUTIONS, DEPTHWISE, is_depthwise, normalizes
from keras_initx.structure._names import layer_paths
from keras_initx.structure._patterns import matching_paths
from keras_initx.structure._weights import ModelWeight

FIRST = "a normalization before each branch"
LAST = "a normalization after each sum"
# By names, or by the graph of a model with attention and an embedding of tokens.
LAST_IN_TEXT = "a normalization after each sum in a transformer of text"
# Layers whose paths say what the model is.
_NAMES = {
    "the names of CLIP": (
        "*logit_scale",
        "*class_embedding",
        "*text_projection",
        "*encoder_block_*/attention/query/kernel",
    ),
    "the names of Gemma": ("*decoder_block_*/ffw_gating/kernel",),
    "the names of Llama": ("*feedforward_gate_dense/kernel", "*/expert_feedforward_gate_dense"),
    "cross-attention": ("*cross_attention*", "*crossattention*"),
    # DeBERTa in KerasHub, and the authors of BERT.
    LAST: ("*disentangled_attention_encoder_layer*/kernel", "*attention/self/query/kernel"),
}
# Layers that are features.
_KINDS = {
    keras.layers.Add: "added branches",
    keras.layers.BatchNormalization: "batch normalization",
    keras.layers.Concatenate: "concatenated branches",
    keras.layers.LayerNormalization: "layer normalization",
}
# The first blocks of EfficientNet in KerasHub and `keras.applications`, as `block1a_dwconv`. The
# Lite one has the activation of MobileNet.
_EFFICIENTNET = "*block?a_*"
_CONVOLUTIONS = (*CONVOLUTIONS, *DEPTHWISE, keras.layers.TorchModuleWrapper)
_CELLS = (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


def features_of(
    model: keras.Model, weights: Sequence[ModelWeight], found: Architecture
) -> dict[str, list[str]]:
    """Return what a model has, each with the paths or names of examples.

    Args:
        model: A built model.
        weights: Its weights.
        found: What its graph shows.
    """
    has: dict[str, list[str]] = {}
    layers = layer_paths(model)
    for layer, path in layers.items():
        for feature in _of_layer(layer, path):
            has.setdefault(feature, []).append(path)
        # Of a functional model.
        for operation in getattr(layer, "operations", ()) if isinstance(layer, keras.Model) else ():
            kind = type(operation).__name__
            if isinstance(operation, keras.Layer) or kind not in ("Add", "Concatenate"):
                continue
            if len(keras.tree.flatten(operation.input)) > 1:
                merged = "added branches" if kind == "Add" else "concatenated branches"
                has.setdefault(merged, []).append(operation.name)
    for weight in weights:
        _note_convolution(weight, has)
        if isinstance(weight.layer, _CELLS):
            has.setdefault("a recurrent cell", []).append(weight.path)
    paths = [weight.path for weight in weights]
    if matching_paths(_EFFICIENTNET, paths):
        has.pop("hard SiLU or ReLU6", None)
    for feature, patterns in _NAMES.items():
        matching = [path for pattern in patterns for path in matching_paths(pattern, paths)]
        if matching:
            has.setdefault(feature, []).extend(matching)
    # Of KerasHub: all that normalize last normalize their embeddings too.
    if FIRST not in has and LAST not in has:
        for path in layers.values():
            if path.endswith("embeddings_layer_norm"):
                has.setdefault(LAST, []).append(path)
    if LAST in has:
        has[LAST_IN_TEXT] = has[LAST]
    _note_graph(found, has, layers)
    return has


def _of_layer(layer: keras.Layer, path: str) -> list[str]:
    features = []
    if "attention" in f"{type(layer).__name__} {path}".lower():
        features.append("attention")
    if isinstance(layer, keras.layers.Embedding) and "position" not in layer.name:
        features.append("an embedding of tokens")
    if normalizes(layer):
        features.append("normalization")
    features += [feature for kind, feature in _KINDS.items() if isinstance(layer, kind)]
    # Layers of KerasHub say where they normalize.
    is_first = getattr(layer, "normalize_first", None)
    if isinstance(is_first, bool):
        features.append(FIRST if is_first else LAST)
    activation = activation_name(layer)
    if isinstance(layer, keras.layers.ReLU) and layer.max_value == 6:
        activation = "relu6"
    if activation_facts(activation).suits == "he":
        features.append("ReLU or another activation for He's weights")
    if activation == "silu":
        features.append("SiLU")
    if activation in ("hard_silu", "relu6"):
        features.append("hard SiLU or ReLU6")
    return features


def _note_convolution(weight: ModelWeight, has: dict[str, list[str]]) -> None:
    """Note what kind of a convolution a weight is the kernel of."""
    if not isinstance(weight.layer, _CONVOLUTIONS) or len(weight.shape) < 3:
        return
    kinds = ["convolutions"]
    if isinstance(weight.layer, _SEPARABLE):
        kinds.append("separable convolutions")
    elif is_depthwise_kernel(weight):
        kinds.append("depthwise convolutions")
    # What a layer or model of a user adds in its `call` is not known here.
    if not all(
        isinstance(layer, keras.Sequential) or hasattr(layer, "operations")
        for layer in weight.layers[:-1]
    ):
        kinds.append("added branches")
    for kind in kinds:
        has.setdefault(kind, []).append(weight.path)


def is_depthwise_kernel(weight: ModelWeight) -> bool:
    """Return whether a weight is the kernel of a depthwise convolution."""
    if is_depthwise(weight.layer, weight.name):
        return True
    # A `Conv2D` with a group for each channel is depthwise too.
    groups = weight.groups[1]
    return 1 < groups == weight.shape[-1]


def _note_graph(
    found: Architecture, has: dict[str, list[str]], layers: Mapping[keras.Layer, str]
) -> None:
    """Note what only the graph shows."""
    if found.hidden:
        return
    if found.attends:
        names = [layers.get(layer, layer.name) for layer in found.attention]
        has["attention in a branch"] = names or ["softmax"]
    crossing: list[Any] = [*found.crossing]
    written: list[Any] = []
    for branch in found.branches:
        if branch.attends:
            written += branch.last
            crossing += branch.last if branch in found.crosses else ()
    for feature, of in (("attention", written), ("cross-attention", crossing)):
        if of:
            paths = [layers.get(layer, layer.name) for layer in dict.fromkeys(of)]
            has.setdefault(feature, []).extend(paths)
    if found.positions and not found.tokens:
        has.pop("an embedding of tokens", None)
    ends = [layer.name for branch in found.branches for layer in branch.last]
    if FIRST not in has and LAST not in has and found.normalizes_first is not None:
        has[FIRST if found.normalizes_first else LAST] = ends
        if not found.normalizes_first and found.tokens and found.attends:
            has[LAST_IN_TEXT] = ends
