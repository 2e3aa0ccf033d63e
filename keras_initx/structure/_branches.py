"""Residual branches in a graph: what is computed from a tensor and added to it.

One term of a sum is the stream: the others are computed from it, or from what it comes from through
operations of one tensor. All else that reaches the sum is a side input of a branch, such as the
modulation of a diffusion transformer, a mask, or the memory of a decoder.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import keras

from keras_initx.structure._gates import Origin, source_of
from keras_initx.structure._graph import Node, producers_of, with_ancestors
from keras_initx.structure._hooks import activation_name
from keras_initx.structure._kernels import is_kernel, multiplies_by_kernel

# Layers and operations of one tensor that give a sum of what they give for its terms.
_SCALING = ("Dropout", "Identity", "Multiply", "TrueDivide")
# Operations by which attention weighs values, and by which it adds them up.
_WEIGHING = ("DotProductAttention", "Softmax")
_ADDING_UP = ("Dot", "Einsum", "Matmul", "Tensordot")
# A sum of more terms, as over many experts, is left as it is written.
_MOST_TERMS = 8


@dataclass(frozen=True, eq=False)
class Branch:
    """What is computed from a tensor and added to it.

    Attributes:
        total: The sum.
        term: The term of it that the branch gives.
        passed: The layers and operations that the term goes through before it is added.
        begin: The tensor that the branch is computed from, and other forms of it.
        inside: The tensors from there to the term, in the order of their making.
        shortcut: The layers and operations that the stream itself goes through, up to the sum.
    """

    total: Node
    term: Node
    passed: tuple[keras.Operation, ...]
    begin: tuple[Node, ...]
    inside: tuple[Node, ...]
    shortcut: tuple[keras.Operation, ...]

    @property
    def addition(self) -> keras.Operation | None:
        """The layer or the operation that adds it."""
        return self.total.producer

    @property
    def readers(self) -> list[keras.Operation]:
        """The layers and operations that the sum is passed to."""
        return self.total.consumers

    @property
    def end(self) -> keras.layers.Layer | None:
        """The last layer with weights or an activation."""
        return self.term.origin

    @cached_property
    def operations(self) -> list[keras.Operation]:
        """The layers and operations of the branch, in the order of their first calls."""
        return producers_of(self.inside)

    @cached_property
    def first(self) -> list[keras.Operation]:
        """Those of them that the stream is passed to."""
        inside = set(self.inside)
        return producers_of(node for node in self.inside if inside.isdisjoint(node.inputs))

    @cached_property
    def last(self) -> list[keras.Operation]:
        """The layers with a kernel of which it adds the outputs, not through another kernel."""
        last, _ = _last_kernels(self.term, set(self.inside))
        return producers_of(last)

    @cached_property
    def after(self) -> list[keras.Operation]:
        """The layers and operations that these outputs go through, from the sum on."""
        return [*self.passed, *producers_of(self._nodes_after)]

    @cached_property
    def depth(self) -> int | None:
        """The number of kernels on each way through it, `None` if it differs from way to way."""
        counts: dict[Node, set[int]] = {node: {0} for node in self.begin}
        for node in self.inside:
            before = set().union(*(counts[part] for part in node.inputs if part in counts))
            own = 0 if node.is_form else _kernel_count(node.producer)
            counts[node] = {count + own for count in before}
        found = counts.get(self.term, set())
        return min(found) if len(found) == 1 else None

    @cached_property
    def modulations(self) -> list[keras.Operation]:
        """The layers with a kernel, outside it, of which a part of the outputs multiplies it."""
        found = []
        for factor, source in _factors(self._nodes_after):
            if factor not in self.inside and not source.activations:
                found.append(source.kernel)
        return producers_of(found)

    @cached_property
    def router(self) -> Node | None:
        """The outputs of a kernel in it of which a part multiplies it, as one expert of several."""
        for factor, source in _factors(self._nodes_after):
            if factor in self.inside:
                return source.kernel
        return None

    @property
    def weighs(self) -> bool:
        """Whether there is attention, or something else that weighs."""
        return any(map(_weighs, self.operations))

    @property
    def attends(self) -> bool:
        """Whether there is attention, written between layers with kernels, for certain."""
        return bool(_weighed(self.inside))

    @cached_property
    def memory(self) -> list[Node]:
        """What attention weighs that the branch does not compute, behind a kernel."""
        inside = set(self.inside)
        weighed = _weighed(self.inside)
        return [node for node in weighed if node not in inside and _is_after_kernel(node)]

    @property
    def _nodes_after(self) -> list[Node]:
        _, after = _last_kernels(self.term, set(self.inside))
        return after


def branches_of(nodes: Sequence[Node]) -> list[Branch]:
    """Return the residual branches in a graph, in the order in which they are added.

    The stream passes no kernel on its way to the sum, or fewer than the branches do where the
    number of channels changes, and then a kernel follows the sum: otherwise these are two ways to
    the output of the model. Sums of sums, as in `x + attention + mlp`, are one sum, if that gives a
    branch for each of their terms.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """
    sums = [node for node in nodes if _is_sum(node)]
    inner: set[Node] = set()
    found: dict[Node, list[Branch]] = {}
    for total in reversed(sums):
        if total in inner:
            continue
        terms, sums_within = _flat_terms(total)
        branches = _branches_at(nodes, total, terms)
        if sums_within and len(branches) + 1 == len(terms):
            inner.update(sums_within)
        elif sums_within:
            branches = _branches_at(nodes, total, dict.fromkeys(total.inputs, ()))
        found[total] = branches
    in_order = []
    for total in sums:
        in_order += found.get(total, [])
    return in_order


def streams_of(branches: Sequence[Branch]) -> dict[Branch, int]:
    """Return the number of the chain of sums that each branch adds to.

    One goes on where its sum reaches the next through no kernel.
    """
    totals: dict[Node, int] = {}
    streams = {}
    for branch in branches:
        if branch.total not in totals:
            totals[branch.total] = _stream_before(branch, totals)
        streams[branch] = totals[branch.total]
    return streams


def crossing_branches(streams: Mapping[Branch, int]) -> set[Branch]:
    """Return the branches whose attention, written between layers, weighs what no own stream has.

    Args:
        streams: The number of the stream of each branch.
    """
    own: dict[Node, int] = {}
    for branch, stream in streams.items():
        own[branch.total] = stream
        own.update(dict.fromkeys(branch.begin, stream))
    return {branch for branch, stream in streams.items() if _crosses(branch, stream, own)}


def kernels_before(branch: Branch, nodes: Iterable[Node]) -> list[keras.Operation]:
    """Return the layers with a kernel whose outputs a branch gets, not through another one."""
    found: list[Node] = []
    before = set(nodes)
    for node in branch.begin:
        last, _ = _last_kernels(node, before)
        found += last
    return producers_of(found)


def _branches_at(
    nodes: Sequence[Node], total: Node, passed: Mapping[Node, tuple[keras.Operation, ...]]
) -> list[Branch]:
    """Return the branches that one addition adds.

    Args:
        nodes: All tensors of the graph.
        total: The sum.
        passed: The operations that each of its terms passes before it is added.
    """
    terms = list(passed)
    above = {term: with_ancestors(term) for term in terms}
    ways: dict[Node, list[Node]] = {}
    for term in terms:
        others = [above[other] for other in terms if other is not term]
        way_back = _way_of_stream(term, others)
        if way_back is not None:
            ways[term] = way_back
    counts = {term: _count_kernels(way[:-1]) for term, way in ways.items()}
    least = min(counts.values(), default=0)
    streams = [term for term, count in counts.items() if count == least]
    if len(terms) < 2 or len(streams) != 1:
        return []
    (stream,) = streams
    *shortcut, start = ways[stream]
    if least and not _joins_ways(nodes, total, producers_of(shortcut)):
        return []
    begin = [start]
    for node in nodes:
        if node.is_form and set(node.inputs).issubset(begin):
            begin.append(node)
    branches = []
    rest = [term for term in terms if term is not stream]
    for term in rest:
        way = _way(nodes, begin, above[term])
        goes_on = any(term in above[other] for other in rest if other is not term)
        if way.get(term, 0) <= least or goes_on:
            return []
        branches.append(
            Branch(
                total=total,
                term=term,
                passed=passed[term],
                begin=tuple(begin),
                inside=tuple(way),
                shortcut=tuple(producers_of(shortcut)),
            )
        )
    return branches


def _way_of_stream(term: Node, others: Sequence[Collection[Node]]) -> list[Node] | None:
    """Return a term and what it comes from, up to a tensor that all others are computed from.

    It goes back through operations of one tensor. It is `None` if there is no such tensor.

    Args:
        term: A term of a sum.
        others: Each other term, with all that it is computed from.
    """
    way = [term]
    while True:
        node = way[-1]
        if all(node in above for above in others):
            return way
        if len(node.inputs) != 1:
            return None
        way += node.inputs


def _count_kernels(way: Iterable[Node]) -> int:
    """Return how many tensors on a way come out of a kernel."""
    return sum(multiplies_by_kernel(node.producer) and not node.is_form for node in way)


def _way(
    nodes: Sequence[Node], begin: Collection[Node], wanted: Collection[Node]
) -> dict[Node, int]:
    """Return those of `wanted` that are computed from `begin`, which are left out.

    Each has the number of kernels that the shortest way to it passes. A mask is no way.
    """
    way: dict[Node, int] = {}
    for node in nodes:
        if node not in wanted or node in begin or not node.is_float:
            continue
        counts = []
        for part in node.inputs:
            if part in begin:
                counts.append(0)
            elif part in way:
                counts.append(way[part])
        if counts:
            way[node] = min(counts) + _count_kernels([node])
    return way


def _joins_ways(nodes: Sequence[Node], total: Node, shortcut: Sequence[keras.Operation]) -> bool:
    """Return whether a sum goes on to a kernel, and no term of it is an embedding."""
    if any(isinstance(operation, keras.layers.Embedding) for operation in shortcut):
        return False
    after = _way(nodes, {total}, set(nodes))
    return any(map(multiplies_by_kernel, producers_of(after)))


def _is_sum(node: Node) -> bool:
    """Return whether a tensor is a sum, and not another form of one."""
    # The layer, and the operation.
    return type(node.producer).__name__ == "Add" and not node.is_form


def _flat_terms(total: Node) -> tuple[dict[Node, tuple[keras.Operation, ...]], list[Node]]:
    """Return the terms of a sum, with those of sums that are only added to it, and these sums.

    Each term has the operations that it passes before it is added, the last one first.
    """
    alone: dict[Node, tuple[keras.Operation, ...]] = dict.fromkeys(total.inputs, ())
    terms: dict[Node, tuple[keras.Operation, ...]] = {}
    within = []
    open_terms = list(reversed(alone.items()))
    while open_terms:
        if len(terms) + len(open_terms) > _MOST_TERMS:
            return alone, []
        term, before = open_terms.pop()
        node, passed = _before_scaling(term)
        if _has_one_reader(node) and _is_sum(node) and len(node.inputs) > 1:
            within.append(node)
            inside = dict.fromkeys(node.inputs, (*before, *passed))
            open_terms += reversed(inside.items())
        else:
            terms[term] = before
    return terms, within


def _before_scaling(term: Node) -> tuple[Node, list[keras.Operation]]:
    """Return what a term is before it is scaled, and what scales it, the last one first."""
    node = term
    passed = []
    while _has_one_reader(node) and len(node.inputs) == 1:
        if not node.is_form:
            if type(node.producer).__name__ not in _SCALING:
                break
            passed.append(node.producer)
        (node,) = node.inputs
    return node, passed


def _has_one_reader(node: Node) -> bool:
    return len(set(node.consumers)) == 1


def _weighs(operation: keras.Operation) -> bool:
    """Return whether an operation without a kernel weighs values, as in attention."""
    if isinstance(operation, (keras.layers.Attention, keras.layers.Softmax)):
        return True
    if isinstance(operation, keras.Layer):
        name = activation_name(operation)
        return name == "softmax" and not multiplies_by_kernel(operation)
    return type(operation).__name__ in _WEIGHING


def _kernel_count(operation: keras.Operation | None) -> int:
    """Return how many kernels an operation multiplies by."""
    if not isinstance(operation, keras.Layer):
        return 0
    return sum(map(is_kernel, operation.weights))


def _stream_before(branch: Branch, totals: Mapping[Node, int]) -> int:
    """Return the number of the stream of the sum that a branch begins at, or a new one."""
    for node in branch.begin:
        while node not in totals and len(node.inputs) == 1:
            if multiplies_by_kernel(node.producer):
                break
            (node,) = node.inputs
        if node in totals:
            return totals[node]
    return max(totals.values(), default=-1) + 1


def _crosses(branch: Branch, stream: int, own: Mapping[Node, int]) -> bool:
    """Return whether a branch weighs what another stream computes, or none."""
    seen: set[Node] = set()
    open_nodes = list(branch.memory)
    while open_nodes:
        node = open_nodes.pop()
        if own.get(node) == stream:
            return False
        if node not in seen and node not in own:
            open_nodes += node.inputs
        seen.add(node)
    return bool(branch.memory)


def _weighed(inside: Sequence[Node]) -> list[Node]:
    """Return what attention in a branch weighs, of its nodes in the order of their making."""
    weights: set[Node] = set()
    weighed: list[Node] = []
    for node in inside:
        is_weighing = node.producer is not None and _weighs(node.producer)
        if is_weighing and len(node.inputs) > 1:  # queries before keys and values
            weighed += node.inputs[1:3]
        elif is_weighing or (len(node.inputs) == 1 and node.inputs[0] in weights):
            weights.add(node)
        elif type(node.producer).__name__ in _ADDING_UP and not weights.isdisjoint(node.inputs):
            weighed += [part for part in node.inputs if part not in weights]
    return weighed


def _is_after_kernel(node: Node) -> bool:
    """Return whether a kernel is among what a tensor was computed from."""
    return any(map(multiplies_by_kernel, producers_of(with_ancestors(node))))


def _last_kernels(term: Node, inside: Collection[Node]) -> tuple[list[Node], list[Node]]:
    """Return the last nodes with a kernel before and at a term of a sum, and those after them."""
    last = []
    after = []
    open_nodes = [term]
    while open_nodes:
        node = open_nodes.pop()
        if node not in inside or node in last or node in after:
            continue
        if multiplies_by_kernel(node.producer):
            last.append(node)
        else:
            after.append(node)
            open_nodes += node.inputs
    return last, after


def _factors(after: Iterable[Node]) -> Iterator[tuple[Node, Origin]]:
    """Yield factors of tensors that are a part of the outputs of a kernel, and their origins."""
    for node in after:
        if type(node.producer).__name__ != "Multiply":
            continue
        for factor in node.inputs:
            source = source_of(factor)
            if source is not None and source.part is not source.kernel:
                yield factor, source
