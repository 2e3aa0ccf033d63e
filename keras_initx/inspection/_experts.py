"""Weights of something else in a graph: of the experts of a router, or of a gate.

What reaches a product wholly through a sigmoid, a softmax or a choice is a weight there, if another
input is none. What adds up under weights of one kernel with as many outputs are its experts,
whatever was done to the weights in between.
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
    """What in a graph is a weight of something else.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        # Of what is behind a kernel: whether it is a weight, on all ways from there.
        self._is_weight: dict[Node, bool] = {}
        for node in nodes:
            before = [self._is_weight[part] for part in node.inputs if part in self._is_weight]
            if not node.is_form and gives_weights(node.producer):
                self._is_weight[node] = True
            elif not node.is_form and multiplies_by_kernel(node.producer):
                self._is_weight[node] = False
            elif before:
                self._is_weight[node] = all(before)

    def weights_at(self, node: Node) -> list[Node]:
        """Return the inputs of a product that weigh its others; none of another operation."""
        if node.is_form or get_kind(node.producer) not in _PRODUCTS:
            return []
        weights = [part for part in node.inputs if self._is_weight.get(part)]
        return [] if len(weights) == len(node.inputs) else weights

    def weighed(self, node: Node) -> list[Node]:
        """Return the inputs of a node that are no weights there."""
        weights = self.weights_at(node)
        return [part for part in node.inputs if part not in weights]

    def source(self, weight: Node) -> Source:
        """Return where a weight comes from."""
        kernels = []
        makers = []
        seen = set()
        open_nodes = [weight]
        while open_nodes:
            node = open_nodes.pop()
            if node in seen:
                continue
            seen.add(node)
            if not node.is_form and multiplies_by_kernel(node.producer):
                kernels.append(node)
                continue
            if not node.is_form and gives_weights(node.producer):
                makers.append(node)
            open_nodes += node.inputs
        return frozenset(kernels or makers)


@dataclass(frozen=True, eq=False)
class Ends:
    """What terms of a sum add: the outputs of their last kernels, not as weights.

    Attributes:
        sources: Where the weights of each of them come from.
        after: What is computed from them, up to the terms, the last ones first.
    """

    sources: Mapping[Node, Collection[Source]]
    after: Sequence[Node]

    @cached_property
    def groups(self) -> dict[Source, list[Node]]:
        """The outputs that have weights from each source of several."""
        found: dict[Source, list[Node]] = {}
        for node, sources in self.sources.items():
            for source in sources:
                found.setdefault(source, []).append(node)
        return {source: nodes for source, nodes in found.items() if len(nodes) > 1}

    @cached_property
    def routers(self) -> list[keras.Operation]:
        """The kernels that have as many outputs as there are outputs with weights from them."""
        found = []
        for source, nodes in self.groups.items():
            routers = find_producers(source)
            if len(source) == 1 and _outputs_of(routers[0]) == len(nodes):
                found += routers
        return found

    @property
    def unclear(self) -> str:
        """Why it is not known whether they are experts, or an empty text."""
        if self.routers or len(self.sources) < 2:
            return ""
        for source, nodes in self.groups.items():
            kernels = [one for one in find_producers(source) if multiplies_by_kernel(one)]
            words = f"side by side, {len(nodes)} with weights"
            if len(kernels) != 1:
                return f"{words} of {len(kernels) or 'no'} kernels"
            return f"{words} of the {_outputs_of(kernels[0])} outputs of {kernels[0].name!r}"
        return "side by side"


def ends_of(terms: Iterable[Node], inside: Collection[Node], weighing: Weighing) -> Ends:
    """Return what terms of a sum add.

    Args:
        terms: Some terms.
        inside: The tensors of their branch.
        weighing: What is a weight of something else.
    """
    sources: dict[Node, set[Source]] = {}
    after: dict[Node, None] = {}
    seen: set[tuple[Node, Source | None]] = set()
    open_nodes: list[tuple[Node, Source | None]] = [(term, None) for term in terms]
    while open_nodes:
        node, source = open_nodes.pop()
        if node not in inside or (node, source) in seen:
            continue
        seen.add((node, source))
        if multiplies_by_kernel(node.producer):
            own = sources.setdefault(node, set())
            own.update([source] if source is not None else [])
            continue
        after[node] = None
        weights = weighing.weights_at(node)
        for part in weighing.weighed(node):
            found = [weighing.source(weight) for weight in weights]
            open_nodes += [(part, one) for one in found]
            if source is not None or not found:
                open_nodes.append((part, source))
    return Ends(sources, [*after])


def _outputs_of(layer: keras.Operation) -> int:
    """Return the number of outputs of a kernel."""
    kernels = [weight for weight in getattr(layer, "weights", ()) if is_kernel(weight)]
    return int(kernels[-1].shape[-1]) if kernels else 0
