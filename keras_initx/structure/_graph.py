"""The graph of a pass: which layer made a tensor, which took it, and what branches are added."""

import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from keras_initx._typing import Tensor
from keras_initx.structure._hooks import activation_name
from keras_initx.structure._kernels import CONVOLUTIONS, is_kernel

_RESHAPING = (
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Reshape,
)
# Layers and operations of one tensor that give a sum of what they give for its terms.
_SCALING = ("Dropout", "Identity", "Multiply", "TrueDivide")
# Layers of one kernel and one input.
_PROJECTIONS = (
    *CONVOLUTIONS,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.TimeDistributed,
)
# What `keras.ops` and layers call activations, of each number by itself.
_NO_GATES = ("linear", "log_softmax", "logsoftmax", "softmax")
_ACTIVATIONS = {name.replace("_", "") for name in dir(keras.activations)}.difference(_NO_GATES)
# Operations by which a tensor becomes several.
_SPLITTING = ("ArraySplit", "GetItem", "Slice", "Split", "Take", "Unstack")
# Operations by which attention weighs values, and by which it adds them up.
_WEIGHING = ("DotProductAttention", "Softmax")
_ADDING_UP = ("Dot", "Einsum", "Matmul", "Tensordot")
# A sum of more terms, as over many experts, is left as it is written.
_MOST_TERMS = 8


@dataclass(eq=False)
class _Node:
    """A tensor of a forward pass.

    Attributes:
        tensor: The tensor.
        origin: The layer that produced it, or `None` for model inputs.
        producer: The layer or operation that it came out of, or `None` for model inputs.
        consumers: The layers and operations that were called with it.
        joined: The model inputs that were concatenated with outputs of layers to make it.
        before: The only tensor that the producer was called with, or `None`.
        inputs: All tensors that it was called with, and the one whose values this has.
    """

    tensor: weakref.ref[Tensor]
    origin: keras.layers.Layer | None
    producer: keras.Operation | None = None
    consumers: list[keras.Operation] = field(default_factory=list)
    joined: list[weakref.ref[Tensor]] = field(default_factory=list)
    before: "_Node | None" = None
    inputs: list["_Node"] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Branch:
    """What is computed from a tensor and added to it.

    Attributes:
        addition: The layer or the operation that adds it.
        operations: The layers and operations of the branch, in the order of their first calls.
        first: Those of them that the tensor is passed to.
        shortcut: The layers and operations that the tensor goes through itself.
        readers: The layers and operations that the sum is passed to.
        last: The layers with a kernel of which the sum has the outputs, not through another kernel.
        after: The layers and operations that these outputs go through.
        end: The last layer with weights or an activation.
        begin: The tensors that it is computed from.
        stream: The number of the chain of sums that it adds to: one goes on where its sum reaches
            the next through no kernel.
        depth: The number of kernels on each way through it. `None` if it differs from way to way.
        modulations: The layers with a kernel, outside it, of which a part of the outputs multiplies
            what it adds, as in a diffusion transformer.
        attends: Whether there is attention, written between layers with kernels, for certain.
        memory: The tensors that it weighs, where the branch does not compute them.
        crosses: Whether these are of another stream.
    """

    addition: keras.Operation
    operations: tuple[keras.Operation, ...]
    first: tuple[keras.Operation, ...]
    shortcut: tuple[keras.Operation, ...]
    readers: tuple[keras.Operation, ...]
    last: tuple[keras.Operation, ...]
    after: tuple[keras.Operation, ...]
    end: keras.layers.Layer | None
    begin: tuple[_Node, ...]
    stream: int = 0
    depth: int | None = None
    modulations: tuple[keras.Operation, ...] = ()
    attends: bool = False
    memory: tuple[_Node, ...] = ()
    crosses: bool = False

    @property
    def weighs(self) -> bool:
        """Whether there is such attention, or something else that weighs."""
        return any(map(_weighs, self.operations))


@dataclass(frozen=True, eq=False)
class Gate:
    """Two outputs of kernels of one input that are multiplied, one through an activation.

    Attributes:
        gate: The layer whose outputs go through the activation.
        up: The other one. It is the same if one kernel is split.
        down: The layer with a kernel that reads the product.
    """

    gate: keras.Operation
    up: keras.Operation
    down: keras.Operation


@dataclass
class _Origin:
    """Where a tensor comes from through operations of one tensor.

    Attributes:
        kernel: The output of a kernel.
        part: The part of it, or all of it.
        activations: The names of the activations on the way.
    """

    kernel: _Node
    part: _Node
    activations: list[str]


class ForwardGraph:
    """The graph of a forward pass: layers, operations, and the tensors between them.

    It keeps no tensor alive.
    """

    def __init__(self) -> None:
        self._nodes: dict[int, _Node] = {}
        self._outputs: dict[keras.Operation, list[_Node | None]] = {}
        self._made: list[_Node] = []  # all nodes, each after those that it was made from

    def add_inputs(self, tensors: Iterable[Tensor]) -> None:
        """Record all unknown tensors among `tensors` as model inputs."""
        for tensor in tensors:
            if not self._find(tensor):
                self._add(tensor, None)

    def add_alias(self, tensor: Tensor, other: Tensor) -> None:
        """Record that `other` has the values of `tensor` in another dtype."""
        node = self._find(tensor)
        if node and other is not tensor:
            alias = replace(node, tensor=weakref.ref(other), inputs=[node])
            self._nodes[id(other)] = alias
            self._made.append(alias)

    def is_input(self, tensor: Tensor) -> bool:
        """Return whether `tensor` is a model input, or computed from one by operations only."""
        node = self._find(tensor)
        return node is not None and node.origin is None

    def joined(self, tensor: Tensor) -> list[Tensor]:
        """Return the model inputs that were concatenated with others to make `tensor`."""
        node = self._find(tensor)
        if node is None:
            return []
        parts = [reference() for reference in node.joined]
        return [part for part in parts if part is not None]

    def origin(self, tensor: Tensor) -> keras.layers.Layer | None:
        """Return the layer that produced `tensor`, or `None` if it is unknown."""
        node = self._find(tensor)
        if node is None:
            return None
        return node.origin

    def producer(self, tensor: Tensor) -> keras.Operation | None:
        """Return the layer or operation that `tensor` came out of, or `None` if it is unknown.

        Layers that only change the shape are passed over.
        """
        node = self._find(tensor)
        if node is None:
            return None
        return node.producer

    def producers(self, tensor: Tensor) -> list[keras.Operation]:
        """Return what `tensor` came out of, what that was called with came out of, and so on.

        It ends where there are several inputs, or none.
        """
        found = []
        node = self._find(tensor)
        while node is not None and node.producer is not None:
            found.append(node.producer)
            node = node.before
        return found

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
            is_origin: Whether `producer` is the origin of the outputs; otherwise it is the origin
                of the inputs.
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
        if type(producer).__name__ == "Concatenate":  # the layer, and the operation
            joined += [node.tensor for node in known if node.origin is None]
        for tensor in outputs:
            output = self._find(tensor)
            if output is not None:
                # It is passed on unchanged.
                others = [consumer for consumer in output.consumers if consumer is not producer]
                output.consumers = others
                # That of a layer in the producer, which was called with what is not known.
                if not _with_ancestors(output).intersection(known):
                    output.inputs = output.inputs + known
            elif is_origin or known:
                output = self._add(tensor, origins[0] if origins else None)
                output.joined = joined
                output.producer = producer
                output.inputs = known
                if len(known) == 1:
                    output.before = known[0]
                    if isinstance(producer, _RESHAPING):
                        output.producer = known[0].producer
                        output.before = known[0].before
            self._outputs.setdefault(producer, []).append(output)

    def consumers(self, producer: keras.Operation) -> list[list[keras.Operation]]:
        """Return the layers and operations that each output of `producer` was passed to."""
        outputs = self._outputs.get(producer, [])
        return [output.consumers if output else [] for output in outputs]

    def only_consumer(self, layer: keras.Operation) -> keras.Operation | None:
        """Return the layer or operation that alone takes the outputs of `layer`, or `None`."""
        found: set[keras.Operation] = set()
        for consumers in self.consumers(layer):
            found.update(consumers)
        if len(found) != 1:
            return None
        return found.pop()

    def branches(self) -> list[Branch]:
        """Return the residual branches, in the order in which they are added.

        One term of the sum is the tensor that the others are computed from. On its way it passes
        no kernel, or fewer than they do where the number of channels changes, and then a kernel
        follows the sum: otherwise these are two ways to the output of the model. Sums of sums, as
        in `x + attention + mlp`, are one sum, if that gives a branch for each of their terms.
        """
        sums = [node for node in self._made if _is_sum(node)]
        inner: set[_Node] = set()
        found: dict[_Node, list[Branch]] = {}
        for total in reversed(sums):
            if total in inner:
                continue
            terms, sums_within = _flat_terms(total)
            branches = self._branches_of(total, terms)
            if sums_within and len(branches) + 1 == len(terms):
                inner.update(sums_within)
            elif sums_within:
                branches = self._branches_of(total, dict.fromkeys(total.inputs, ()))
            found[total] = branches
        streams: dict[_Node, int] = {}
        ordered = []
        for total in sums:
            for branch in found.get(total, []):
                streams.setdefault(total, _stream_before(branch, streams))
                ordered.append(replace(branch, stream=streams[total]))
        for branch in ordered:
            streams.update(dict.fromkeys(branch.begin, branch.stream))
        return [replace(branch, crosses=_crosses(branch, streams)) for branch in ordered]

    def gates(self) -> list[Gate]:
        """Return the products of two kernels of one input that another kernel reads."""
        products: dict[_Node, tuple[Any, Any]] = {}
        found = []
        for node in self._made:
            if type(node.producer).__name__ in ("Glu", "Multiply") and not _is_form(node):
                pair = _gated(node)
                if pair is not None:
                    products[node] = pair
            elif isinstance(node.producer, _PROJECTIONS) and not _is_form(node):
                product = _before(node, products)
                if product is not None:
                    found.append(Gate(*products[product], node.producer))
        return found

    def _branches_of(
        self, total: _Node, passed: Mapping[_Node, tuple[keras.Operation, ...]]
    ) -> list[Branch]:
        """Return the branches that one addition adds.

        Args:
            total: The sum.
            passed: The operations that each of its terms passes before it is added.
        """
        terms = list(passed)
        above = [_with_ancestors(term) for term in terms]
        ways: dict[_Node, dict[_Node, int]] = {}
        for place, term in enumerate(terms):
            others = set().union(*above[:place], *above[place + 1 :])
            way = self._way(others, above[place])
            if way or term in others:
                ways[term] = way
        # A term that the others are computed from is on no way.
        counts = {term: way.get(term, 0) for term, way in ways.items()}
        least = min(counts.values(), default=0)
        kept = [term for term, count in counts.items() if count == least]
        if len(ways) < 2 or len(kept) > 1:
            return []
        shortcut = ways.pop(kept[0])
        if least and not self._joins_ways(total, _producers(shortcut)):
            return []
        begin = [part for node in shortcut for part in node.inputs if part not in shortcut] or kept
        for node in self._made:
            if _is_form(node) and set(node.inputs).issubset(begin):
                begin.append(node)
        branches = []
        for term in ways:
            way = self._way(begin, _with_ancestors(term)) or ways[term]
            inside = set(way)
            first = [node for node in way if not inside.intersection(node.inputs)]
            last, after = _last_kernels(term, inside)
            weighed = _weighed(way)
            branch = Branch(
                addition=total.producer,
                operations=tuple(_producers(way)),
                first=tuple(_producers(first)),
                shortcut=tuple(_producers(shortcut)),
                readers=tuple(total.consumers),
                last=tuple(_producers(last)),
                after=(*passed[term], *_producers(after)),
                end=term.origin,
                begin=tuple(dict.fromkeys(begin)),
                depth=self._depth(term, inside),
                modulations=tuple(_producers(_modulations(after, inside))),
                attends=bool(weighed),
                memory=tuple(
                    node for node in weighed if node not in inside and _is_after_kernel(node)
                ),
            )
            branches.append(branch)
        return branches

    def _depth(self, term: _Node, inside: Collection[_Node]) -> int | None:
        """Return the number of kernels on each way to a term of a sum, or `None` if it differs."""
        counts: dict[_Node, set[int]] = {}
        for node in self._made:
            if node not in inside:
                continue
            own = 0 if _is_form(node) else _kernel_count(node.producer)
            before = set().union(*(counts.get(part, {0}) for part in node.inputs))
            counts[node] = {count + own for count in before or {0}}
        found = counts.get(term, set())
        return min(found) if len(found) == 1 else None

    def kernels_before(self, branch: Branch) -> list[keras.Operation]:
        """Return the layers with a kernel whose outputs a branch gets, not through another one."""
        found: list[_Node] = []
        for node in branch.begin:
            last, _ = _last_kernels(node, self._made)
            found += last
        return _producers(found)

    def _way(self, begin: Collection[_Node], wanted: Collection[_Node]) -> dict[_Node, int]:
        """Return those of `wanted` that are computed from `begin`, which are left out.

        Each has the number of kernels that the shortest way to it passes.
        """
        way: dict[_Node, int] = {}
        for node in self._made:
            if node not in wanted or node in begin:
                continue
            counts = []
            for part in node.inputs:
                if part in begin:
                    counts.append(0)
                elif part in way:
                    counts.append(way[part])
            if counts:
                has_kernel = multiplies_by_kernel(node.producer) and not _is_form(node)
                way[node] = min(counts) + has_kernel
        return way

    def _joins_ways(self, total: _Node, shortcut: Sequence[keras.Operation]) -> bool:
        """Return whether a sum goes on to a kernel, and no term of it is an embedding."""
        if any(isinstance(operation, keras.layers.Embedding) for operation in shortcut):
            return False
        after = self._way({total}, self._made)
        return any(map(multiplies_by_kernel, _producers(after)))

    def inputs(self) -> list[keras.Operation]:
        """Return the layers with a kernel that get the outputs of no other kernel."""
        found = []
        after: set[_Node] = set()  # what comes after a kernel
        for node in self._made:
            is_after = not after.isdisjoint(node.inputs)
            has_kernel = multiplies_by_kernel(node.producer)
            if has_kernel and not is_after:
                found.append(node)
            if has_kernel or is_after:
                after.add(node)
        return _producers(found)

    def outputs(self) -> list[keras.Operation]:
        """Return the layers with a kernel whose outputs reach no other kernel."""
        found = []
        goes_on: set[_Node] = set()  # what reaches a kernel
        for node in reversed(self._made):
            has_kernel = multiplies_by_kernel(node.producer)
            if has_kernel and node not in goes_on:
                found.append(node)
            if has_kernel or node in goes_on:
                goes_on.update(node.inputs)
        return _producers(reversed(found))

    def _find(self, tensor: Tensor) -> _Node | None:
        node = self._nodes.get(id(tensor))
        # An id may be reused after a tensor is deleted.
        if node is None or node.tensor() is not tensor:
            return None
        return node

    def _add(self, tensor: Tensor, origin: keras.layers.Layer | None) -> _Node:
        node = _Node(weakref.ref(tensor), origin)
        self._nodes[id(tensor)] = node
        self._made.append(node)
        return node


def multiplies_by_kernel(operation: keras.Operation | None) -> bool:
    """Return whether an operation is a layer with a kernel, its own or in a layer within it."""
    return isinstance(operation, keras.Layer) and any(map(is_kernel, operation.weights))


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


def _is_form(node: _Node) -> bool:
    """Return whether a tensor is another form, in dtype or shape, of what it was made from."""
    return any(part.producer is node.producer for part in node.inputs)


def _is_sum(node: _Node) -> bool:
    """Return whether a tensor is a sum, and not another form of one."""
    # The layer, and the operation.
    return type(node.producer).__name__ == "Add" and not _is_form(node)


def _flat_terms(total: _Node) -> tuple[dict[_Node, tuple[keras.Operation, ...]], list[_Node]]:
    """Return the terms of a sum, with those of sums that are only added to it, and these sums.

    Each term has the operations that it passes before it is added, the last one first.
    """
    alone: dict[_Node, tuple[keras.Operation, ...]] = dict.fromkeys(total.inputs, ())
    terms: dict[_Node, tuple[keras.Operation, ...]] = {}
    within = []
    open_terms = list(reversed(alone.items()))
    while open_terms:
        if len(terms) + len(open_terms) > _MOST_TERMS:
            return alone, []
        term, before = open_terms.pop()
        node = term
        passed = list(before)
        while len(set(node.consumers)) == len(node.inputs) == 1:
            if not _is_form(node):
                if type(node.producer).__name__ not in _SCALING:
                    break
                passed.append(node.producer)
            (node,) = node.inputs
        if len(set(node.consumers)) == 1 and _is_sum(node) and len(node.inputs) > 1:
            within.append(node)
            inside = dict.fromkeys(node.inputs, tuple(passed))
            open_terms += reversed(inside.items())
        else:
            terms[term] = before
    return terms, within


def _gated(product: _Node) -> tuple[Any, Any] | None:
    """Return the layers of a gate and of what it multiplies, or `None` if there is no gate."""
    factors: dict[_Node, list[str]] = {}
    kernels: dict[_Node, _Node] = {}
    for factor in _factors(product):
        source = _source(factor)
        if source is None:
            return None
        # A tensor times an activation of itself, as in SiLU, is one.
        factors.setdefault(source.part, []).extend(source.activations)
        kernels[source.part] = source.kernel
    if type(product.producer).__name__ == "Glu" and kernels:
        (kernel,) = kernels.values()
        return _layers_of(kernel, kernel)
    if len(factors) != 2:
        return None
    # Where both have one, as in WaveNet, the gate is the one between 0 and 1.
    gate, up = sorted(factors, key=lambda one: ("sigmoid" not in factors[one], not factors[one]))
    first, second = kernels[gate], kernels[up]
    if not factors[gate] or (first is second and first in factors):
        return None
    if _plain(first.inputs[0]) is not _plain(second.inputs[0]):
        return None
    return _layers_of(first, second)


def _layers_of(gate: _Node, up: _Node) -> tuple[Any, Any]:
    return gate.producer, up.producer


def _factors(product: _Node) -> list[_Node]:
    """Return what is multiplied, also in products of products."""
    if type(product.producer).__name__ != "Multiply" or len(product.inputs) != 2:
        return product.inputs if type(product.producer).__name__ == "Glu" else [product]
    return [factor for part in product.inputs for factor in _factors(part)]


def _source(node: _Node) -> _Origin | None:
    """Return the only kernel that a tensor comes from, through operations of one tensor."""
    activations: list[str] = []
    part = None
    while node.producer is not None and len(node.inputs) == 1:
        producer = node.producer
        if not _is_form(node):
            name = type(producer).__name__.lower()
            if type(producer).__name__ in _SPLITTING:
                part = node
            if isinstance(producer, keras.Layer):
                # Of a layer it may be any function.
                name = activation_name(producer) or "linear"
            if name in _ACTIVATIONS or (
                isinstance(producer, keras.Layer) and name not in _NO_GATES
            ):
                activations.append(name)
            if isinstance(producer, _PROJECTIONS):
                return _Origin(node, part or node, activations)
            if multiplies_by_kernel(producer):
                return None
        (node,) = node.inputs
    return None


def _before(node: _Node, wanted: Collection[_Node]) -> _Node | None:
    """Return the tensor of these that a layer gets through operations of one tensor."""
    while len(node.inputs) == 1:
        (node,) = node.inputs
        if node in wanted:
            return node
        if multiplies_by_kernel(node.producer):
            return None
    return None


def _plain(node: _Node) -> _Node:
    """Return a tensor before its other forms and a dropout."""
    while len(node.inputs) == 1 and (
        _is_form(node) or type(node.producer).__name__ in ("Dropout", "Identity")
    ):
        (node,) = node.inputs
    return node


def _stream_before(branch: Branch, streams: Mapping[_Node, int]) -> int:
    """Return the number of the stream of the sum that a branch begins at, or a new one."""
    for node in branch.begin:
        while node not in streams and len(node.inputs) == 1:
            if multiplies_by_kernel(node.producer):
                break
            (node,) = node.inputs
        if node in streams:
            return streams[node]
    return max(streams.values(), default=-1) + 1


def _crosses(branch: Branch, streams: Mapping[_Node, int]) -> bool:
    """Return whether a branch weighs what another stream computes, or none."""
    seen: set[_Node] = set()
    open_nodes = list(branch.memory)
    while open_nodes:
        node = open_nodes.pop()
        if streams.get(node) == branch.stream:
            return False
        if node not in seen and node not in streams:
            open_nodes += node.inputs
        seen.add(node)
    return bool(branch.memory)


def _weighed(inside: Collection[_Node]) -> list[_Node]:
    """Return what attention in a branch weighs, of its nodes in the order of their making."""
    weights: set[_Node] = set()
    weighed: list[_Node] = []
    for node in inside:
        is_weighing = node.producer is not None and _weighs(node.producer)
        if is_weighing and len(node.inputs) > 1:  # queries before keys and values
            weighed += node.inputs[1:3]
        elif is_weighing or (len(node.inputs) == 1 and node.inputs[0] in weights):
            weights.add(node)
        elif type(node.producer).__name__ in _ADDING_UP and not weights.isdisjoint(node.inputs):
            weighed += [part for part in node.inputs if part not in weights]
    return weighed


def _is_after_kernel(node: _Node) -> bool:
    """Return whether a kernel is among what a tensor was computed from."""
    return any(map(multiplies_by_kernel, _producers(_with_ancestors(node))))


def _with_ancestors(node: _Node) -> set[_Node]:
    """Return a node, and all that it was computed from."""
    found: set[_Node] = set()
    open_nodes = [node]
    while open_nodes:
        node = open_nodes.pop()
        if node not in found:
            found.add(node)
            open_nodes += node.inputs
    return found


def _last_kernels(term: _Node, inside: Collection[_Node]) -> tuple[list[_Node], list[_Node]]:
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


def _modulations(after: Iterable[_Node], inside: Collection[_Node]) -> list[_Node]:
    """Return outputs of kernels of which a part multiplies one of these tensors."""
    found = []
    for node in after:
        if type(node.producer).__name__ != "Multiply":
            continue
        for factor in node.inputs:
            source = None if factor in inside else _source(factor)
            if source and source.part is not source.kernel and not source.activations:
                found.append(source.kernel)
    return found


def _producers(nodes: Iterable[_Node]) -> list[keras.Operation]:
    """Return the layers and operations that nodes came out of, each once."""
    return list(dict.fromkeys(node.producer for node in nodes if node.producer is not None))
