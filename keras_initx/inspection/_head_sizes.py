"""Find the size of each attention head: the length of the products of a query and a key.

softmax(einsum("bqhd,bkhd->bhqk", query, key))        d is the size of a head
"""

from collections.abc import Iterator

import keras

from keras_initx.inspection._architecture import build_graph, iterate_leaf_calls
from keras_initx.inspection._graph import Node
from keras_initx.inspection._hooks import activation_name
from keras_initx.inspection._kernels import FOREIGN, multiplies_by_kernel
from keras_initx.inspection._operations import (
    ATTENTION,
    ATTENTION_LAYERS,
    SUMS_OF_PRODUCTS,
    get_kind,
)
from keras_initx.inspection._symbolic import record_calls


def find_head_sizes(model: keras.Model) -> list[int | None]:
    """Find the size of the heads of each attention of a built model, in the order of the calls.

    The `call` of users' layers is followed, even if they multiply by weights themselves. A size is
    `None` if the graph does not show it, and for layers with kernels that cannot be followed.
    """
    calls = list(iterate_leaf_calls(record_calls(model), ()))
    graph, _ = build_graph(calls)
    sizes: list[int | None] = []
    for call in calls:
        operation = call.operation
        node = graph.node_of(call.output_tensors[0]) if call.output_tensors else None
        is_seen = not (call.problem or isinstance(operation, FOREIGN))
        if not is_seen and multiplies_by_kernel(operation):
            sizes.append(None)
        elif isinstance(operation, ATTENTION_LAYERS):
            queries = [
                weight for weight in operation.weights if weight.path.endswith("query/kernel")
            ]
            sizes.append(int(queries[0].shape[-1]) if queries else None)
        elif get_kind(operation) in ATTENTION:
            sizes.append(int(call.inputs[0].shape[-1]))
        elif node is not None and _is_softmax(operation):
            sizes += _iterate_score_sizes(node)
    return sizes


def _is_softmax(operation: keras.Operation) -> bool:
    # Without a kernel.
    if isinstance(operation, keras.layers.Softmax):
        return True
    if isinstance(operation, keras.Layer):
        return activation_name(operation) == "softmax" and not multiplies_by_kernel(operation)
    return get_kind(operation) == "Softmax"


def _iterate_score_sizes(node: Node) -> Iterator[int | None]:
    """Yield the size of the heads whose scores a softmax gets. Without scores, yield nothing."""
    open_nodes = list(node.inputs)
    visited: set[Node] = set()
    while open_nodes:
        node = open_nodes.pop()
        is_product = get_kind(node.producer) in SUMS_OF_PRODUCTS
        if is_product and len(node.inputs) > 1:
            yield _count_summed(node)
            return
        if node not in visited and not is_product and not multiplies_by_kernel(node.producer):
            open_nodes += node.inputs
        visited.add(node)


def _count_summed(product: Node) -> int | None:
    # Over how many numbers a product of two tensors sums; `None` if it is not known.
    first = getattr(product.inputs[0].tensor(), "shape", ())
    if get_kind(product.producer) == "Matmul":
        return int(first[-1]) if first and first[-1] is not None else None
    equation = getattr(product.producer, "subscripts", "").replace(" ", "")
    inputs, _, outputs = equation.partition("->")
    letters = inputs.split(",")
    if len(letters) != 2 or not outputs or "." in equation:
        return None
    size = 1
    for letter, length in zip(letters[0], first, strict=False):
        if letter in letters[1] and letter not in outputs:
            size *= int(length or 0)
    return size or None
