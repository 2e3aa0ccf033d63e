"""Residual branches in a graph: what is computed from a tensor and added to it.

One term of a sum is the stream: the others are computed from it, or from what it comes from through
operations of one tensor. All else that reaches the sum is a side input of a branch, such as the
modulation of a diffusion transformer, a mask, or the memory of a decoder.

Sums are read in the order in which they are made. One with branches carries its stream on: what is
computed from it comes from the begin of the stream, whatever the branches get at their sides.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import keras

from keras_initx.inspection._experts import Ends, Weighing, ends_of
from keras_initx.inspection._gates import source_of
from keras_initx.inspection._graph import Node, find_producers, node_and_ancestors
from keras_initx.inspection._hooks import activation_name
from keras_initx.inspection._kernels import is_kernel, multiplies_by_kernel
from keras_initx.inspection._operations import (
    ADD,
    ATTENTION,
    ATTENTION_LAYERS,
    MULTIPLY,
    SCALING,
    SUBTRACT,
    SUMS_OF_PRODUCTS,
    get_kind,
)


class Side(NamedTuple):
    """What a branch gets behind its last kernels from a kernel outside of it.

    Attributes:
        way: The tensors from the outputs of that kernel to the one that the branch gets.
        is_modulation: Whether it is a part of these outputs, without an activation, and multiplies.
    """

    way: tuple[Node, ...]
    is_modulation: bool


@dataclass(frozen=True, eq=False)
class Branch:
    """What is computed from a tensor and added to it.

    Attributes:
        total: The sum.
        terms: The terms of it that the branch gives: the experts of one router together.
        passed: The layers and operations that they go through before they are added.
        stream: The term that it is added to.
        begin: The tensor that the branch is computed from, and other forms of it.
        inside: The tensors from there to the terms, in the order of their making.
        shortcut: The layers and operations that the stream itself goes through, up to the sum.
        weighing: What in the graph is a weight of something else.
    """

    total: Node
    terms: tuple[Node, ...]
    passed: tuple[keras.Operation, ...]
    stream: Node
    begin: tuple[Node, ...]
    inside: tuple[Node, ...]
    shortcut: tuple[keras.Operation, ...]
    weighing: Weighing

    @property
    def addition(self) -> keras.Operation | None:
        """The layer or the operation that adds it."""
        return self.total.producer

    @property
    def readers(self) -> list[keras.Operation]:
        """The layers and operations that the sum is passed to."""
        return self.total.consumers

    @property
    def ends(self) -> list[keras.layers.Layer]:
        """The last layers with weights or an activation, one of each term."""
        return [term.origin for term in self.terms if term.origin is not None]

    @cached_property
    def operations(self) -> list[keras.Operation]:
        """The layers and operations of the branch, in the order of their first calls."""
        return find_producers(self.inside)

    @cached_property
    def first(self) -> list[keras.Operation]:
        """Those of them that the stream is passed to."""
        inside = set(self.inside)
        return find_producers(node for node in self.inside if inside.isdisjoint(node.inputs))

    @cached_property
    def added(self) -> Ends:
        """The outputs of kernels that it adds, not through another kernel and not as weights."""
        return ends_of(self.terms, set(self.inside), self.weighing)

    @cached_property
    def last(self) -> list[keras.Operation]:
        """The layers with a kernel of which it adds the outputs."""
        return find_producers(self.added.sources)

    @cached_property
    def after(self) -> list[keras.Operation]:
        """The layers and operations that these outputs go through, from the sum on."""
        return [*self.passed, *find_producers(self.added.after)]

    @cached_property
    def depth(self) -> int | None:
        """The number of kernels on each way through it, `None` if it differs from way to way."""
        counts: dict[Node, set[int]] = {node: {0} for node in self.begin}
        for node in self.inside:
            before = set[int]().union(*(counts[part] for part in node.inputs if part in counts))
            own = 0 if node.is_form else _kernel_count(node.producer)
            counts[node] = {count + own for count in before}
        found = set[int]().union(*(counts.get(term, set()) for term in self.terms))
        return min(found) if len(found) == 1 else None

    @cached_property
    def sides(self) -> list[Side]:
        """What comes from kernels outside it, behind the last kernels inside."""
        inside = set(self.inside)
        sides = {}
        for node in self.added.after:
            for given in node.inputs:
                source = None if given in inside else source_of(given)
                if source is None:
                    continue
                is_part = source.part is not source.kernel and not source.activations
                is_modulation = is_part and get_kind(node.producer) == MULTIPLY
                sides[given, is_modulation] = Side(_way_back(given, source.kernel), is_modulation)
        return list(sides.values())

    @property
    def modulations(self) -> list[keras.Operation]:
        """The layers with a kernel, outside it, of which a part of the outputs multiplies it."""
        return find_producers(side.way[0] for side in self.sides if side.is_modulation)

    @cached_property
    def weighs(self) -> bool:
        """Whether there is attention, or something else that weighs, and no router of experts."""
        of_routers: set[Node] = set()
        if self.added.routers:
            for node in self.added.after:
                for weight in self.weighing.weights_at(node):
                    of_routers |= node_and_ancestors(weight)
        return any(_weighs(node.producer) for node in self.inside if node not in of_routers)

    @cached_property
    def attends(self) -> bool:
        """Whether there is attention, written between layers with kernels, for certain."""
        return bool(_weighed(self.inside))

    @cached_property
    def memory(self) -> list[Node]:
        """What attention weighs that the branch does not compute, behind a kernel."""
        inside = set(self.inside)
        weighed = _weighed(self.inside)
        return [node for node in weighed if node not in inside and _is_after_kernel(node)]


@dataclass(frozen=True, eq=False)
class Branches:
    """The residual branches of a graph.

    Attributes:
        found: Them, in the order in which they are added.
        unclear: Sums of which it is not known whether they have one: what is added comes through
            sums with branches from the begin of the stream, and from something else too.
    """

    found: Sequence[Branch]
    unclear: Sequence[Node]


def find_branches(nodes: Sequence[Node]) -> Branches:
    """Return the residual branches in a graph.

    The stream passes no kernel on its way to the sum, or fewer than the branches do where the
    number of channels changes, and then a kernel follows the sum: otherwise these are two ways to
    the output of the model. Sums of sums, as in `x + attention + mlp`, are one sum, if that gives a
    branch for each of their terms.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """
    return _Reader(nodes).read()


class _Reader:
    """Reads the branches of a graph.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._weighing = Weighing(nodes)
        self._place = {node: place for place, node in enumerate(nodes)}
        self._above = _ancestors(nodes, self._place)
        self._forms: dict[Node, list[Node]] = {}
        for node in nodes:
            if node.is_form:
                self._forms.setdefault(node.inputs[0], []).append(node)
        self._found: dict[Node, list[Branch]] = {}
        self._unclear: dict[Node, None] = {}

    def read(self) -> Branches:
        """Return what is found."""
        outer: list[Node] = []
        inner: set[Node] = set()
        for total in reversed(self._nodes):
            if _is_sum(total) and total not in inner:
                outer.append(total)
                inner.update(_flat_terms(total)[1])
        for total in reversed(outer):
            self._read_sum(total)
        in_order = {total: self._found[total] for total in self._nodes if total in self._found}
        found = _without_sides(in_order)
        kept = {branch.total for branch in found}
        unclear = [total for total in self._unclear if not _is_within(total, found)]
        return Branches(found, [total for total in unclear if total not in kept])

    def _read_sum(self, total: Node) -> None:
        """Find the branches of a sum, and of the sums that are only added to it."""
        terms, within = _flat_terms(total)
        branches = self._branches_at(total, terms)
        if within and len(branches) + 1 != len(terms):
            self._unclear.pop(total, None)
            for part in total.inputs:
                for node in _sums_in(part, within):
                    self._read_sum(node)
            branches = self._branches_at(total, dict.fromkeys(total.inputs, ()))
        if branches:
            self._found[total] = _with_experts(branches)

    def _branches_at(
        self, total: Node, passed: Mapping[Node, tuple[keras.Operation, ...]]
    ) -> list[Branch]:
        """Return a branch for each term of a sum but the stream, none if one term is neither.

        Args:
            total: The sum.
            passed: The operations that each of its terms passes before it is added.
        """
        terms = list(passed)
        ways = {}
        for term in terms:
            way_back = self._way_of_stream(term, [other for other in terms if other is not term])
            if way_back is not None:
                ways[term] = way_back
        counts = {term: _count_kernels(way[:-1]) for term, way in ways.items()}
        least = min(counts.values(), default=0)
        streams = [term for term, count in counts.items() if count == least]
        if len(terms) < 2 or len(streams) != 1:
            return []
        (stream,) = streams
        if stream in _subtracted(total):
            return []
        *shortcut, start = ways[stream]
        if least and not self._joins_ways(total, find_producers(shortcut)):
            return []
        begin = [start]
        for node in begin:
            begin += self._forms.get(node, ())
        branches = []
        rest = [term for term in terms if term is not stream]
        for term in rest:
            way = self._way(begin, term)
            goes_on = any(self._is_above(term, other) for other in rest if other is not term)
            if way.get(term, 0) <= least or goes_on:
                return []
            if not self._comes_from(begin, term, way, total, is_plain=not least):
                return []
            branches.append(
                Branch(
                    total=total,
                    terms=(term,),
                    passed=passed[term],
                    stream=stream,
                    begin=tuple(begin),
                    inside=tuple(way),
                    shortcut=tuple(find_producers(shortcut)),
                    weighing=self._weighing,
                )
            )
        return branches

    def _comes_from(
        self,
        begin: Collection[Node],
        term: Node,
        way: Collection[Node],
        total: Node,
        *,
        is_plain: bool,
    ) -> bool:
        """Return whether what sums with branches carry to a term comes from its begin alone.

        Where it comes from there and from something else, the sum is noted, but for one that a
        kernel leads to on both ways.
        """
        sums = {one: found for one, found in self._found.items() if one in way}
        if is_plain:
            inside = {*begin, *way}
            sums = {one: found for one, found in sums.items() if not _is_beside(found[0], inside)}
        if not sums:
            return True
        sources = set(carried_from(term, begin, sums))
        if sources == {True}:
            return True
        if True in sources and is_plain:
            self._unclear[total] = None
        return False

    def _way_of_stream(self, term: Node, others: Sequence[Node]) -> list[Node] | None:
        """Return a term and what it comes from, up to a tensor that all others are computed from.

        It goes back through operations of one tensor. It is `None` if there is no such tensor.
        """
        way = [term]
        while True:
            node = way[-1]
            if all(self._is_above(node, other) for other in others):
                return way
            if len(node.inputs) != 1:
                return None
            way += node.inputs

    def _is_above(self, node: Node, other: Node) -> bool:
        """Return whether a tensor is another, or what that is computed from."""
        return bool(self._above[other] >> self._place[node] & 1)

    def _way(self, begin: Sequence[Node], term: Node) -> dict[Node, int]:
        """Return what is computed from `begin` on the ways to a term.

        Each has the number of kernels that the shortest way to it passes. A mask is no way.
        """
        way: dict[Node, int] = {}
        last = self._place[term] + 1
        for node in self._nodes[self._place[begin[0]] + 1 : last]:
            if node.is_float and node not in begin and self._is_above(node, term):
                self._note_kernels(node, begin, way)
        return way

    def _note_kernels(self, node: Node, begin: Collection[Node], way: dict[Node, int]) -> None:
        """Note the kernels on the shortest way from `begin` to a tensor, if there is a way.

        The way of a weight of something else counts only if there is no other.
        """
        for inputs in (self._weighing.weighed(node), node.inputs):
            counts = [0 for part in inputs if part in begin]
            counts += [way[part] for part in inputs if part in way]
            if counts:
                way[node] = min(counts) + _count_kernels([node])
                return

    def _joins_ways(self, total: Node, shortcut: Sequence[keras.Operation]) -> bool:
        """Return whether a sum goes on to a kernel, and no term of it is an embedding."""
        if any(isinstance(operation, keras.layers.Embedding) for operation in shortcut):
            return False
        way: dict[Node, int] = {}
        for node in self._nodes[self._place[total] + 1 :]:
            if node.is_float:
                self._note_kernels(node, [total], way)
        return any(map(multiplies_by_kernel, find_producers(way)))


def carried_from(
    node: Node, begin: Collection[Node], sums: Mapping[Node, Sequence[Branch]]
) -> Iterator[bool]:
    """Yield for each way back from a tensor whether it ends at one of `begin`, or elsewhere.

    Sums with branches are passed along the streams that they carry.

    Args:
        node: The tensor.
        begin: Where the ways may end.
        sums: The sums with branches.
    """
    seen: set[Node] = set()
    open_nodes = [node]
    while open_nodes:
        node = open_nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in begin:
            yield True
        elif node in sums:
            open_nodes.append(sums[node][0].stream)
        else:
            before = [part for part in node.inputs if part.is_float]
            if not before:
                yield False
            open_nodes += before


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


def kernels_before(branch: Branch) -> list[keras.Operation]:
    """Return the layers with a kernel whose outputs a branch gets, not through another one."""
    found: dict[Node, None] = {}
    for node in branch.begin:
        ends = ends_of([node], node_and_ancestors(node), branch.weighing)
        found.update(dict.fromkeys(ends.sources))
    return find_producers(found)


def _ancestors(nodes: Sequence[Node], place: Mapping[Node, int]) -> dict[Node, int]:
    """Return what each tensor is computed from, and itself, as the bits of their places."""
    above: dict[Node, int] = {}
    for node in nodes:
        bits = 1 << place[node]
        for part in node.inputs:
            bits |= above[part]
        above[node] = bits
    return above


def _with_experts(branches: Sequence[Branch]) -> list[Branch]:
    """Return the branches of a sum, those of the experts of one router and what they share as one.

    What else stands in their sum, and does not attend, they share.
    """
    by_source: dict[object, list[Branch]] = {}
    for branch in branches:
        sources = {source for found in branch.added.sources.values() for source in found}
        for source in sources:
            by_source.setdefault(source, []).append(branch)
    groups = [group for group in by_source.values() if len(group) > 1]
    if not groups:
        return list(branches)
    experts = max(groups, key=len)
    attending = [branch for branch in branches if branch not in experts and _attends(branch)]
    merged = [branch for branch in branches if branch not in attending]
    inside = {node: None for branch in merged for node in branch.inside}
    first = merged[0]
    whole = Branch(
        total=first.total,
        terms=tuple(term for branch in merged for term in branch.terms),
        passed=tuple(dict.fromkeys(one for branch in merged for one in branch.passed)),
        stream=first.stream,
        begin=first.begin,
        inside=tuple(inside),
        shortcut=first.shortcut,
        weighing=first.weighing,
    )
    return [*attending, whole]


def _attends(branch: Branch) -> bool:
    """Return whether a branch has attention, also as a layer."""
    return branch.weighs or any(isinstance(one, ATTENTION_LAYERS) for one in branch.operations)


def _without_sides(found: Mapping[Node, Sequence[Branch]]) -> list[Branch]:
    """Return the branches without those of sums within another branch that begin beside it.

    As of a condition, which is added inside of a branch and has no part in its stream.
    """
    branches = [branch for at_sum in found.values() for branch in at_sum]
    kept = []
    for branch in branches:
        around = [other for other in branches if branch.total in other.inside]
        if all(branch.begin[0] in (*other.begin, *other.inside) for other in around):
            kept.append(branch)
    return kept


def _is_beside(branch: Branch, inside: Collection[Node]) -> bool:
    """Return whether the stream of a sum within another branch is a condition.

    It begins outside, and goes through a kernel to the sum.
    """
    goes_through_kernel = any(map(multiplies_by_kernel, branch.shortcut))
    return goes_through_kernel and branch.begin[0] not in inside


def _is_within(total: Node, branches: Iterable[Branch]) -> bool:
    return any(total in branch.inside for branch in branches)


def _count_kernels(way: Iterable[Node]) -> int:
    """Return how many tensors on a way come out of a kernel."""
    return sum(multiplies_by_kernel(node.producer) and not node.is_form for node in way)


def _is_sum(node: Node) -> bool:
    """Return whether a tensor is a sum or a difference, and not another form of one."""
    return get_kind(node.producer) in (ADD, SUBTRACT) and not node.is_form


def _flat_terms(total: Node) -> tuple[dict[Node, tuple[keras.Operation, ...]], list[Node]]:
    """Return the terms of a sum, with those of sums that are only added to it, and these sums.

    Each term has the operations that it passes before it is added, the last one first.
    """
    terms: dict[Node, tuple[keras.Operation, ...]] = {}
    within = []
    open_terms: list[tuple[Node, tuple[keras.Operation, ...]]]
    open_terms = [(term, ()) for term in reversed(total.inputs)]
    while open_terms:
        term, before = open_terms.pop()
        node, passed = _before_scaling(term)
        if _has_one_reader(node) and _is_sum(node) and len(node.inputs) > 1:
            within.append(node)
            inside = (*before, *passed)
            open_terms += [(part, inside) for part in reversed(node.inputs)]
        else:
            terms[term] = before
    return terms, within


def _subtracted(total: Node, is_negative: bool = False) -> Iterator[Node]:
    """Yield what a sum, and those that are only added to it, subtract."""
    for number, part in enumerate(total.inputs):
        is_second = number == 1 and get_kind(total.producer) == SUBTRACT
        if is_negative != is_second:
            yield part
        node, _ = _before_scaling(part)
        if _is_sum(node) and _has_one_reader(node):
            yield from _subtracted(node, is_negative != is_second)


def _sums_in(part: Node, within: Collection[Node]) -> list[Node]:
    """Return the sum that a term of a sum is before it is scaled, if it is one of some."""
    node, _ = _before_scaling(part)
    return [node] if node in within else []


def _before_scaling(term: Node) -> tuple[Node, list[keras.Operation]]:
    """Return what a term is before it is scaled, and what scales it, the last one first."""
    node = term
    passed = []
    while _has_one_reader(node) and len(node.inputs) == 1:
        if not node.is_form:
            if get_kind(node.producer) not in SCALING:
                break
            passed.append(node.producer)
        (node,) = node.inputs
    return node, passed


def _has_one_reader(node: Node) -> bool:
    return len(set(node.consumers)) == 1


def _weighs(operation: keras.Operation | None) -> bool:
    """Return whether an operation without a kernel weighs values, as in attention."""
    if isinstance(operation, (keras.layers.Attention, keras.layers.Softmax)):
        return True
    if isinstance(operation, keras.Layer):
        name = activation_name(operation)
        return name == "softmax" and not multiplies_by_kernel(operation)
    return get_kind(operation) in (*ATTENTION, "Softmax")


def _kernel_count(operation: keras.Operation | None) -> int:
    """Return how many kernels an operation multiplies by."""
    if not isinstance(operation, keras.Layer):
        return 0
    return sum(map(is_kernel, operation.weights))


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
        is_weighing = _weighs(node.producer)
        if is_weighing and len(node.inputs) > 1:  # queries before keys and values
            weighed += node.inputs[1:3]
        elif is_weighing or (len(node.inputs) == 1 and node.inputs[0] in weights):
            weights.add(node)
        elif get_kind(node.producer) in SUMS_OF_PRODUCTS and not weights.isdisjoint(node.inputs):
            weighed += [part for part in node.inputs if part not in weights]
    return weighed


def _is_after_kernel(node: Node) -> bool:
    """Return whether a kernel is among what a tensor was computed from."""
    return any(map(multiplies_by_kernel, find_producers(node_and_ancestors(node))))


def _way_back(node: Node, source: Node) -> tuple[Node, ...]:
    """Return the tensors from one to another that is made of it alone."""
    way = [node]
    while way[-1] is not source:
        way += way[-1].inputs
    return tuple(reversed(way))
