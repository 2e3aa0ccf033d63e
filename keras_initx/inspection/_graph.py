"""Record the graph of a pass: which layer made a tensor, and which took it.

For `y = relu(dense(x)); z = flatten(y)` it has four nodes:

    x           producer None, consumers [dense]
    dense(x)    producer dense, inputs [x]
    y           producer relu, origin dense: the last layer with weights or an activation
    z           a form of y: the same values in another shape or dtype, with the same producer

`_branches.py` and `_gates.py` read it.
"""

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import keras

from keras_initx._typing import Tensor

_RESHAPING = (
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Reshape,
)


@dataclass(eq=False)
class Node:
    """A tensor of a forward pass.

    Attributes:
        tensor: The tensor.
        origin: The last layer on the path to it that counts as an origin, see
            `ForwardGraph.add_outputs`; `None` for model inputs.
        producer: The layer or operation that returned it, or `None` for model inputs.
        consumers: The layers and operations that were called with it.
        joined: The model inputs that were concatenated with outputs of layers to make it.
        before: The only tensor that the producer was called with, or `None`.
        inputs: All tensors that the producer was called with. If this is another form, its
            original.
        is_form: Whether this is another form, in dtype or shape, of its only input.
        is_float: Whether it has floats, so that gradients can pass.
    """

    tensor: weakref.ref[Tensor]
    origin: keras.layers.Layer | None
    producer: keras.Operation | None = None
    consumers: list[keras.Operation] = field(default_factory=list)
    joined: list[weakref.ref[Tensor]] = field(default_factory=list)
    before: "Node | None" = None
    inputs: list["Node"] = field(default_factory=list)
    is_form: bool = False
    is_float: bool = True


class ForwardGraph:
    """The graph of a forward pass: layers, operations, and the tensors between them.

    It keeps no tensor alive.
    """

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {}
        self._outputs: dict[keras.Operation, list[Node | None]] = {}
        self._nodes_made: list[Node] = []

    @property
    def nodes(self) -> Sequence[Node]:
        """All tensors, each after those that it was made from."""
        return self._nodes_made

    def add_inputs(self, tensors: Iterable[Tensor]) -> None:
        """Record all unknown tensors among `tensors` as model inputs."""
        for tensor in tensors:
            if not self._find(tensor):
                self._add(tensor, None)

    def add_alias(self, tensor: Tensor, other: Tensor) -> None:
        """Record that `other` has the values of `tensor` in another dtype."""
        node = self._find(tensor)
        if node and other is not tensor:
            alias = replace(node, tensor=weakref.ref(other), inputs=[node], is_form=True)
            self._nodes[id(other)] = alias
            self._nodes_made.append(alias)

    def is_input(self, tensor: Tensor) -> bool:
        """Return whether `tensor` is a model input, or computed from one by operations only."""
        node = self._find(tensor)
        return node is not None and node.origin is None

    def joined(self, tensor: Tensor) -> list[Tensor]:
        """Return the model inputs that were concatenated with others to make `tensor`."""
        node = self._find(tensor)
        if node is None:
            return []
        tensors = [reference() for reference in node.joined]
        return [joined_tensor for joined_tensor in tensors if joined_tensor is not None]

    def origin(self, tensor: Tensor) -> keras.layers.Layer | None:
        """Return the layer that produced `tensor`, or `None` if it is unknown."""
        node = self._find(tensor)
        if node is None:
            return None
        return node.origin

    def producer(self, tensor: Tensor) -> keras.Operation | None:
        """Return the layer or operation that returned `tensor`, or `None` if it is unknown.

        Layers that only change the shape are passed over.
        """
        node = self._find(tensor)
        if node is None:
            return None
        return node.producer

    def producers(self, tensor: Tensor) -> list[keras.Operation]:
        """List the producer of `tensor`, the producer of its input, and so on.

        The list ends at a producer with several inputs, or with none.
        """
        producers = []
        node = self._find(tensor)
        while node is not None and node.producer is not None:
            producers.append(node.producer)
            node = node.before
        return producers

    def add_consumer(self, consumer: keras.Operation, tensors: Iterable[Tensor]) -> None:
        """Record that a layer or an operation is called with `tensors`."""
        for tensor in tensors:
            node = self._find(tensor)
            if node is not None:
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
            is_origin: Whether `producer` is the origin of the outputs. If not, the outputs have the
                origin of the inputs.
        """
        nodes = [self._find(tensor) for tensor in inputs]
        known = [node for node in nodes if node is not None]
        joined: list[weakref.ref[Tensor]] = []
        if is_origin:
            origins = [producer]
        else:
            origins = [node.origin for node in known if node.origin is not None]
            for node in known:
                joined += node.joined
        origin = next(iter(origins), None)
        if type(producer).__name__ == "Concatenate":  # the layer, and the operation
            joined += [node.tensor for node in known if node.origin is None]
        for tensor in outputs:
            output = self._find(tensor)
            if output is not None:
                # It is passed on unchanged.
                others = [consumer for consumer in output.consumers if consumer is not producer]
                output.consumers = others
                # That of a layer in the producer, which was called with what is not known.
                if not node_and_ancestors(output).intersection(known):
                    output.inputs = output.inputs + known
            elif is_origin or known:
                output = self._add(tensor, origin)
                output.joined = joined
                output.producer = producer
                output.inputs = known
                if len(known) == 1:
                    output.before = known[0]
                    if isinstance(producer, _RESHAPING):
                        output.is_form = True
                        output.producer = known[0].producer
                        output.before = known[0].before
            self._outputs.setdefault(producer, []).append(output)

    def node_of(self, tensor: Tensor) -> Node | None:
        """Return the node of a tensor, or `None` if the tensor is unknown."""
        return self._find(tensor)

    def consumers(self, producer: keras.Operation) -> list[list[keras.Operation]]:
        """List the layers and operations that each output of `producer` was passed to."""
        outputs = self._outputs.get(producer, [])
        return [output.consumers if output else [] for output in outputs]

    def only_consumer(self, layer: keras.Operation) -> keras.Operation | None:
        """Return the layer or operation that alone takes the outputs of `layer`, or `None`."""
        only: set[keras.Operation] = set()
        for consumers in self.consumers(layer):
            only.update(consumers)
        if len(only) != 1:
            return None
        return only.pop()

    def _find(self, tensor: Tensor) -> Node | None:
        node = self._nodes.get(id(tensor))
        # An id may be reused after a tensor is deleted.
        if node is None or node.tensor() is not tensor:
            return None
        return node

    def _add(self, tensor: Tensor, origin: keras.layers.Layer | None) -> Node:
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        node = Node(weakref.ref(tensor), origin, is_float=keras.backend.is_float_dtype(dtype))
        self._nodes[id(tensor)] = node
        self._nodes_made.append(node)
        return node


def node_and_ancestors(node: Node) -> set[Node]:
    """Return a node, and all nodes that it was computed from."""
    nodes: set[Node] = set()
    open_nodes = [node]
    while open_nodes:
        node = open_nodes.pop()
        if node not in nodes:
            nodes.add(node)
            open_nodes += node.inputs
    return nodes


def find_producers(nodes: Iterable[Node]) -> list[keras.Operation]:
    """List the layers and operations that made some nodes, each once."""
    return list(dict.fromkeys(node.producer for node in nodes if node.producer is not None))
