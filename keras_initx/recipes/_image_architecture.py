"""Which recipes fit a network of images, by its layers or the names and shapes of its arrays."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import keras

from keras_initx._typing import Shape
from keras_initx.recipes._fit import Weights, is_depthwise_kernel, readers_of
from keras_initx.structure import (
    CONVOLUTIONS,
    DEPTHWISE,
    NORMALIZATIONS,
    TRANSPOSED,
    find_weights,
    matching_paths,
    named_layers,
)

_CONVOLUTIONS = (*CONVOLUTIONS, *DEPTHWISE, keras.layers.TorchModuleWrapper)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_ENLARGING = (*TRANSPOSED, keras.layers.UpSampling1D, keras.layers.UpSampling2D)
# Names of torchvision, timm and Hugging Face's transformers, with the digits that patterns of rules
# cannot ask for: in branches that are added or concatenated, and in a plain sequence.
_ADDED = re.compile(
    r".*layer[0-9].*\.[0-9].*\.conv[0-9]\.weight"
    r"|.*stages\.[0-9].*\.layers\.[0-9].*\.layer\.[0-9].*\.weight"
    r"|.*block[0-9].*\.rep\..*\.weight"
)
_CONCATENATED = re.compile(r".*denselayer[0-9].*\.conv.*\.weight")
_SEQUENCE = re.compile(r"features\.[0-9].*\.weight")
_ATTENTION = ("attention", "attn", "qkv")


def image_recipes(weights: Weights, shapes: Mapping[str, Shape]) -> tuple[tuple[str, ...], str]:
    """Return the names of the recipes that are for such a network, and what shows it.

    Args:
        weights: A model or a dict of arrays.
        shapes: The shapes of its weights.
    """
    return _fitting(_parts(weights, shapes))


def has_depthwise(weights: Weights, shapes: Mapping[str, Shape]) -> bool:
    """Return whether a network has depthwise convolutions.

    Args:
        weights: A model or a dict of arrays.
        shapes: The shapes of its weights.
    """
    return bool(_parts(weights, shapes).depthwise)


@dataclass
class _Parts:
    """What a network consists of, each with the names of the layers, operations or arrays.

    Attributes:
        convolutions: All convolutions that are not transposed.
        depthwise: Depthwise convolutions.
        separable: Separable convolutions.
        batch_norms: Batch normalizations.
        norms: All normalizations.
        attention: Attention.
        enlarging: Transposed convolutions, and layers that repeat pixels.
        added: Sums of two branches.
        concatenated: Concatenations.
        dense: Concatenations of a branch and of the input of this branch.
        unnamed: Convolutions, if no array has the name of a known network.
        is_known: Whether all sums and concatenations are known. Those in the `call` of a layer or
            a model are not.
    """

    convolutions: list[str] = field(default_factory=list)
    depthwise: list[str] = field(default_factory=list)
    separable: list[str] = field(default_factory=list)
    batch_norms: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    enlarging: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    concatenated: list[str] = field(default_factory=list)
    dense: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    is_known: bool = True


def _fitting(parts: _Parts) -> tuple[tuple[str, ...], str]:
    """Return the names of the recipes that fit, and why."""
    if not parts.convolutions:
        return (), "no convolutions"
    if parts.attention:
        return ("vit_timm", "vit_jax"), f"attention, {parts.attention[0]!r} first"
    if parts.separable and not parts.concatenated:
        return ("xception",), f"separable convolutions, {parts.separable[0]!r} first"
    if parts.depthwise:
        reason = f"depthwise convolutions, {parts.depthwise[0]!r} first"
        return _depthwise_recipes(parts), reason
    if parts.unnamed:
        return (), f"names of no network that is known, {parts.unnamed[0]!r} first"
    if parts.concatenated:
        reason = f"concatenated branches, {parts.concatenated[0]!r} first"
        if parts.dense and not parts.added and not parts.enlarging:
            return ("densenet",), reason
        return (), reason
    if parts.added and parts.norms:
        return ("resnet",), f"added branches, {parts.added[0]!r} first"
    if parts.added:
        return ("fixup",), f"added branches and no normalization, {parts.added[0]!r} first"
    if not parts.is_known and parts.norms:
        return ("resnet", "densenet", "vgg"), "convolutions and normalization"
    return ("vgg",), "neither added nor concatenated branches"


def _depthwise_recipes(parts: _Parts) -> tuple[str, ...]:
    if parts.concatenated:
        return ()
    if parts.batch_norms:
        return ("mobilenet", "efficientnet")
    if parts.norms:
        return ("convnext",)
    return ()


def _parts(weights: Weights, shapes: Mapping[str, Shape]) -> _Parts:
    if isinstance(weights, keras.Model):
        return _parts_of_model(weights)
    return _parts_of_arrays(shapes)


def _parts_of_model(model: keras.Model) -> _Parts:
    parts = _Parts()
    for layer, path in named_layers(model).items():
        if "attention" in f"{type(layer).__name__} {path}".lower():
            parts.attention.append(path)
        if isinstance(layer, keras.layers.BatchNormalization):
            parts.batch_norms.append(path)
        if isinstance(layer, NORMALIZATIONS):
            parts.norms.append(path)
        if isinstance(layer, _ENLARGING):
            parts.enlarging.append(path)
        if isinstance(layer, keras.layers.Add):
            parts.added.append(path)
        if isinstance(layer, keras.layers.Concatenate):
            parts.concatenated.append(path)
        _note_operations(layer, parts)
    for weight in find_weights(model):
        if not isinstance(weight.layer, _CONVOLUTIONS) or len(weight.shape) < 3:
            continue
        parts.convolutions.append(weight.path)
        if is_depthwise_kernel(weight):
            parts.depthwise.append(weight.path)
        if isinstance(weight.layer, _SEPARABLE):
            parts.separable.append(weight.path)
        if not all(_shows_its_operations(layer) for layer in weight.layers[:-1]):
            parts.is_known = False
    return parts


def _shows_its_operations(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.Sequential) or hasattr(layer, "operations")


def _note_operations(layer: keras.Layer, parts: _Parts) -> None:
    """Note the sums and concatenations in the graph of a functional model."""
    readers = readers_of(layer)
    for operation in getattr(layer, "operations", ()):
        tensors = keras.tree.flatten(operation.input)
        kind = type(operation).__name__  # a layer, or an operation of `keras.ops`
        if len(tensors) < 2 or kind not in ("Add", "Concatenate"):
            continue
        if kind == "Add" and not isinstance(operation, keras.Layer):
            parts.added.append(operation.name)
        if kind == "Concatenate":
            if not isinstance(operation, keras.Layer):
                parts.concatenated.append(operation.name)
            if any(len(readers[id(tensor)]) > 1 for tensor in tensors):
                parts.dense.append(operation.name)


def _parts_of_arrays(shapes: Mapping[str, Shape]) -> _Parts:
    parts = _Parts()
    names = list(shapes)
    for name in names:
        if any(part in name for part in _ATTENTION):
            parts.attention.append(name)
        if name.endswith("running_var"):
            parts.batch_norms.append(name)
            parts.norms.append(name)
    parts.convolutions = convolutions_of(shapes)
    # The first one may have images of a single channel.
    for name in parts.convolutions[1:]:
        _, inputs, *window = shapes[name]
        if inputs == 1 and math.prod(window) > 1:
            parts.depthwise.append(name)
    if parts.depthwise:
        parts.separable = matching_paths("*.pointwise.weight", names)
    parts.added = list(filter(_ADDED.fullmatch, names))
    parts.concatenated = list(filter(_CONCATENATED.fullmatch, names))
    parts.dense = parts.concatenated
    if not (parts.added or parts.concatenated or any(map(_SEQUENCE.fullmatch, names))):
        parts.unnamed = parts.convolutions
    return parts


def convolutions_of(shapes: Mapping[str, Shape]) -> list[str]:
    """Return the names of the kernels of convolutions in a state dict of torch."""
    return _weights_of(shapes, range(3, 6))


def dense_of(shapes: Mapping[str, Shape]) -> list[str]:
    """Return the names of the kernels of linear layers in a state dict of torch."""
    return _weights_of(shapes, (2,))


def scales_of(shapes: Mapping[str, Shape]) -> list[str]:
    """Return the names of the scales of normalizations in a state dict of torch."""
    return _weights_of(shapes, (1,))


def _weights_of(shapes: Mapping[str, Shape], ranks: Sequence[int]) -> list[str]:
    found = []
    for name, shape in shapes.items():
        if name.endswith(".weight") and len(shape) in ranks:
            found.append(name)
    return found
