"""Find the experts of a router in a graph: kernels whose outputs are weighed and added.

    w = softmax(router(x));  y = w[0] * expert0(x) + w[1] * expert1(x)

An input of a product is a *weight* there if it comes from kernels only through a sigmoid, a softmax
or a choice, and another input of the product does not. If outputs of kernels are weighed and added,
and one kernel with as many outputs makes the weights, this kernel is the router and the others are
its experts. The weights may be changed in between. (A weight here is no weight of a layer.)
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import keras

from keras_initx.inspection._graph import Node, find_producers
from keras_initx.inspection._kernels import is_kernel, multiplies_by_kernel
from keras_initx.inspection._operations import MULTIPLY, SUMS_OF_PRODUCTS, get_kind, gives_weights

_PRODUCTS = (MULTIPLY, "TrueDivide", *SUMS_OF_PRODUCTS)

# Where weights come from: outputs of kernels, or of what makes weights if there is no kernel.
Source: TypeAlias = frozenset[Node]


class Weighing:
    """The tensors of a graph that weigh other tensors.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        # For what comes after a kernel: whether it is a weight, on all ways from there.
        self._is_weight: dict[Node, bool] = {}
        for node in nodes:
            are_weights = [
                self._is_weight[source] for source in node.inputs if source in self._is_weight
            ]
            if not node.is_form and gives_weights(node.producer):
                self._is_weight[node] = True
            elif not node.is_form and multiplies_by_kernel(node.producer):
                self._is_weight[node] = False
            elif are_weights:
                self._is_weight[node] = all(are_weights)

    def list_weights(self, node: Node) -> list[Node]:
        """Return the inputs of a product that weigh its others. Other operations have none."""
        if node.is_form or get_kind(node.producer) not in _PRODUCTS:
            return []
        weights = [factor for factor in node.inputs if self._is_weight.get(factor)]
        return [] if len(weights) == len(node.inputs) else weights

    def list_weighed(self, node: Node) -> list[Node]:
        """Return the inputs of a node that are weighed."""
        weights = self.list_weights(node)
        return [source for source in node.inputs if source not in weights]

    def find_source(self, weight: Node) -> Source:
        """Trace a weight back to the kernels that it comes from."""
        kernels = []
        makers = []
        visited = set()
        open_nodes = [weight]
        while open_nodes:
            node = open_nodes.pop()
            if node in visited:
                continue
            visited.add(node)
            if not node.is_form and multiplies_by_kernel(node.producer):
                kernels.append(node)
                continue
            if not node.is_form and gives_weights(node.producer):
                makers.append(node)
            open_nodes += node.inputs
        return frozenset(kernels or makers)


@dataclass(frozen=True, eq=False)
class Ends:
    """The outputs of the last kernels that terms of a sum add, without weights.

    Attributes:
        sources: The kernels that make the weights of each output.
        after: The tensors from the outputs up to the terms, the last ones first.
    """

    sources: Mapping[Node, Collection[Source]]
    after: Sequence[Node]

    @cached_property
    def groups(self) -> dict[Source, list[Node]]:
        """The outputs whose weights come from each source, if there are several."""
        groups: dict[Source, list[Node]] = {}
        for node, sources in self.sources.items():
            for source in sources:
                groups.setdefault(source, []).append(node)
        return {source: nodes for source, nodes in groups.items() if len(nodes) > 1}

    @cached_property
    def routers(self) -> list[keras.Operation]:
        """The kernels with as many outputs as there are outputs weighed by them."""
        all_routers = []
        for source, nodes in self.groups.items():
            routers = find_producers(source)
            if len(source) == 1 and _count_outputs(routers[0]) == len(nodes):
                all_routers += routers
        return all_routers

    @property
    def unclear(self) -> str:
        """The reason why they may or may not be experts, or an empty text."""
        if self.routers or len(self.sources) < 2:
            return ""
        for source, nodes in self.groups.items():
            kernels = list(filter(multiplies_by_kernel, find_producers(source)))
            words = f"side by side, {len(nodes)} with weights"
            if len(kernels) != 1:
                return f"{words} of {len(kernels) or 'no'} kernels"
            return f"{words} of the {_count_outputs(kernels[0])} outputs of {kernels[0].name!r}"
        return "side by side"


def find_ends(terms: Iterable[Node], inside: Collection[Node], weighing: Weighing) -> Ends:
    """Find the outputs of kernels that terms of a sum add.

    Args:
        terms: Some terms of a sum.
        inside: The tensors of their branch.
        weighing: The tensors that weigh others.
    """
    sources: dict[Node, set[Source]] = {}
    after: dict[Node, None] = {}
    visited: set[tuple[Node, Source | None]] = set()
    open_nodes: list[tuple[Node, Source | None]] = [(term, None) for term in terms]
    while open_nodes:
        node, source = open_nodes.pop()
        if node not in inside or (node, source) in visited:
            continue
        visited.add((node, source))
        if multiplies_by_kernel(node.producer):
            sources_of_node = sources.setdefault(node, set())
            sources_of_node.update([source] if source is not None else [])
            continue
        after[node] = None
        weights = weighing.list_weights(node)
        for factor in weighing.list_weighed(node):
            weight_sources = [weighing.find_source(weight) for weight in weights]
            open_nodes += [(factor, weight_source) for weight_source in weight_sources]
            if source is not None or not weight_sources:
                open_nodes.append((factor, source))
    return Ends(sources, [*after])


def _count_outputs(layer: keras.Operation) -> int:
    # That of its last kernel.
    kernels = [weight for weight in getattr(layer, "weights", ()) if is_kernel(weight)]
    return int(kernels[-1].shape[-1]) if kernels else 0
