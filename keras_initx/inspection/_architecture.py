"""What a model is by its graph: branches, attention, embeddings, outputs, whatever their names.

All is read from one call with symbolic tensors, so no data is needed and nothing is computed. The
layers of Keras are taken as they are. The `call` of other layers and of models is followed, so
that the sums in it are seen too.
"""

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.inspection._branches import Branch, carried_from, crossing_branches, find_branches
from keras_initx.inspection._fused import kernels_held
from keras_initx.inspection._gates import Gate, gates_of, source_of
from keras_initx.inspection._graph import ForwardGraph, Node, find_producers, node_and_ancestors
from keras_initx.inspection._hooks import activation_name
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._kernels import multiplies_by_kernel, normalizes
from keras_initx.inspection._names import list_own_weights, list_sublayers
from keras_initx.inspection._operations import (
    ADD,
    ATTENTION_LAYERS,
    CONSTANT,
    FOURIER,
    LOOKING_UP,
    MULTIPLY,
    PRODUCTS,
    SELU,
    get_kind,
)
from keras_initx.inspection._streams import Streams
from keras_initx.inspection._symbolic import SymbolicCall, is_followed, record_calls


@dataclass(frozen=True, eq=False)
class Architecture:
    """The branches, the attention and the gates of a model, as far as they are known.

    Attributes:
        branches: The residual branches, without those around others.
        around: The branches that have others in them.
        unclear: The layers and operations of sums of which it is not known whether they add a
            branch around others.
        streams: The streams that the branches add to.
        crosses: The branches that attend to what is of another stream.
        gates: The gates before another kernel.
        kernels_held: How many kernels the layers hold of which one kernel holds several.
        attention: Layers of attention. The value says whether the values are of another tensor than
            the queries.
        looked_up: Weights of several rows of which the inputs give some.
        labels: Those of them of which the inputs give one for each example, and such embeddings.
        tokens: Embeddings of what the inputs give.
        positions: Embeddings of constants.
        latents: Weights of several rows that layers get in place of a tensor, as learned queries.
        added: Weights of several rows that are added to each example of a tensor, as they are or a
            part of them.
        scales: The weights that multiply a tensor, by the operation.
        selu: The names of operations that are the activation SELU.
        fourier: The names of operations that are Fourier transforms.
        inputs: Layers with a kernel before which no other has one, of those that the first branches
            are computed from if there are any: what only reaches a branch at its side is none.
        outputs: Layers with a kernel after which no other has one.
        pre_logits: Dense layers outside of branches between the last one and an output.
        loops: Operations that call functions with layers any number of times, each with the reason
            why they cannot be followed.
        hidden: Layers with kernels whose `call` could not be followed, each with the reason.
        starts: The layers with a kernel that each stream of branches begins with, by its number.
        made: The call that made each tensor of the graph.
    """

    branches: Sequence[Branch]
    around: Sequence[Branch]
    unclear: Sequence[keras.Operation]
    streams: Streams
    crosses: set[Branch]
    gates: Sequence[Gate]
    kernels_held: dict[keras.Operation, int]
    attention: dict[keras.Layer, bool]
    looked_up: Sequence[keras.Variable]
    labels: Sequence[keras.Variable | keras.Layer]
    tokens: Sequence[keras.Layer]
    positions: Sequence[keras.Layer]
    latents: Sequence[keras.Variable]
    added: Sequence[keras.Variable]
    scales: dict[keras.Operation, keras.Variable]
    selu: Sequence[str]
    fourier: Sequence[str]
    inputs: Sequence[keras.Operation]
    outputs: Sequence[keras.Operation]
    pre_logits: Sequence[keras.Operation]
    loops: Sequence[str]
    hidden: dict[keras.Layer, str]
    starts: dict[int, list[keras.Operation]]
    made: dict[Node, SymbolicCall]

    @property
    def crossing(self) -> list[keras.Layer]:
        """Layers of attention whose values are of another tensor than the queries."""
        return [layer for layer, is_crossing in self.attention.items() if is_crossing]

    @property
    def attends(self) -> bool:
        """Whether there is attention, a layer or in the operations of a branch."""
        return bool(self.attention) or any(branch.weighs for branch in self.branches)

    @property
    def is_placement_seen(self) -> bool:
        """Whether no sum is hidden: layers that cannot be followed are parts of branches."""
        inside: set[keras.Operation] = set()
        for branch in self.branches:
            inside.update(branch.operations)
        return inside.issuperset(self.hidden)

    @property
    def normalizes_first(self) -> bool | None:
        """Whether all branches begin with a normalization, or all sums go to one.

        `None` if neither holds.
        """
        if not self.branches:
            return None
        if all(all(map(normalizes, branch.first)) for branch in self.branches):
            return True
        if all(branch.readers and all(map(normalizes, branch.readers)) for branch in self.branches):
            return False
        return None


def read_architecture(model: keras.Model) -> Architecture:
    """Return what a built model consists of."""
    root = record_calls(model)
    hidden = dict(_hidden(root, root))
    calls = list(open_calls(root, hidden))
    graph, made = graph_of(calls)
    nodes = graph.nodes
    read = find_branches(nodes)
    totals = {branch.total for branch in read.found}
    around = [branch for branch in read.found if not totals.isdisjoint(branch.inside)]
    branches = [branch for branch in read.found if branch not in around]
    streams = Streams(branches, around)
    attention = _attention(calls, graph, read.found)
    crosses = crossing_branches(streams.numbers)
    for branch in branches:
        if any(attention.get(layer) for layer in branch.operations):
            crosses.add(branch)
    inside = {layer for branch in read.found for layer in branch.operations}
    stems: set[Node] = set()
    for branch in streams.firsts():
        stems.update(*map(node_and_ancestors, branch.begin))
    embeddings = [call for call in calls if isinstance(call.operation, _EMBEDDING)]
    tokens = [call.operation for call in embeddings if not _is_of_labels(call)]
    labels = [call.operation for call in embeddings if call.operation not in tokens]
    looked_up = _looked_up(open_calls(root, ()))
    tables = [layer for layer in list_sublayers(model) if isinstance(layer, _EMBEDDING)]
    unclear = [total.producer for total in read.unclear if total.producer is not None]
    latents = _latents(model, root)
    is_latent = {id(variable) for variable in latents}
    constant = [layer for layer in tables if layer not in (*tokens, *labels)]
    outputs = _final_kernels(nodes)
    return Architecture(
        branches=branches,
        around=around,
        unclear=list(dict.fromkeys(unclear)),
        streams=streams,
        crosses=crosses,
        gates=gates_of(nodes),
        kernels_held=kernels_held(nodes),
        attention=attention,
        looked_up=[variable for variable, _ in looked_up],
        labels=[*labels, *(variable for variable, is_label in looked_up if is_label)],
        tokens=tokens,
        positions=[layer for layer in constant if is_latent.isdisjoint(map(id, layer.weights))],
        latents=latents,
        added=[variable for variable in _added(model, root) if id(variable) not in is_latent],
        scales=_scales(calls),
        selu=_operations(root, SELU),
        fourier=_operations(root, FOURIER),
        inputs=[layer for layer in _first_kernels(nodes, stems) if layer not in inside],
        outputs=[layer for layer in find_producers(outputs) if layer not in inside],
        pre_logits=[layer for layer in _pre_logits(outputs, totals) if layer not in inside],
        loops=root.loops,
        hidden=hidden,
        starts=streams.starts(),
        made=made,
    )


_EMBEDDING = keras.layers.Embedding


def hidden_branch_ends(inventory: Inventory) -> set[keras.Layer]:
    """Return the layers at the ends of residual branches in the `call` of users' layers.

    A branch is left out if it ends with another operation than a layer, such as `keras.ops.relu`,
    of which it would have to be known what zeros before it do.
    """
    ends: set[keras.Layer] = set()
    if not any(_hides_sums(one.layer) for one in inventory.layers):
        return ends
    known = inventory.names
    for branch in read_architecture(inventory.model).branches:
        behind = [*branch.after, *branch.last]
        if not all(isinstance(operation, keras.Layer) for operation in behind):
            continue
        for layer in behind:
            weights = Inventory(layer).weights
            if weights:
                layer = weights[-1].layer  # of attention that of its outputs
            if layer in known and (weights or activation_name(layer)):
                ends.add(layer)
                break
    return ends


def _hides_sums(layer: keras.Layer) -> bool:
    """Return whether a layer calls others in a method of a user, which may add their outputs."""
    shows_all = isinstance(layer, keras.Sequential | keras.Function)
    return not shows_all and is_followed(layer) and bool(list_sublayers(layer, recursive=False))


# The calls.


def _hidden(call: SymbolicCall, root: SymbolicCall) -> Iterator[tuple[keras.Layer, str]]:
    """Yield the layers with kernels in a call of which it is not known what they do, and why."""
    layer = call.operation
    if not isinstance(layer, keras.Layer) or (call.inside is None and not call.problem):
        return
    if not call.problem and any(_multiplies(inner, root) for inner in call.inside or ()):
        yield layer, "it multiplies by a kernel itself"
        return
    if call.problem and (call.inside is not None or multiplies_by_kernel(layer)):
        yield layer, call.problem
    for inner in call.inside or ():
        if not isinstance(inner.operation, keras.Layer) and inner.problem:
            yield layer, inner.problem
        yield from _hidden(inner, root)


def _multiplies(call: SymbolicCall, root: SymbolicCall) -> bool:
    """Return whether a call is the product with a kernel that is no layer's."""
    if get_kind(call.operation) not in PRODUCTS:
        return False
    for value in root.meant(call.given):
        # A vector is no kernel, such as the frequencies of rotary positions.
        is_matrix = isinstance(value, keras.Variable) and len(value.shape) > 1
        if is_matrix and value.name != "embeddings":
            return True
    return False


def open_calls(call: SymbolicCall, hidden: Collection[keras.Layer]) -> Iterator[SymbolicCall]:
    """Yield the calls in a call that are taken as they are, in their order."""
    for inner in call.inside or ():
        layer = inner.operation
        is_open = isinstance(layer, keras.Layer) and is_followed(layer) and layer not in hidden
        if inner.inside is not None and is_open:
            yield from open_calls(inner, hidden)
        else:
            yield inner


def graph_of(calls: Iterable[SymbolicCall]) -> tuple[ForwardGraph, dict[Node, SymbolicCall]]:
    """Return the graph of the tensors of these calls, and the call that made each."""
    graph = ForwardGraph()
    made: dict[Node, SymbolicCall] = {}
    for call in calls:
        inputs = [] if get_kind(call.operation) in CONSTANT else call.inputs
        graph.add_inputs(inputs)
        graph.add_consumer(call.operation, inputs)
        graph.add_outputs(call.operation, inputs, call.made, is_origin=True)
        for tensor in call.made:
            node = graph.node_of(tensor)
            if node is not None:
                made.setdefault(node, call)
    return graph, made


def _attention(
    calls: Iterable[SymbolicCall], graph: ForwardGraph, branches: Iterable[Branch]
) -> dict[keras.Layer, bool]:
    """Return the layers of attention, and whether they attend to what is not of their stream."""
    sums: dict[Node, list[Branch]] = {}
    begins: dict[keras.Operation, list[Branch]] = {}
    for branch in branches:
        sums.setdefault(branch.total, []).append(branch)
        for operation in branch.operations:
            begins.setdefault(operation, []).append(branch)
    found: dict[keras.Layer, bool] = {}
    for call in calls:
        layer = call.operation
        if not isinstance(layer, ATTENTION_LAYERS):
            continue
        given = inspect.signature(layer.call).bind(*call.args, **call.options).arguments
        query, value = given.get("query"), given.get("value")
        is_crossing = query is not value
        node = None if value is None else graph.node_of(value)
        for branch in begins.get(layer, ()) if node is not None and is_crossing else ():
            if node is not None and set(carried_from(node, branch.begin, sums)) == {True}:
                is_crossing = False
        found[layer] = found.get(layer, False) or is_crossing
    return found


def _scales(calls: Iterable[SymbolicCall]) -> dict[keras.Operation, keras.Variable]:
    """Return the weights that multiply a tensor, by the operation."""
    found = {}
    for call in calls:
        if get_kind(call.operation) == MULTIPLY:
            for value in call.given:
                if isinstance(value, keras.Variable):
                    found[call.operation] = value
    return found


def _operations(call: SymbolicCall, kinds: Collection[str]) -> list[str]:
    """Return the names of operations of some kinds in a call, in any layer."""
    found = []
    for inner in call.inside or ():
        if get_kind(inner.operation) in kinds:
            found.append(inner.operation.name)
        found += _operations(inner, kinds)
    return found


# The ends of the model.


def _first_kernels(nodes: Sequence[Node], stems: Collection[Node]) -> list[keras.Operation]:
    """Return the layers with a kernel that get the outputs of no other kernel.

    Args:
        nodes: All tensors of the graph.
        stems: What the first branches are computed from, of which the layers are if there is any.
    """
    found = []
    after: set[Node] = set()  # what comes after a kernel
    for node in nodes:
        is_after = not after.isdisjoint(node.inputs)
        has_kernel = multiplies_by_kernel(node.producer)
        if has_kernel and not is_after:
            found.append(node)
        if has_kernel or is_after:
            after.add(node)
    return find_producers(node for node in found if not stems or node in stems)


def _pre_logits(outputs: Iterable[Node], totals: set[Node]) -> list[keras.Operation]:
    """Return the dense layers that alone lead from sums with branches to outputs."""
    found = []
    for node in outputs:
        source = source_of(node.inputs[0]) if len(node.inputs) == 1 else None
        while source is not None and isinstance(source.kernel.producer, keras.layers.Dense):
            if not totals.isdisjoint(node_and_ancestors(source.kernel)):
                found.append(source.kernel)
            source = source_of(source.kernel.inputs[0])
    return find_producers(found)


def _final_kernels(nodes: Sequence[Node]) -> list[Node]:
    """Return the outputs of layers with a kernel that reach no other kernel."""
    found = []
    goes_on: set[Node] = set()  # what reaches a kernel
    for node in reversed(nodes):
        has_kernel = multiplies_by_kernel(node.producer)
        if has_kernel and node not in goes_on:
            found.append(node)
        if has_kernel or node in goes_on:
            goes_on.update(node.inputs)
    return found[::-1]


# Weights with rows.


def _is_of_labels(call: SymbolicCall) -> bool:
    """Return whether a call takes one row of a table for each example."""
    return all(size == 1 for tensor in call.inputs for size in tensor.shape[1:])


def _looked_up(calls: Iterable[SymbolicCall]) -> list[tuple[keras.Variable, bool]]:
    """Return the weights of which operations of users' layers take the rows that inputs give.

    Each has whether these are one for each example.
    """
    found: dict[int, tuple[keras.Variable, bool]] = {}
    for call in calls:
        table = next(iter(call.given), None)
        is_table = isinstance(table, keras.Variable) and len(table.shape) == 2
        if get_kind(call.operation) in LOOKING_UP and is_table and call.inputs:
            _, is_label = found.get(id(table), (table, True))
            found[id(table)] = table, is_label and _is_of_labels(call)
    return list(found.values())


def _added(model: keras.Model, root: SymbolicCall) -> list[keras.Variable]:
    """Return the weights of several rows that are added to each example of a tensor."""

    def terms(root: SymbolicCall) -> list[Any]:
        return [value for call in open_calls(root, ()) for value in _terms_with_rows(call, root)]

    layers = [model, *list_sublayers(model)]
    return _given(model, root, terms, filter(is_followed, layers))


def _latents(model: keras.Model, root: SymbolicCall) -> list[keras.Variable]:
    """Return the weights of several rows that layers get in place of a tensor.

    What is added to a tensor that comes from the inputs of the model is none.
    """
    layers = [model, *list_sublayers(model)]
    owners = [one for one in layers if is_followed(one) or isinstance(one, _EMBEDDING)]
    return _given(model, root, _in_place_of_tensors, owners)


def _in_place_of_tensors(root: SymbolicCall) -> list[Any]:
    """Return the weights and constants from which alone a layer with weights gets a tensor."""
    if not root.begins:
        return []
    calls = list(open_calls(root, ()))
    graph, _ = graph_of(calls)
    begins = {graph.node_of(symbol): value for symbol, value in root.begins}
    found: dict[int, Any] = {}
    for call in calls:
        if not (isinstance(call.operation, keras.Layer) and call.operation.weights):
            continue
        for tensor in call.inputs:
            node = graph.node_of(tensor)
            above = node_and_ancestors(node) if node is not None else set()
            roots = [one for one in above if not one.inputs and one.producer is None]
            if all(one in begins for one in roots):
                found.update((id(begins[one]), begins[one]) for one in roots)
    return list(found.values())


def _given(
    model: keras.Model,
    root: SymbolicCall,
    given: Callable[[SymbolicCall], list[Any]],
    owners: Iterable[keras.Layer],
) -> list[keras.Variable]:
    """Return the weights among what calls are given, as they are or in part.

    A weight is known as itself. Of a part of one, as `self.positions[:length]`, nothing but its
    values is left, so a weight that has these values gets others, and it is looked whether the part
    changes with it.

    Args:
        model: The model.
        root: Its call.
        given: Returns what is looked for, of such a call.
        owners: The layers whose weights may be given in part.
    """
    found: list[keras.Variable] = []
    parts = []
    for value in given(root):
        if isinstance(value, keras.Variable):
            found.append(value)
        else:
            parts.append(backend.host_view(value))
    for variable in _tables(owners, parts):
        marker = 1.0
        if (backend.host_view(variable.value) == marker).all():
            marker = 2.0
        marked = np.full(variable.shape, marker, variable.dtype)
        other = record_calls(model, [(variable, backend.to_tensor(marked))])
        for value in given(other):
            is_part = not isinstance(value, keras.Variable)
            if is_part and (backend.host_view(value) == marker).all():
                found.append(variable)
    return list({id(variable): variable for variable in found}.values())


def _terms_with_rows(call: SymbolicCall, root: SymbolicCall) -> list[Any]:
    """Return the weights and the arrays of several rows that a call adds to a tensor."""
    if get_kind(call.operation) != ADD:
        return []
    axes = max((len(tensor.shape) for tensor in call.inputs), default=0)
    found = []
    for value in root.meant(call.given):
        is_array = isinstance(value, keras.Variable) or keras.ops.is_tensor(value)
        if isinstance(value, keras.KerasTensor) or not is_array:
            continue
        # With fewer axes it is added at each place, as a bias for each head.
        if math.prod(value.shape[:-1]) > 1 and len(value.shape) >= axes - 1:
            found.append(value)
    return found


def _tables(layers: Iterable[keras.Layer], parts: Sequence[Array]) -> list[keras.Variable]:
    """Return the weights of layers, of one table, that may have these parts."""
    found: dict[int, keras.Variable] = {}
    if not parts:
        return []
    for layer in layers:
        for variable in list_own_weights(layer):
            if variable.trainable and any(_may_have(variable, part) for part in parts):
                found[id(variable)] = variable
    return list(found.values())


def _may_have(variable: keras.Variable, part: Array) -> bool:
    """Return whether all rows of a part are rows of a weight."""
    shape = variable.shape
    if len(shape) < 2 or math.prod(shape[:-2]) != 1 or shape[-1] != part.shape[-1]:
        return False
    rows = backend.host_view(variable.value).reshape(shape[-2:]).astype(part.dtype)
    known = {row.tobytes() for row in rows}
    return all(row.tobytes() in known for row in part.reshape(-1, shape[-1]))
