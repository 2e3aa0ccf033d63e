"""Track producers and consumers of tensors during a forward pass, by the identity of tensors."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field

import keras

from keras_initx._typing import Tensor
from keras_initx.diagnostics._layers import NORMALIZATIONS


@dataclass(eq=False)
class _Node:
    """A tensor: the layer that produced it, `None` for model inputs, and its consumers."""

    tensor: weakref.ref[Tensor]
    origin: keras.layers.Layer | None
    consumers: list[keras.Operation] = field(default_factory=list)


class Flow:
    """The graph of a forward pass: layers, operations, and the tensors between them. It keeps no tensor alive."""

    def __init__(self) -> None:
        self._nodes: dict[int, _Node] = {}
        self._outputs: dict[keras.Operation, list[_Node | None]] = {}

    def add_inputs(self, tensors: Iterable[Tensor]) -> None:
        """Record all unknown tensors among `tensors` as model inputs."""
        for tensor in tensors:
            if not self._find(tensor):
                self._add(tensor, None)

    def is_input(self, tensor: Tensor) -> bool:
        """Return whether `tensor` is a model input, or computed from one by operations only."""
        node = self._find(tensor)
        return node is not None and node.origin is None

    def origin(self, tensor: Tensor) -> keras.layers.Layer | None:
        """Return the layer that produced `tensor`, or `None` if it is unknown."""
        node = self._find(tensor)
        return node and node.origin

    def add_consumer(self, consumer: keras.Operation, tensors: Iterable[Tensor]) -> None:
        """Record that a layer or an operation is called with `tensors`."""
        if is_container(consumer):
            return
        for node in filter(None, map(self._find, tensors)):
            node.consumers.append(consumer)

    def add_outputs(
        self, producer: keras.Operation, inputs: Iterable[Tensor], outputs: Iterable[Tensor], *, is_origin: bool
    ) -> None:
        """Record the outputs of a layer or an operation.

        Args:
            producer: The layer or the operation.
            inputs: Tensors.
            outputs: Tensors.
            is_origin: Whether `producer` is the origin of the outputs; otherwise it is the origin
                of the inputs.
        """
        sources = [node.origin for node in map(self._find, inputs) if node]
        for tensor in outputs:
            node = self._find(tensor)
            if node:
                # It is passed on unchanged.
                node.consumers = [consumer for consumer in node.consumers if consumer is not producer]
            elif is_origin or sources:
                origin = producer if is_origin else next((source for source in sources if source is not None), None)
                node = self._add(tensor, origin)
            self._outputs.setdefault(producer, []).append(node)

    def normalization_after(self, layer: keras.layers.Layer) -> keras.layers.Layer | None:
        """Return the normalization layer that is the only consumer of the outputs of `layer`, or `None`."""
        consumers = [node.consumers if node else [] for node in self._outputs.get(layer, [])]
        if all(consumers) and all(isinstance(consumer, NORMALIZATIONS) for some in consumers for consumer in some):
            return consumers[0][0] if consumers else None
        return None

    def _find(self, tensor: Tensor) -> _Node | None:
        node = self._nodes.get(id(tensor))
        # An id may be reused after a tensor is deleted.
        return node if node and node.tensor() is tensor else None

    def _add(self, tensor: Tensor, origin: keras.layers.Layer | None) -> _Node:
        self._nodes[id(tensor)] = node = _Node(weakref.ref(tensor), origin)
        return node


def is_container(operation: keras.Operation) -> bool:
    """Return whether a layer or operation only calls other layers and operations."""
    return isinstance(operation, keras.Sequential | keras.Function)
