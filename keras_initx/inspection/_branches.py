"""Find residual branches in a graph: operations on a tensor whose result is added to it.

In `y = x + dense(relu(dense(norm(x))))`, the sum `y` has two terms:

    x                                the *stream*, which begins at `x`
    dense(relu(dense(norm(x))))      the *branch*: its first operation is `norm`, its last kernel
                                     the outer `dense`

One term of a sum is the stream. The other terms are computed from the stream, or from a tensor that
leads to it through operations of one tensor. Any other tensor that reaches the sum is a *side*
input of a branch, such as the modulation of a diffusion transformer, a mask, or the memory of a
decoder. A *shift* is a side input that is a term of the sum itself: the outputs of another
kernel in `x + dense(x) + shift`.

Sums are read in the order in which they are made. A sum with branches carries its stream on:
results that are computed from this sum come from the begin of the stream, whatever the side inputs
are.

Another form of a tensor is the same tensor in another dtype or shape. Tensors are nodes, see
`_graph.py`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import keras

from keras_initx.inspection._experts import Ends, Weighing, find_ends
from keras_initx.inspection._gates import trace_to_kernel
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
    """A side input after the last kernels of a branch, from a kernel outside of the branch.

    Attributes:
        way: The tensors from the outputs of this kernel to the tensor that the branch gets.
        is_modulation: Whether it is split off these outputs, without an activation, and multiplies.
    """

    way: tuple[Node, ...]
    is_modulation: bool


@dataclass(frozen=True, eq=False)
class Branch:
    """The operations on a tensor whose result is added to this tensor.

    Attributes:
        total: The sum.
        terms: The terms of the sum that the branch gives. The experts of one router are one branch.
        passed: The layers and operations that these terms pass before they are added.
        stream: The term that it is added to.
        begin: The tensor that the branch is computed from, and other forms of it.
        inside: The tensors from `begin` to the terms, in the order of their making.
        shortcut: The layers and operations that the stream itself passes, up to the sum.
        weighing: The tensors of the graph that weigh other tensors, see `_experts.py`.
        shifts: The terms of the sum that other kernels give, and that no stream reaches.
    """

    total: Node
    terms: tuple[Node, ...]
    passed: tuple[keras.Operation, ...]
    stream: Node
    begin: tuple[Node, ...]
    inside: tuple[Node, ...]
    shortcut: tuple[keras.Operation, ...]
    weighing: Weighing
    shifts: tuple[Node, ...] = ()

    @property
    def addition(self) -> keras.Operation | None:
        """The layer or the operation that computes the sum."""
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
        """The layers and operations of the branch that the stream is passed to."""
        inside = set(self.inside)
        return find_producers(node for node in self.inside if inside.isdisjoint(node.inputs))

    @cached_property
    def added(self) -> Ends:
        """The outputs of kernels that it adds, not through another kernel and not as weights."""
        return find_ends(self.terms, set(self.inside), self.weighing)

    @cached_property
    def last(self) -> list[keras.Operation]:
        """The layers with a kernel whose outputs it adds."""
        return find_producers(self.added.sources)

    @cached_property
    def after(self) -> list[keras.Operation]:
        """The layers and operations that these outputs go through, from the sum on."""
        return [*self.passed, *find_producers(self.added.after)]

    @cached_property
    def depth(self) -> int | None:
        """The number of kernels on each path through it, `None` if paths differ in it."""
        counts: dict[Node, set[int]] = {node: {0} for node in self.begin}
        for node in self.inside:
            before = [counts[source] for source in node.inputs if source in counts]
            own = 0 if node.is_form else _count_own_kernels(node.producer)
            counts[node] = {count + own for count in set[int]().union(*before)}
        depths = set[int]().union(*(counts.get(term, set()) for term in self.terms))
        return min(depths) if len(depths) == 1 else None

    @cached_property
    def sides(self) -> list[Side]:
        """The side inputs from kernels outside of the branch, after the last kernels inside."""
        inside = set(self.inside)
        sides = {}
        for node in self.added.after:
            for tensor in node.inputs:
                source = None if tensor in inside else trace_to_kernel(tensor)
                if source is None:
                    continue
                is_split = source.piece is not source.kernel and not source.activations
                is_modulation = is_split and get_kind(node.producer) == MULTIPLY
                sides[tensor, is_modulation] = Side(
                    _trace_back(tensor, source.kernel), is_modulation
                )
        for shift in self.shifts:
            source = trace_to_kernel(shift)
            if source is not None:
                sides[shift, False] = Side(_trace_back(shift, source.kernel), False)
        return list(sides.values())

    @cached_property
    def weighs(self) -> bool:
        """Whether it has attention, or another operation that weighs, and no router of experts."""
        of_routers: set[Node] = set()
        if self.added.routers:
            for node in self.added.after:
                for weight in self.weighing.list_weights(node):
                    of_routers |= node_and_ancestors(weight)
        return any(_weighs(node.producer) for node in self.inside if node not in of_routers)

    @cached_property
    def attends(self) -> bool:
        """Whether it certainly has attention, written between layers with kernels."""
        return bool(_list_weighed(self.inside))

    @cached_property
    def memory(self) -> list[Node]:
        """The values that attention weighs and that the branch does not compute, after a kernel."""
        inside = set(self.inside)
        weighed = _list_weighed(self.inside)
        return [node for node in weighed if node not in inside and _is_after_kernel(node)]


@dataclass(frozen=True, eq=False)
class Branches:
    """The residual branches of a graph.

    Attributes:
        branches: The branches, in the order of their sums.
        unclear: Sums that may or may not have a branch. Their terms come from the begin of the
            stream through sums with branches, and from another tensor too.
    """

    branches: Sequence[Branch]
    unclear: Sequence[Node]


def find_branches(nodes: Sequence[Node]) -> Branches:
    """Find the residual branches in a graph.

    The stream passes no kernel on its way to the sum. If the number of channels changes, it may
    pass fewer kernels than the branches, but then a kernel must follow the sum. Without one, these
    are two paths to the output of the model. Sums of sums, as in `x + attention + mlp`, are one sum
    if each term then gives a branch.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """
    return _BranchReader(nodes).read()


class _BranchReader:
    """Reads the branches of a graph.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._weighing = Weighing(nodes)
        self._index = {node: index for index, node in enumerate(nodes)}
        self._ancestors = _mark_ancestors(nodes, self._index)
        self._forms: dict[Node, list[Node]] = {}
        for node in nodes:
            if node.is_form:
                self._forms.setdefault(node.inputs[0], []).append(node)
        self._branches_by_sum: dict[Node, list[Branch]] = {}
        self._unclear_sums: dict[Node, None] = {}

    def read(self) -> Branches:
        """Read all sums, each after those that it is computed from."""
        outer: list[Node] = []
        inner: set[Node] = set()
        for total in reversed(self._nodes):
            if _is_sum(total) and total not in inner:
                outer.append(total)
                inner.update(_flatten_sum(total).inner_sums)
        for total in reversed(outer):
            self._read_sum(total)
        branches = _drop_conditions(
            branch for total in self._nodes for branch in self._branches_by_sum.get(total, ())
        )
        with_branches = {branch.total for branch in branches}
        unclear = [total for total in self._unclear_sums if not _is_inside_branch(total, branches)]
        return Branches(branches, [total for total in unclear if total not in with_branches])

    def _read_sum(self, total: Node) -> None:
        for form in self._iterate_forms(total):
            branches = self._find_branches_of_sum(total, form)
            if branches:
                self._branches_by_sum[total] = _merge_experts(branches)
                break

    def _iterate_forms(self, total: Node) -> Iterator["_SumForm"]:
        """Yield the forms in which a sum may have a branch for each term, the likeliest first."""
        inner_sums, flat = _flatten_sum(total)
        yield flat
        shifts = self._list_shifts(list(flat.operations_by_term))
        if shifts:
            yield flat.shift(shifts)
        if not inner_sums:
            return
        # The sums that are only added to it are read by themselves.
        self._unclear_sums.pop(total, None)
        for term in total.inputs:
            inner_sum, _ = _skip_scaling(term)
            if inner_sum in inner_sums:
                self._read_sum(inner_sum)
        yield _SumForm(dict.fromkeys(total.inputs, ()))

    def _find_branches_of_sum(self, total: Node, form: "_SumForm") -> list[Branch]:
        """Make a branch of each term of a sum but the stream. If a term is neither, make no branch.

        Args:
            total: The sum.
            form: Its terms.
        """
        terms = list(form.operations_by_term)
        traces = {}
        for term in terms:
            trace = self._trace_stream(term, [other for other in terms if other is not term])
            if trace is not None:
                traces[term] = trace
        counts = {term: _count_kernel_outputs(trace[:-1]) for term, trace in traces.items()}
        fewest = min(counts.values(), default=0)
        streams = [term for term, count in counts.items() if count == fewest]
        # Of two terms that pass equally few kernels, none is the stream.
        if len(terms) < 2 or len(streams) != 1:
            return []
        (stream,) = streams
        if stream in _iterate_subtracted(total):
            return []
        *shortcut, start = traces[stream]
        # Otherwise these are two ways to the output of the model.
        if fewest and not self._goes_on_to_kernel(total, find_producers(shortcut)):
            return []
        begin = [start]
        for node in begin:
            begin += self._forms.get(node, ())
        branches = []
        other_terms = [term for term in terms if term is not stream]
        for term in other_terms:
            way = self._count_along_ways(begin, term)
            leads_to_another = any(
                self._is_ancestor(term, other) for other in other_terms if other is not term
            )
            if way.get(term, 0) <= fewest or leads_to_another:
                return []
            if not self._is_carried_from(begin, term, way, total, is_identity=not fewest):
                return []
            branches.append(
                Branch(
                    total=total,
                    terms=(term,),
                    passed=form.operations_by_term[term],
                    stream=stream,
                    begin=tuple(begin),
                    inside=tuple(way),
                    shortcut=tuple(find_producers(shortcut)),
                    weighing=self._weighing,
                    shifts=form.shifts,
                )
            )
        return branches

    def _list_shifts(self, terms: Sequence[Node]) -> list[Node]:
        """List the terms that kernels give, and that are neither a stream nor computed from one.

        The others may be a stream, or made of a stream alone without a kernel.
        """
        traces = {term: _trace_without_kernel(term) for term in terms}
        shifts = []
        for term in terms:
            others = [other for other in terms if other is not term]
            is_stream = any(self._is_ancestor(term, other) for other in others)
            is_from_stream = any(
                self._is_ancestor(node, term) for other in others for node in traces[other]
            )
            if trace_to_kernel(term) is not None and not (is_stream or is_from_stream):
                shifts.append(term)
        return shifts

    def _is_carried_from(
        self,
        begin: Collection[Node],
        term: Node,
        way: Collection[Node],
        total: Node,
        *,
        is_identity: bool,
    ) -> bool:
        """Return whether sums with branches carry only the begin of the stream to a term.

        If they also carry another tensor, the sum is noted as unclear, unless its stream passes a
        kernel.

        Args:
            begin: The begin of the stream.
            term: A term of the sum that is not the stream.
            way: The tensors on the paths from the begin to the term.
            total: The sum.
            is_identity: Whether the stream passes no kernel on its way to the sum.
        """
        sums: dict[Node, list[Branch]] = {}
        inside = {*begin, *way}
        for inner_sum, branches in self._branches_by_sum.items():
            is_condition = is_identity and _is_condition(branches[0], inside)
            if inner_sum in way and not is_condition:
                sums[inner_sum] = branches
        if not sums:
            return True
        are_from_begin = set(trace_along_streams(term, begin, sums))
        if are_from_begin == {True}:
            return True
        if True in are_from_begin and is_identity:
            self._unclear_sums[total] = None
        return False

    def _trace_stream(self, term: Node, others: Sequence[Node]) -> list[Node] | None:
        """Trace a term back, through operations of one tensor, to a tensor that leads to all terms.

        It is `None` if there is no such tensor.
        """
        trace = [term]
        while True:
            node = trace[-1]
            if all(self._is_ancestor(node, other) for other in others):
                return trace
            if len(node.inputs) != 1:
                return None
            trace += node.inputs

    def _is_ancestor(self, node: Node, descendant: Node) -> bool:
        # Also if it is the other.
        return bool(self._ancestors[descendant] >> self._index[node] & 1)

    def _count_along_ways(self, begin: Sequence[Node], term: Node) -> dict[Node, int]:
        """Count the kernels on the shortest way from `begin` to each tensor on the ways to a term.

        A path through a mask does not count.
        """
        counts: dict[Node, int] = {}
        end = self._index[term] + 1
        for node in self._nodes[self._index[begin[0]] + 1 : end]:
            if node.is_float and node not in begin and self._is_ancestor(node, term):
                counts |= self._count_up_to(node, begin, counts)
        return counts

    def _count_up_to(
        self, node: Node, begin: Collection[Node], counts: Mapping[Node, int]
    ) -> dict[Node, int]:
        # Empty if no way leads to the tensor. The way of a weight of something else counts only if
        # there is no other.
        for inputs in (self._weighing.list_weighed(node), node.inputs):
            counts_before = [0 for source in inputs if source in begin]
            counts_before += [counts[source] for source in inputs if source in counts]
            if counts_before:
                return {node: min(counts_before) + _count_kernel_outputs([node])}
        return {}

    def _goes_on_to_kernel(self, total: Node, shortcut: Sequence[keras.Operation]) -> bool:
        # An embedding in the shortcut is no stream.
        if any(isinstance(operation, keras.layers.Embedding) for operation in shortcut):
            return False
        counts: dict[Node, int] = {}
        for node in self._nodes[self._index[total] + 1 :]:
            if node.is_float:
                counts |= self._count_up_to(node, [total], counts)
        return any(map(multiplies_by_kernel, find_producers(counts)))


def trace_along_streams(
    node: Node, begin: Collection[Node], sums: Mapping[Node, Sequence[Branch]]
) -> Iterator[bool]:
    """Trace a tensor back, and yield for each path whether it ends at one of `begin`.

    At a sum with branches the path follows the stream.

    Args:
        node: The tensor.
        begin: The tensors at which paths may end.
        sums: The sums with branches.
    """
    visited: set[Node] = set()
    open_nodes = [node]
    while open_nodes:
        node = open_nodes.pop()
        if node in visited:
            continue
        visited.add(node)
        if node in begin:
            yield True
        elif node in sums:
            open_nodes.append(sums[node][0].stream)
        else:
            sources = [source for source in node.inputs if source.is_float]
            if not sources:
                yield False
            open_nodes += sources


def find_crossing_branches(streams: Mapping[Branch, int]) -> set[Branch]:
    """Find branches whose attention, written between layers, weighs values of another stream.

    Args:
        streams: The number of the stream of each branch.
    """
    stream_by_node: dict[Node, int] = {}
    for branch, stream in streams.items():
        stream_by_node[branch.total] = stream
        stream_by_node.update(dict.fromkeys(branch.begin, stream))
    return {
        branch
        for branch, stream in streams.items()
        if _crosses_streams(branch, stream, stream_by_node)
    }


def _mark_ancestors(nodes: Sequence[Node], index: Mapping[Node, int]) -> dict[Node, int]:
    # Bit `index[a]` of the result for a tensor is set if it is computed from `a`, or is `a`.
    ancestors: dict[Node, int] = {}
    for node in nodes:
        bits = 1 << index[node]
        for source in node.inputs:
            bits |= ancestors[source]
        ancestors[node] = bits
    return ancestors


def _merge_experts(branches: Sequence[Branch]) -> list[Branch]:
    """Merge the branches of the experts of one router, with the branches that the experts share.

    All other branches of the same sum are shared, except those with attention.
    """
    by_source: dict[object, list[Branch]] = {}
    for branch in branches:
        sources = {
            source for sources_of_end in branch.added.sources.values() for source in sources_of_end
        }
        for source in sources:
            by_source.setdefault(source, []).append(branch)
    groups = [group for group in by_source.values() if len(group) > 1]
    if not groups:
        return list(branches)
    experts = max(groups, key=len)
    attending = [branch for branch in branches if branch not in experts and _has_attention(branch)]
    members = [branch for branch in branches if branch not in attending]
    return [*attending, merge_branches(members)]


def merge_branches(members: Sequence[Branch]) -> Branch:
    """Merge branches of one sum into one that gives the terms of all."""
    first = members[0]
    inside = {node: None for branch in members for node in branch.inside}
    return Branch(
        total=first.total,
        terms=tuple(term for branch in members for term in branch.terms),
        passed=tuple(dict.fromkeys(operation for branch in members for operation in branch.passed)),
        stream=first.stream,
        begin=first.begin,
        inside=tuple(inside),
        shortcut=first.shortcut,
        weighing=first.weighing,
        shifts=first.shifts,
    )


def _has_attention(branch: Branch) -> bool:
    return branch.weighs or any(
        isinstance(operation, ATTENTION_LAYERS) for operation in branch.operations
    )


def _drop_conditions(branches: Iterable[Branch]) -> list[Branch]:
    """Leave out branches that are added inside another branch and begin outside of it.

    For example, a condition is added inside of a branch, and is no part of its stream.
    """
    branches = list(branches)
    kept = []
    for branch in branches:
        outer_branches = [other for other in branches if branch.total in other.inside]
        if all(branch.begin[0] in (*other.begin, *other.inside) for other in outer_branches):
            kept.append(branch)
    return kept


def _is_condition(branch: Branch, inside: Collection[Node]) -> bool:
    # The stream of a sum within another branch is one if it begins outside, and goes through a
    # kernel to the sum.
    goes_through_kernel = any(map(multiplies_by_kernel, branch.shortcut))
    return goes_through_kernel and branch.begin[0] not in inside


def _is_inside_branch(total: Node, branches: Iterable[Branch]) -> bool:
    return any(total in branch.inside for branch in branches)


def _trace_without_kernel(term: Node) -> list[Node]:
    # Back through operations of one tensor, up to the output of a kernel.
    trace = [term]
    while len(trace[-1].inputs) == 1 and not _count_kernel_outputs(trace[-1:]):
        trace += trace[-1].inputs
    return trace


def _count_kernel_outputs(way: Iterable[Node]) -> int:
    return sum(multiplies_by_kernel(node.producer) and not node.is_form for node in way)


def _is_sum(node: Node) -> bool:
    # A difference is one too.
    return get_kind(node.producer) in (ADD, SUBTRACT) and not node.is_form


class _SumForm(NamedTuple):
    """A form in which a sum is read: as one with the sums that are added to it, or by itself.

    In `x + (attention + mlp) / 2`, the terms are `x`, `attention` and `mlp` in the one form, and
    `x` and the quotient in the other one.

    Attributes:
        operations_by_term: The terms that are the stream or give branches. For each, the operations
            that it passes before it is added, the last one first.
        shifts: The other terms, which kernels outside of the branches give.
    """

    operations_by_term: Mapping[Node, tuple[keras.Operation, ...]]
    shifts: tuple[Node, ...] = ()

    def shift(self, shifts: Collection[Node]) -> "_SumForm":
        """Return the same form with these terms as shifts."""
        others = {
            term: passed for term, passed in self.operations_by_term.items() if term not in shifts
        }
        return _SumForm(others, tuple(shifts))


class _FlatSum(NamedTuple):
    """A sum with the sums that are only added to it, perhaps scaled.

    Attributes:
        inner_sums: The sums that are only added.
        form: The form that has the terms of all these sums.
    """

    inner_sums: list[Node]
    form: _SumForm


def _flatten_sum(total: Node) -> _FlatSum:
    inner_sums: list[Node] = []
    operations_by_term: dict[Node, tuple[keras.Operation, ...]] = {}
    open_terms: list[tuple[Node, tuple[keras.Operation, ...]]]
    open_terms = [(term, ()) for term in reversed(total.inputs)]
    while open_terms:
        term, outer_operations = open_terms.pop()
        node, passed = _skip_scaling(term)
        if _has_one_reader(node) and _is_sum(node) and len(node.inputs) > 1:
            inner_sums.append(node)
            operations = (*outer_operations, *passed)
            open_terms += [(inner_term, operations) for inner_term in reversed(node.inputs)]
        else:
            operations_by_term[term] = outer_operations
    return _FlatSum(inner_sums, _SumForm(operations_by_term))


def _iterate_subtracted(total: Node, is_negative: bool = False) -> Iterator[Node]:
    """Yield the tensors that a sum, or a sum that is only added to it, subtracts."""
    for number, term in enumerate(total.inputs):
        is_second = number == 1 and get_kind(total.producer) == SUBTRACT
        if is_negative != is_second:
            yield term
        node, _ = _skip_scaling(term)
        if _is_sum(node) and _has_one_reader(node):
            yield from _iterate_subtracted(node, is_negative != is_second)


def _skip_scaling(term: Node) -> tuple[Node, list[keras.Operation]]:
    """Return a term before its scaling, and the operations that scale it, the last one first."""
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


def _count_own_kernels(operation: keras.Operation | None) -> int:
    if not isinstance(operation, keras.Layer):
        return 0
    return sum(map(is_kernel, operation.weights))


def _crosses_streams(branch: Branch, stream: int, stream_by_node: Mapping[Node, int]) -> bool:
    # Whether it weighs what another stream computes, or none.
    visited: set[Node] = set()
    open_nodes = list(branch.memory)
    while open_nodes:
        node = open_nodes.pop()
        if stream_by_node.get(node) == stream:
            return False
        if node not in visited and node not in stream_by_node:
            open_nodes += node.inputs
        visited.add(node)
    return bool(branch.memory)


def _list_weighed(inside: Sequence[Node]) -> list[Node]:
    """List the values that attention in a branch weighs, in the order of their making."""
    weights: set[Node] = set()
    weighed: list[Node] = []
    for node in inside:
        is_weighing = _weighs(node.producer)
        if is_weighing and len(node.inputs) > 1:  # queries before keys and values
            weighed += node.inputs[1:3]
        elif is_weighing or (len(node.inputs) == 1 and node.inputs[0] in weights):
            weights.add(node)
        elif get_kind(node.producer) in SUMS_OF_PRODUCTS and not weights.isdisjoint(node.inputs):
            weighed += [source for source in node.inputs if source not in weights]
    return weighed


def _is_after_kernel(node: Node) -> bool:
    return any(map(multiplies_by_kernel, find_producers(node_and_ancestors(node))))


def _trace_back(node: Node, source: Node) -> tuple[Node, ...]:
    # From the source to the node, which is made of it alone.
    trace = [node]
    while trace[-1] is not source:
        trace += trace[-1].inputs
    return tuple(reversed(trace))
