"""What a network consists of, by its layers or the names of its arrays: how recipes know theirs."""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Shape
from keras_initx.structure import (
    CONVOLUTIONS,
    DEPTHWISE,
    NORMALIZATIONS,
    TRANSPOSED,
    ModelWeight,
    activation_name,
    check_model,
    find_weights,
    is_depthwise,
    matching_paths,
    named_layers,
)

# A model, or a dict from names to arrays, such as a state dict of torch.
Weights: TypeAlias = keras.Model | Mapping[str, Any]

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


@dataclass
class Parts:
    """The parts of a network, each with the names of the layers, operations or arrays.

    Attributes:
        convolutions: All convolutions that are not transposed.
        depthwise: Depthwise convolutions, of a model without those in separable ones.
        separable: Separable convolutions.
        batch_norms: Batch normalizations.
        layer_norms: Layer normalizations.
        norms: All normalizations.
        attention: Attention.
        tokens: Embeddings of tokens.
        activations: Activations, by their names.
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
    layer_norms: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    activations: set[str | None] = field(default_factory=set)
    enlarging: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    concatenated: list[str] = field(default_factory=list)
    dense: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    is_known: bool = True

    @property
    def is_convolutional(self) -> bool:
        """Whether it consists of ordinary convolutions, and is no network of unknown names."""
        others = self.attention or self.depthwise or self.separable or self.unnamed
        return bool(self.convolutions) and not others

    @property
    def described(self) -> str:
        """What it consists of, in words."""
        if not self.convolutions and not self.attention:
            return "neither convolutions nor attention"
        kinds = {
            "an embedding of tokens": self.tokens,
            "attention": self.attention,
            "separable convolutions": self.separable,
            "depthwise convolutions": self.depthwise,
            "names of no network that is known": self.unnamed,
            "concatenated branches": self.concatenated,
            "added branches and no normalization": [] if self.norms else self.added,
            "added branches": self.added,
        }
        for words, names in kinds.items():
            if names:
                return f"{words}, {names[0]!r} first"
        if self.is_known:
            return "neither added nor concatenated branches"
        return "branches that are merged in the `call` of a layer, if at all"


class Network:
    """A model or a dict of arrays, of which recipes ask whether it is one of theirs.

    Attributes:
        weights: The model or the dict.
        shapes: The shape of each weight or array, by its name.
    """

    def __init__(self, name: str, weights: Any) -> None:
        """Read the shapes of `weights`, the argument of this name.

        Raises:
            TypeError: If it is neither a model nor a dict.
            ValueError: If it is a model that is not built, or an empty dict.
        """
        self.weights: Weights = weights
        self.shapes = named_shapes(name, weights)

    def has(self, *patterns: str) -> bool:
        """Return whether a name matches one of these patterns."""
        return any(matching_paths(pattern, self.shapes) for pattern in patterns)

    @functools.cached_property
    def parts(self) -> Parts:
        """What it consists of."""
        if isinstance(self.weights, keras.Model):
            return _parts_of_model(self.weights)
        return _parts_of_arrays(self.shapes)


def named_shapes(name: str, weights: Any) -> dict[str, Shape]:
    """Return the shape of each weight of a model, or of each array of a dict, by its name.

    Args:
        name: Name of the argument.
        weights: A built model, or a dict from names to arrays.

    Raises:
        TypeError: If `weights` is neither.
        ValueError: If it is a model that is not built, or an empty dict.
    """
    if isinstance(weights, keras.Model):
        return {weight.path: weight.shape for weight in find_weights(check_model(name, weights))}
    if not isinstance(weights, Mapping):
        raise TypeError(
            f"`{name}` must be a Keras model or a dict from names to arrays. "
            f"Received: {name}={weights!r}"
        )
    if not weights:
        raise ValueError(f"`{name}` must have weights. Received: an empty dict")
    return {path: tuple(np.shape(array)) for path, array in weights.items()}


def _parts_of_model(model: keras.Model) -> Parts:
    parts = Parts()
    for layer, path in named_layers(model).items():
        if "attention" in f"{type(layer).__name__} {path}".lower():
            parts.attention.append(path)
        if isinstance(layer, keras.layers.Embedding) and "position" not in layer.name:
            parts.tokens.append(path)
        if isinstance(layer, keras.layers.BatchNormalization):
            parts.batch_norms.append(path)
        if isinstance(layer, keras.layers.LayerNormalization):
            parts.layer_norms.append(path)
        if isinstance(layer, NORMALIZATIONS):
            parts.norms.append(path)
        if isinstance(layer, _ENLARGING):
            parts.enlarging.append(path)
        if isinstance(layer, keras.layers.Add):
            parts.added.append(path)
        if isinstance(layer, keras.layers.Concatenate):
            parts.concatenated.append(path)
        is_relu6 = isinstance(layer, keras.layers.ReLU) and layer.max_value == 6
        parts.activations.add("relu6" if is_relu6 else activation_name(layer))
        _note_operations(layer, parts)
    for weight in find_weights(model):
        if not isinstance(weight.layer, _CONVOLUTIONS) or len(weight.shape) < 3:
            continue
        parts.convolutions.append(weight.path)
        if isinstance(weight.layer, _SEPARABLE):
            parts.separable.append(weight.path)
        elif is_depthwise_kernel(weight):
            parts.depthwise.append(weight.path)
        if not all(_shows_its_operations(layer) for layer in weight.layers[:-1]):
            parts.is_known = False
    return parts


def is_depthwise_kernel(weight: ModelWeight) -> bool:
    """Return whether a weight is the kernel of a depthwise convolution."""
    if is_depthwise(weight.layer, weight.name):
        return True
    # A `Conv2D` with a group for each channel is depthwise too.
    groups = weight.groups[1]
    return 1 < groups == weight.shape[-1]


def _shows_its_operations(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.Sequential) or hasattr(layer, "operations")


def _note_operations(layer: keras.Layer, parts: Parts) -> None:
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


def readers_of(layer: keras.Layer) -> dict[int, list[Any]]:
    """Return the operations of a functional model that read a tensor, by the id of the tensor."""
    readers: dict[int, list[Any]] = {}
    for operation in getattr(layer, "operations", ()):
        for tensor in keras.tree.flatten(operation.input):
            readers.setdefault(id(tensor), []).append(operation)
    return readers


def _parts_of_arrays(shapes: Mapping[str, Shape]) -> Parts:
    parts = Parts()
    names = list(shapes)
    for name in names:
        if any(part in name for part in _ATTENTION):
            parts.attention.append(name)
        if name.endswith("running_var"):
            parts.batch_norms.append(name)
            parts.norms.append(name)
    parts.convolutions = weights_of_torch(shapes, range(3, 6))
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


def weights_of_torch(shapes: Mapping[str, Shape], ranks: Sequence[int]) -> list[str]:
    """Return the names of the arrays of these ranks that torch calls `weight` in a state dict.

    Kernels of convolutions have 3 to 5 axes, those of linear layers two, the scales of
    normalizations one.
    """
    found = []
    for name, shape in shapes.items():
        if name.endswith(".weight") and len(shape) in ranks:
            found.append(name)
    return found
