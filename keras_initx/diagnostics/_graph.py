"""The graph of a forward pass: which layer made a tensor, and which took it."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field

import keras

from keras_initx._typing import Tensor
from keras_initx.structure import NORMALIZATIONS


@dataclass(eq=False)
class _Node:
    """A tensor: the layer that produced it, `None` for model inputs, and its consumers."""

    tensor: weakref.ref[Tensor]
    origin: keras.layers.Layer | None
    consumers: list[keras.Operation] = field(default_factory=list)
    joined: list[weakref.ref[Tensor]] = field(default_factory=list)


class ForwardGraph:
    """The graph of a forward pass: layers, operations, and the tensors between them. It keeps no tensor alive."""

    def __init__(self) -> None:
        self._nodes: dict[int, _Node] = {}
        self._outputs: dict[keras.Operation, list[_Node | None]] = {}

    def add_inputs(self, tensors: Iterable[Tensor]) -> None:
        """Record all unknown tensors among `tensors` as model inputs."""
        for tensor in tensors:
            if not self._find(tensor):
                self._add(tensor, None)

    def add_alias(self, tensor: Tensor, other: Tensor) -> None:
        """Record that `other` has the values of `tensor` in another dtype."""
        node = self._find(tensor)
        if node and other is not tensor:
            self._nodes[id(other)] = _Node(
                weakref.ref(other), node.origin, node.consumers, node.joined
            )

    def is_input(self, tensor: Tensor) -> bool:
        """Return whether `tensor` is a model input, or computed from one by operations only."""
        node = self._find(tensor)
        return node is not None and node.origin is None

    def joined(self, tensor: Tensor) -> list[Tensor]:
        """Return the model inputs that were concatenated with outputs of layers to make `tensor`."""
        node = self._find(tensor)
        return [
            part for reference in (node.joined if node else []) if (part := reference()) is not None
        ]

    def origin(self, tensor: Tensor) -> keras.layers.Layer | None:
        """Return the layer that produced `tensor`, or `None` if it is unknown."""
        node = self._find(tensor)
        return node and node.origin

    def add_consumer(self, consumer: keras.Operation, tensors: Iterable[Tensor]) -> None:
        """Record that a layer or an operation is called with `tensors`."""
        for node in filter(None, map(self._find, tensors)):
            node.consumers.append(consumer)

    def add_outputs(
        self,
        producer: keras.Operation,
        inputs: Iterable[Tensor],
        outputs: Iterable[Tensor],
        *,
        is_origin: bool,
    ) -> None:
        """Record the outputs of a layer or an operation.

        Args:
            producer: The layer or the operation.
            inputs: Tensors.
            outputs: Tensors.
            is_origin: Whether `producer` is the origin of the outputs; otherwise it is the origin
                of the inputs.
        """
        nodes = [node for node in map(self._find, inputs) if node]
        origins = [producer] if is_origin else [node.origin for node in nodes]
        joined = [] if is_origin else [part for node in nodes for part in node.joined]
        if type(producer).__name__ == "Concatenate":  # the layer, and the operation
            joined += [node.tensor for node in nodes if node.origin is None]
        for tensor in outputs:
            node = self._find(tensor)
            if node:
                # It is passed on unchanged.
                node.consumers = [
                    consumer for consumer in node.consumers if consumer is not producer
                ]
            elif origins:
                node = self._add(
                    tensor, next((origin for origin in origins if origin is not None), None)
                )
                node.joined = joined
            self._outputs.setdefault(producer, []).append(node)

    def consumers(self, producer: keras.Operation) -> list[list[keras.Operation]]:
        """Return the layers and operations that each output of `producer` was passed to."""
        return [node.consumers if node else [] for node in self._outputs.get(producer, [])]

    def only_consumer(self, layer: keras.layers.Layer) -> keras.Operation | None:
        """Return the layer or operation that alone takes the outputs of `layer`, or `None`."""
        found = {consumer for some in self.consumers(layer) for consumer in some}
        return found.pop() if len(found) == 1 else None

    def normalization_after(self, layer: keras.layers.Layer) -> keras.layers.Layer | None:
        """Return the normalization layer that is the only consumer of the outputs of `layer`, or `None`."""
        consumers = self.consumers(layer)
        if all(consumers) and all(
            isinstance(consumer, NORMALIZATIONS) for some in consumers for consumer in some
        ):
            return consumers[0][0] if consumers else None
        return None

    def _find(self, tensor: Tensor) -> _Node | None:
        node = self._nodes.get(id(tensor))
        # An id may be reused after a tensor is deleted.
        return node if node and node.tensor() is tensor else None

    def _add(self, tensor: Tensor, origin: keras.layers.Layer | None) -> _Node:
        self._nodes[id(tensor)] = node = _Node(weakref.ref(tensor), origin)
        return node
