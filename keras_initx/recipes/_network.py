"""What a network consists of, by its layers: how recipes know theirs."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_initx._typing import Shape
from keras_initx.structure import (
    CONVOLUTIONS,
    DEPTHWISE,
    Architecture,
    ModelWeight,
    activation_name,
    architecture_of,
    check_model,
    find_weights,
    is_depthwise,
    layer_paths,
    matching_paths,
    normalizes,
)

_CONVOLUTIONS = (*CONVOLUTIONS, *DEPTHWISE, keras.layers.TorchModuleWrapper)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


@dataclass
class Network:
    """A model, and what it consists of.

    The parts are the names of layers and operations.

    Attributes:
        model: The model.
        shapes: The shape of each weight, by its path.
        convolutions: All convolutions that are not transposed.
        depthwise: Depthwise convolutions, of a model without those in separable ones.
        separable: Separable convolutions.
        batch_norms: Batch normalizations.
        layer_norms: Layer normalizations.
        norms: All normalizations.
        attention: Attention.
        tokens: Embeddings of tokens.
        activations: Activations, by their own names.
        added: Sums of two branches.
        concatenated: Concatenations.
        is_known: Whether all sums and concatenations are known. Those in the `call` of a layer or
            a model are not.
        normalization: Whether a transformer normalizes before each branch, and a layer that shows
            it. `None` if no layer does.
    """

    model: keras.Model
    shapes: dict[str, Shape]
    convolutions: list[str] = field(default_factory=list)
    depthwise: list[str] = field(default_factory=list)
    separable: list[str] = field(default_factory=list)
    batch_norms: list[str] = field(default_factory=list)
    layer_norms: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    activations: set[str | None] = field(default_factory=set)
    added: list[str] = field(default_factory=list)
    concatenated: list[str] = field(default_factory=list)
    is_known: bool = True
    normalization: tuple[bool, str] | None = None

    def has(self, *patterns: str) -> bool:
        """Return whether a path matches one of these patterns."""
        return any(matching_paths(pattern, self.shapes) for pattern in patterns)

    @functools.cached_property
    def architecture(self) -> Architecture:
        """What the graph of a model shows, whatever its layers are called."""
        return architecture_of(self.model)

    @functools.cached_property
    def _model_weights(self) -> Sequence[ModelWeight]:
        return find_weights(self.model)

    def weights_in(self, layer: keras.Operation) -> list[ModelWeight]:
        """Return the weights of a layer and of those in it."""
        if not isinstance(layer, keras.Layer):
            return []
        inside = {id(variable) for variable in layer.weights}
        return [weight for weight in self._model_weights if id(weight.variable) in inside]

    def paths_of(self, variables: Sequence[keras.Variable]) -> list[str]:
        """Return the paths of these weights."""
        ids = {id(variable) for variable in variables}
        return [weight.path for weight in self._model_weights if id(weight.variable) in ids]

    def path_of(self, layer: keras.Operation) -> str:
        """Return the path of a layer, and the name of another operation."""
        if isinstance(layer, keras.Layer):
            return self._paths.get(layer, layer.name)
        return str(layer.name)

    @functools.cached_property
    def _paths(self) -> Mapping[keras.Layer, str]:
        return layer_paths(self.model)

    @property
    def recognized(self) -> list[str]:
        """What was found in the graph of a model, in words."""
        found = self.architecture
        ends = []
        for branch in found.branches:
            ends += [self.path_of(layer) for layer in branch.last]
        parts = ["no residual branch"]
        if ends:
            parts = [f"residual branches: {len(found.branches)}, which end with {quoted(ends)}"]
            sums = {branch.begin for branch in found.branches}
            if len(found.branches) == 2 * len(sums):
                parts[0] += ", two in each sum"
        stacks = Counter(branch.stream for branch in found.branches)
        if found.crossing and len(stacks) > 1:
            counts = " and ".join(map(str, stacks.values()))
            parts.append(f"stacks: {len(stacks)}, of {counts} branches")
        if found.normalizes_first:
            parts.append("normalization: before each branch")
        elif found.normalizes_first is False:
            parts.append("normalization: after each sum")
        kinds = {
            "attention": [layer for layer in found.attention if layer not in found.crossing],
            "cross-attention": found.crossing,
            "embeddings of tokens": found.tokens,
            "embeddings of positions": found.positions,
            "first kernels": [layer for layer in found.inputs if layer not in found.tokens],
            "last kernels": found.outputs,
        }
        for words, layers in kinds.items():
            if layers:
                names = [self.path_of(layer) for layer in dict.fromkeys(layers)]
                parts.append(f"{words}: {quoted(names)}")
        if found.added:
            parts.append(f"weights that are added: {quoted(self.paths_of(found.added))}")
        return parts

    @property
    def adds(self) -> bool:
        """Whether branches are added, as far as it is known."""
        return bool(self.added) or (not self.is_known and bool(self.architecture.branches))

    @property
    def is_vision_transformer(self) -> bool:
        """Whether it has attention and no embedding of tokens, but at most one of positions."""
        if not self.tokens:
            return bool(self.attention)
        found = self.architecture
        return bool(self.attention and found.positions) and not (found.tokens or found.hidden)

    @property
    def order_of_text(self) -> bool | None:
        """Whether a transformer with embeddings of tokens normalizes first, by its graph.

        `None` for other models, and where the graph does not show it.
        """
        found = self.architecture
        is_crossing = bool(self.cross_attention or found.crossing)
        if found.hidden or len(found.around) > 1 or is_crossing:
            return None
        if not found.tokens or not found.attends:
            return None
        return found.normalizes_first

    @property
    def order_of_pair(self) -> bool | None:
        """Whether an encoder beside a decoder normalizes first, by its graph.

        `None` for other models, and where the graph does not show it.
        """
        found = self.architecture
        stacks = {branch.stream for branch in found.branches}
        if found.hidden or not found.crossing or len(stacks) != 2:
            return None
        return found.normalizes_first

    @property
    def cross_attention(self) -> list[str]:
        """The names of the weights of cross-attention."""
        kinds = ("cross_attention", "crossattention")
        return [name for name in self.shapes if any(kind in name for kind in kinds)]

    @property
    def normalizes_first(self) -> bool | None:
        """Whether a transformer of one stack normalizes before each branch, if a layer shows it."""
        if self.normalization is None or self.cross_attention:
            return None
        return self.normalization[0]

    @property
    def is_convolutional(self) -> bool:
        """Whether it consists of ordinary convolutions."""
        others = self.attention or self.depthwise or self.separable
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
            "concatenated branches": self.concatenated,
            "added branches and no normalization": [] if self.norms else self.added,
            "added branches": self.added,
        }
        for words, names in kinds.items():
            if names:
                return f"{words}, {names[0]!r} first"
        if self.is_known:
            return "neither added nor concatenated branches"
        if self.adds:
            return "branches that are added in the `call` of a layer"
        return "branches that are merged in the `call` of a layer, if at all"


def quoted(names: Sequence[str]) -> str:
    """Return the first of some names and the number of the others."""
    shown = ", ".join(map(repr, names[:3]))
    if len(names) > 3:
        shown += f" and {len(names) - 3} more"
    return shown


def network_of(name: str, model: Any) -> Network:
    """Return what the argument of this name, a model, consists of.

    Raises:
        TypeError: If it is no model.
        ValueError: If it is not built.
    """
    shapes = {weight.path: weight.shape for weight in find_weights(check_model(name, model))}
    network = Network(model, shapes)
    _note_layers(network, model)
    return network


def _note_layers(network: Network, model: keras.Model) -> None:
    layers = layer_paths(model)
    network.normalization = _normalization_order(layers)
    for layer, path in layers.items():
        if "attention" in f"{type(layer).__name__} {path}".lower():
            network.attention.append(path)
        if isinstance(layer, keras.layers.Embedding) and "position" not in layer.name:
            network.tokens.append(path)
        if isinstance(layer, keras.layers.BatchNormalization):
            network.batch_norms.append(path)
        if isinstance(layer, keras.layers.LayerNormalization):
            network.layer_norms.append(path)
        if normalizes(layer):
            network.norms.append(path)
        if isinstance(layer, keras.layers.Add):
            network.added.append(path)
        if isinstance(layer, keras.layers.Concatenate):
            network.concatenated.append(path)
        is_relu6 = isinstance(layer, keras.layers.ReLU) and layer.max_value == 6
        network.activations.add("relu6" if is_relu6 else activation_name(layer))
        _note_operations(network, layer)
    for weight in find_weights(model):
        if not isinstance(weight.layer, _CONVOLUTIONS) or len(weight.shape) < 3:
            continue
        network.convolutions.append(weight.path)
        if isinstance(weight.layer, _SEPARABLE):
            network.separable.append(weight.path)
        elif is_depthwise_kernel(weight):
            network.depthwise.append(weight.path)
        if not all(_shows_its_operations(layer) for layer in weight.layers[:-1]):
            network.is_known = False


def _normalization_order(layers: Mapping[keras.Layer, str]) -> tuple[bool, str] | None:
    """Return whether a transformer normalizes before each branch, and a layer that shows it.

    Those of KerasHub have the attribute `normalize_first`, or their own class. DeBERTa has neither,
    but normalizes its embeddings, as all do that normalize last.
    """
    for layer, path in layers.items():
        is_first = getattr(layer, "normalize_first", None)
        if isinstance(is_first, bool):
            return is_first, f"{path!r} (normalize_first={is_first})"
    for path in layers.values():
        if path.endswith("embeddings_layer_norm"):
            return False, repr(path)
    return None


def is_depthwise_kernel(weight: ModelWeight) -> bool:
    """Return whether a weight is the kernel of a depthwise convolution."""
    if is_depthwise(weight.layer, weight.name):
        return True
    # A `Conv2D` with a group for each channel is depthwise too.
    groups = weight.groups[1]
    return 1 < groups == weight.shape[-1]


def _shows_its_operations(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.Sequential) or hasattr(layer, "operations")


def _note_operations(network: Network, layer: keras.Layer) -> None:
    """Note the sums and concatenations in the graph of a functional model."""
    for operation in _operations(layer):
        if isinstance(operation, keras.Layer) or len(keras.tree.flatten(operation.input)) < 2:
            continue
        kind = type(operation).__name__
        if kind == "Add":
            network.added.append(operation.name)
        elif kind == "Concatenate":
            network.concatenated.append(operation.name)


def _operations(layer: keras.Layer) -> Sequence[keras.Operation]:
    """Return the operations of a functional model, and none of other layers."""
    if isinstance(layer, keras.Model):
        return getattr(layer, "operations", ())
    return ()


def readers_of(layer: keras.Layer) -> dict[int, list[Any]]:
    """Return the operations of a functional model that read a tensor, by the id of the tensor."""
    readers: dict[int, list[Any]] = {}
    for operation in _operations(layer):
        for tensor in keras.tree.flatten(operation.input):
            readers.setdefault(id(tensor), []).append(operation)
    return readers
