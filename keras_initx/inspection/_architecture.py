"""Read the architecture of a model from its graph: branches, attention, embeddings and outputs.

Names of layers do not count. One call with symbolic tensors shows everything, so it needs no data
and computes nothing. A call of a layer of Keras is a *leaf call*: it is not followed. The `call` of
other layers and of models is followed, so that the sums in it count too. For a transformer such as

    x = tokens(ids) + positions(range);  x = x + attention(norm(x));  logits = dense(norm(x))

the result has `tokens`, `positions`, one of `branches` with an `attention`, and `dense` in
`outputs`.
"""

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.inspection._branches import (
    Branch,
    find_branches,
    find_crossing_branches,
    trace_along_streams,
)
from keras_initx.inspection._fused_kernels import count_fused_kernels
from keras_initx.inspection._gates import Gate, find_gates, trace_to_kernel
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
    """The branches, the attention and the gates of a model, as its graph shows them.

    Attributes:
        branches: The residual branches, without those around others.
        outer_branches: The branches that contain other branches.
        unclear: The layers and operations of sums that may or may not add a branch around others.
        streams: The streams that the branches add to.
        crossing_branches: The branches that attend to another stream.
        gates: The gates that another kernel follows.
        fused_kernels: The number of kernels in the kernel of a layer, if it holds several.
        attention: Layers of attention. The value is true if keys and values come from another
            tensor than the queries.
        looked_up: Weights of several rows if the inputs choose some of these rows.
        labels: Weights and embeddings if the inputs choose one row for each example.
        tokens: Other embeddings if the inputs choose rows.
        positions: Embeddings of constants.
        latents: Weights of several rows that layers get in place of a tensor, such as learned
            queries.
        added: Weights of several rows that are added to each example of a tensor, all rows or a
            slice of them.
        scales: The weights that multiply a tensor, by the operation.
        selu: The names of operations that are the activation SELU.
        fourier: The names of operations that are Fourier transforms.
        inputs: Layers with a kernel that no other layer with a kernel precedes. If there are
            branches, only layers that lead to the begin of the first branches count, not to a side
            of a branch.
        outputs: Layers with a kernel that no other layer with a kernel follows.
        pre_logits: Dense layers outside of branches between the last one and an output.
        loops: Operations that call functions with layers any number of times, each with the reason
            why they cannot be followed.
        hidden: Layers with kernels whose `call` could not be followed, each with the reason.
        calls: The call that made each tensor of the graph.
    """

    branches: Sequence[Branch]
    outer_branches: Sequence[Branch]
    unclear: Sequence[keras.Operation]
    streams: Streams
    crossing_branches: set[Branch]
    gates: Sequence[Gate]
    fused_kernels: dict[keras.Operation, int]
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
    calls: dict[Node, SymbolicCall]

    @property
    def crossing_layers(self) -> list[keras.Layer]:
        """Layers of attention whose keys and values come from another tensor than the queries."""
        return [layer for layer, is_crossing in self.attention.items() if is_crossing]

    @property
    def attends(self) -> bool:
        """Whether there is attention, as a layer or in the operations of a branch."""
        return bool(self.attention) or any(branch.weighs for branch in self.branches)

    @property
    def is_placement_seen(self) -> bool:
        """Whether no sum is hidden: all layers that cannot be followed are inside branches."""
        inside: set[keras.Operation] = set()
        for branch in self.branches:
            inside.update(branch.operations)
        return inside.issuperset(self.hidden)

    @property
    def normalizes_first(self) -> bool | None:
        """True if all branches begin with a normalization, False if all sums are passed to one.

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
    """Read the architecture of a built model."""
    root = record_calls(model)
    hidden = dict(_iterate_hidden(root, root))
    calls = list(iterate_leaf_calls(root, hidden))
    graph, calls_by_node = build_graph(calls)
    nodes = graph.nodes
    graph_branches = find_branches(nodes)
    all_branches = graph_branches.branches
    totals = {branch.total for branch in all_branches}
    outer_branches = [branch for branch in all_branches if not totals.isdisjoint(branch.inside)]
    branches = [branch for branch in all_branches if branch not in outer_branches]
    streams = Streams(branches, outer_branches)
    attention = _find_attention(calls, graph, all_branches)
    crossing_branches = find_crossing_branches(streams.numbers)
    for branch in branches:
        if any(attention.get(layer) for layer in branch.operations):
            crossing_branches.add(branch)
    inside = {layer for branch in all_branches for layer in branch.operations}
    stems: set[Node] = set()
    for branch in streams.firsts():
        stems.update(*map(node_and_ancestors, branch.begin))
    embeddings = [call for call in calls if isinstance(call.operation, _EMBEDDING)]
    tokens = [call.operation for call in embeddings if not _takes_one_row(call)]
    labels = [call.operation for call in embeddings if call.operation not in tokens]
    tables = _find_looked_up(iterate_leaf_calls(root, ()))
    all_embeddings = [layer for layer in list_sublayers(model) if isinstance(layer, _EMBEDDING)]
    latents = _find_latents(model, root)
    latent_ids = {id(variable) for variable in latents}
    positions = []
    for layer in all_embeddings:
        is_latent = not latent_ids.isdisjoint(map(id, layer.weights))
        if layer not in (*tokens, *labels) and not is_latent:
            positions.append(layer)
    added = _find_added_weights(model, root)
    final_kernels = _find_final_kernels(nodes)
    pre_logits = _find_pre_logits(final_kernels, totals)
    return Architecture(
        branches=branches,
        outer_branches=outer_branches,
        unclear=find_producers(graph_branches.unclear),
        streams=streams,
        crossing_branches=crossing_branches,
        gates=find_gates(nodes),
        fused_kernels=count_fused_kernels(nodes),
        attention=attention,
        looked_up=[table.variable for table in tables],
        labels=[*labels, *(table.variable for table in tables if table.is_of_labels)],
        tokens=tokens,
        positions=positions,
        latents=latents,
        added=[variable for variable in added if id(variable) not in latent_ids],
        scales=_find_scales(calls),
        selu=_name_operations(root, SELU),
        fourier=_name_operations(root, FOURIER),
        inputs=[layer for layer in _find_first_kernels(nodes, stems) if layer not in inside],
        outputs=[layer for layer in find_producers(final_kernels) if layer not in inside],
        pre_logits=[layer for layer in pre_logits if layer not in inside],
        loops=root.loops,
        hidden=hidden,
        calls=calls_by_node,
    )


_EMBEDDING = keras.layers.Embedding


def find_hidden_branch_ends(inventory: Inventory) -> set[keras.Layer]:
    """Find the layers at the ends of residual branches in the `call` of users' layers.

    A branch is left out if it ends with an operation that is no layer, such as `keras.ops.relu`,
    because the effect of zeros before this operation is not known.
    """
    ends: set[keras.Layer] = set()
    if not any(_hides_sums(inner.layer) for inner in inventory.layers):
        return ends
    names = inventory.names
    for branch in read_architecture(inventory.model).branches:
        operations = [*branch.after, *branch.last]
        if not all(isinstance(operation, keras.Layer) for operation in operations):
            continue
        for layer in operations:
            weights = Inventory(layer).weights
            if weights:
                layer = weights[-1].layer  # of attention that of its outputs
            if layer in names and (weights or activation_name(layer)):
                ends.add(layer)
                break
    return ends


def _hides_sums(layer: keras.Layer) -> bool:
    # Whether it calls others in a method of a user, which may add their outputs.
    shows_all = isinstance(layer, keras.Sequential | keras.Function)
    return not shows_all and is_followed(layer) and bool(list_sublayers(layer, recursive=False))


# The calls.


def _iterate_hidden(call: SymbolicCall, root: SymbolicCall) -> Iterator[tuple[keras.Layer, str]]:
    """Yield the layers with kernels whose calls are not understood, with the reason."""
    layer = call.operation
    if not isinstance(layer, keras.Layer) or (call.inside is None and not call.problem):
        return
    inside = call.inside or ()
    if not call.problem and any(_multiplies_by_free_kernel(inner, root) for inner in inside):
        yield layer, "it multiplies by a kernel itself"
        return
    if call.problem and (call.inside is not None or multiplies_by_kernel(layer)):
        yield layer, call.problem
    for inner in inside:
        if not isinstance(inner.operation, keras.Layer) and inner.problem:
            yield layer, inner.problem
        yield from _iterate_hidden(inner, root)


def _multiplies_by_free_kernel(call: SymbolicCall, root: SymbolicCall) -> bool:
    # Whether it is the product with a kernel that belongs to no layer of Keras.
    if get_kind(call.operation) not in PRODUCTS:
        return False
    for value in root.resolve(call.arguments):
        # A vector is no kernel, such as the frequencies of rotary positions.
        is_matrix = isinstance(value, keras.Variable) and len(value.shape) > 1
        if is_matrix and value.name != "embeddings":
            return True
    return False


def iterate_leaf_calls(
    call: SymbolicCall, hidden: Collection[keras.Layer]
) -> Iterator[SymbolicCall]:
    """Yield the leaf calls inside a call, in their order.

    Args:
        call: The call.
        hidden: Layers whose calls count as leaf calls, although they could be followed.
    """
    for inner in call.inside or ():
        layer = inner.operation
        is_open = isinstance(layer, keras.Layer) and is_followed(layer) and layer not in hidden
        if inner.inside is not None and is_open:
            yield from iterate_leaf_calls(inner, hidden)
        else:
            yield inner


def build_graph(calls: Iterable[SymbolicCall]) -> tuple[ForwardGraph, dict[Node, SymbolicCall]]:
    """Build the graph of the tensors of these calls, and list the call that made each."""
    graph = ForwardGraph()
    calls_by_node: dict[Node, SymbolicCall] = {}
    for call in calls:
        inputs = [] if get_kind(call.operation) in CONSTANT else call.inputs
        graph.add_inputs(inputs)
        graph.add_consumer(call.operation, inputs)
        graph.add_outputs(call.operation, inputs, call.output_tensors, is_origin=True)
        for tensor in call.output_tensors:
            node = graph.node_of(tensor)
            if node is not None:
                calls_by_node.setdefault(node, call)
    return graph, calls_by_node


def _find_attention(
    calls: Iterable[SymbolicCall], graph: ForwardGraph, branches: Iterable[Branch]
) -> dict[keras.Layer, bool]:
    """Find the layers of attention, and whether they attend to another stream."""
    sums: dict[Node, list[Branch]] = {}
    branches_by_operation: dict[keras.Operation, list[Branch]] = {}
    for branch in branches:
        sums.setdefault(branch.total, []).append(branch)
        for operation in branch.operations:
            branches_by_operation.setdefault(operation, []).append(branch)
    attention: dict[keras.Layer, bool] = {}
    for call in calls:
        layer = call.operation
        if not isinstance(layer, ATTENTION_LAYERS):
            continue
        arguments = inspect.signature(layer.call).bind(*call.args, **call.options).arguments
        query, value = arguments.get("query"), arguments.get("value")
        is_crossing = query is not value
        node = None if value is None else graph.node_of(value)
        if node is not None and is_crossing:
            for branch in branches_by_operation.get(layer, ()):
                if set(trace_along_streams(node, branch.begin, sums)) == {True}:
                    is_crossing = False
        attention[layer] = attention.get(layer, False) or is_crossing
    return attention


def _find_scales(calls: Iterable[SymbolicCall]) -> dict[keras.Operation, keras.Variable]:
    scales = {}
    for call in calls:
        if get_kind(call.operation) == MULTIPLY:
            for value in call.arguments:
                if isinstance(value, keras.Variable):
                    scales[call.operation] = value
    return scales


def _name_operations(call: SymbolicCall, kinds: Collection[str]) -> list[str]:
    # In any layer.
    names = []
    for inner in call.inside or ():
        if get_kind(inner.operation) in kinds:
            names.append(inner.operation.name)
        names += _name_operations(inner, kinds)
    return names


# The ends of the model.


def _find_first_kernels(nodes: Sequence[Node], stems: Collection[Node]) -> list[keras.Operation]:
    """Find the layers with a kernel that get the outputs of no other kernel.

    Args:
        nodes: All tensors of the graph.
        stems: The tensors that the first branches are computed from. If there are any, other layers
            are left out.
    """
    kernels = []
    after_kernel: set[Node] = set()
    for node in nodes:
        is_after = not after_kernel.isdisjoint(node.inputs)
        has_kernel = multiplies_by_kernel(node.producer)
        if has_kernel and not is_after:
            kernels.append(node)
        if has_kernel or is_after:
            after_kernel.add(node)
    return find_producers(node for node in kernels if not stems or node in stems)


def _find_pre_logits(outputs: Iterable[Node], totals: set[Node]) -> list[keras.Operation]:
    """Find the dense layers on the only path from a sum with branches to an output."""
    kernels = []
    for node in outputs:
        source = trace_to_kernel(node.inputs[0]) if len(node.inputs) == 1 else None
        while source is not None and isinstance(source.kernel.producer, keras.layers.Dense):
            if not totals.isdisjoint(node_and_ancestors(source.kernel)):
                kernels.append(source.kernel)
            source = trace_to_kernel(source.kernel.inputs[0])
    return find_producers(kernels)


def _find_final_kernels(nodes: Sequence[Node]) -> list[Node]:
    """Find the outputs of layers with a kernel that reach no other kernel."""
    kernels = []
    before_kernel: set[Node] = set()
    for node in reversed(nodes):
        has_kernel = multiplies_by_kernel(node.producer)
        if has_kernel and node not in before_kernel:
            kernels.append(node)
        if has_kernel or node in before_kernel:
            before_kernel.update(node.inputs)
    return kernels[::-1]


# Weights with rows.


class _LookedUp(NamedTuple):
    """A table whose rows the inputs choose.

    Attributes:
        variable: The table.
        is_of_labels: Whether they choose one row for each example.
    """

    variable: keras.Variable
    is_of_labels: bool


def _takes_one_row(call: SymbolicCall) -> bool:
    # For each example.
    return all(size == 1 for tensor in call.inputs for size in tensor.shape[1:])


def _find_looked_up(calls: Iterable[SymbolicCall]) -> list[_LookedUp]:
    """Find the weights whose rows the inputs choose, in operations of users' layers."""
    tables: dict[int, _LookedUp] = {}
    for call in calls:
        table = next(iter(call.arguments), None)
        is_table = isinstance(table, keras.Variable) and len(table.shape) == 2
        if get_kind(call.operation) in LOOKING_UP and is_table and call.inputs:
            earlier = tables.get(id(table), _LookedUp(table, is_of_labels=True))
            tables[id(table)] = _LookedUp(table, earlier.is_of_labels and _takes_one_row(call))
    return list(tables.values())


def _find_added_weights(model: keras.Model, root: SymbolicCall) -> list[keras.Variable]:
    """Find the weights of several rows that are added to each example of a tensor."""

    def list_terms(root: SymbolicCall) -> list[Any]:
        calls = iterate_leaf_calls(root, ())
        return [value for call in calls for value in _list_terms_with_rows(call, root)]

    layers = [model, *list_sublayers(model)]
    return _find_weights_given(model, root, list_terms, filter(is_followed, layers))


def _find_latents(model: keras.Model, root: SymbolicCall) -> list[keras.Variable]:
    """Find the weights of several rows that layers get in place of a tensor.

    A weight that is added to a tensor from the inputs of the model is no latent.
    """
    layers = [model, *list_sublayers(model)]
    owners = [layer for layer in layers if is_followed(layer) or isinstance(layer, _EMBEDDING)]
    return _find_weights_given(model, root, _list_latent_arguments, owners)


def _list_latent_arguments(root: SymbolicCall) -> list[Any]:
    """List the weights and constants that alone make a tensor for a layer with weights."""
    if not root.stand_ins:
        return []
    calls = list(iterate_leaf_calls(root, ()))
    graph, _ = build_graph(calls)
    stand_ins = {graph.node_of(symbol): value for symbol, value in root.stand_ins}
    arguments: dict[int, Any] = {}
    for call in calls:
        if not (isinstance(call.operation, keras.Layer) and call.operation.weights):
            continue
        for tensor in call.inputs:
            node = graph.node_of(tensor)
            ancestors = node_and_ancestors(node) if node is not None else set()
            sources = [node for node in ancestors if not node.inputs and node.producer is None]
            if all(source in stand_ins for source in sources):
                values = [stand_ins[source] for source in sources]
                arguments.update((id(value), value) for value in values)
    return list(arguments.values())


def _find_weights_given(
    model: keras.Model,
    root: SymbolicCall,
    list_arguments: Callable[[SymbolicCall], list[Any]],
    owners: Iterable[keras.Layer],
) -> list[keras.Variable]:
    """Find the weights that calls get as arguments, whole or sliced.

    A whole weight is found by its identity. A slice, `self.positions[:length]`, is a new tensor
    with values only. So in another call each weight with these rows gets a marker in place of its
    values. The slice comes from the weight whose marker it has.

    Args:
        model: The model.
        root: Its call.
        list_arguments: Lists the arguments of such a call that may be weights.
        owners: The layers whose weights may be sliced.
    """
    weights: list[keras.Variable] = []
    slices = []
    for value in list_arguments(root):
        if isinstance(value, keras.Variable):
            weights.append(value)
        else:
            slices.append(backend.host_view(value))
    for variable in _find_tables(owners, slices):
        marker = 1.0
        if (backend.host_view(variable.value) == marker).all():
            marker = 2.0
        marked = np.full(variable.shape, marker, variable.dtype)
        marked_root = record_calls(model, [(variable, backend.to_tensor(marked))])
        for value in list_arguments(marked_root):
            is_slice = not isinstance(value, keras.Variable)
            if is_slice and (backend.host_view(value) == marker).all():
                weights.append(variable)
    return list({id(variable): variable for variable in weights}.values())


def _list_terms_with_rows(call: SymbolicCall, root: SymbolicCall) -> list[Any]:
    """List the weights and the arrays of several rows that a call adds to a tensor."""
    if get_kind(call.operation) != ADD:
        return []
    axes = max((len(tensor.shape) for tensor in call.inputs), default=0)
    terms = []
    for value in root.resolve(call.arguments):
        is_array = isinstance(value, keras.Variable) or keras.ops.is_tensor(value)
        if isinstance(value, keras.KerasTensor) or not is_array:
            continue
        # With fewer axes it is added at each place, as a bias for each head.
        if math.prod(value.shape[:-1]) > 1 and len(value.shape) >= axes - 1:
            terms.append(value)
    return terms


def _find_tables(layers: Iterable[keras.Layer], slices: Sequence[Array]) -> list[keras.Variable]:
    # The weights of layers, tables of rows, from which slices may be.
    tables: dict[int, keras.Variable] = {}
    if not slices:
        return []
    for layer in layers:
        for variable in list_own_weights(layer):
            if variable.trainable and any(_may_contain(variable, rows) for rows in slices):
                tables[id(variable)] = variable
    return list(tables.values())


def _may_contain(variable: keras.Variable, rows: Array) -> bool:
    # Whether all these rows are rows of the weight.
    shape = variable.shape
    if len(shape) < 2 or math.prod(shape[:-2]) != 1 or shape[-1] != rows.shape[-1]:
        return False
    table_rows = backend.host_view(variable.value).reshape(shape[-2:]).astype(rows.dtype)
    known_rows = {row.tobytes() for row in table_rows}
    return all(row.tobytes() in known_rows for row in rows.reshape(-1, shape[-1]))
