"""Find gates in a graph: products of two kernels of one input, one through an activation.

down(silu(gate(x)) * up(x))           SwiGLU: three layers
gate, up = split(dense(x), 2)         or the two in one kernel, whose outputs are split
down(glu(dense(x)))                   `glu` splits by itself
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from keras_initx.inspection._graph import Node
from keras_initx.inspection._kernels import CONVOLUTIONS, multiplies_by_kernel
from keras_initx.inspection._operations import GLU, MULTIPLY, SPLITTING, activation_in, get_kind

# Layers of one kernel and one input.
_PROJECTIONS = (
    *CONVOLUTIONS,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.TimeDistributed,
)


@dataclass(frozen=True, eq=False)
class Gate:
    """Two outputs of kernels of one input that are multiplied, one through an activation.

    Attributes:
        gate: The layer whose outputs go through the activation.
        up: The other layer. It is the same if the outputs of one kernel are split.
        down: The layer with a kernel that reads the product.
    """

    gate: keras.Operation
    up: keras.Operation
    down: keras.Operation


@dataclass
class KernelSource:
    """The kernel that a tensor comes from through operations of one tensor.

    Attributes:
        kernel: The output of a kernel.
        piece: The piece that is split off this output, or all of it.
        activations: The names of the activations between the output and the tensor.
    """

    kernel: Node
    piece: Node
    activations: list[str]


class _Factors(NamedTuple):
    """The layers whose outputs are multiplied, see `Gate`."""

    gate: Any
    up: Any


def find_gates(nodes: Sequence[Node]) -> list[Gate]:
    """Find the products of two kernels of one input that another kernel reads."""
    products: dict[Node, _Factors] = {}
    gates = []
    for node in nodes:
        if get_kind(node.producer) in (GLU, MULTIPLY) and not node.is_form:
            factors = _find_factors(node)
            if factors is not None:
                products[node] = factors
        elif isinstance(node.producer, _PROJECTIONS) and not node.is_form:
            product = _trace_to_product(node, products)
            if product is not None:
                gates.append(Gate(*products[product], node.producer))
    return gates


def _find_factors(product: Node) -> _Factors | None:
    """Find the layer of a gate and the layer that it multiplies; `None` if there is no gate."""
    activations: dict[Node, list[str]] = {}
    kernels: dict[Node, Node] = {}
    for factor in _flatten_product(product):
        source = trace_to_kernel(factor)
        if source is None:
            return None
        # A tensor times an activation of itself, as in SiLU, is one factor.
        activations.setdefault(source.piece, []).extend(source.activations)
        kernels[source.piece] = source.kernel
    if get_kind(product.producer) == GLU and kernels:
        (kernel,) = kernels.values()
        return _Factors(kernel.producer, kernel.producer)
    if len(activations) != 2:
        return None
    # Where both have an activation, as in WaveNet, the gate is the one between 0 and 1.
    gate, up = sorted(
        activations, key=lambda piece: ("sigmoid" not in activations[piece], not activations[piece])
    )
    is_whole_and_piece = kernels[gate] is kernels[up] and kernels[gate] in activations
    if not activations[gate] or is_whole_and_piece:
        return None
    if _skip_forms(kernels[gate].inputs[0]) is not _skip_forms(kernels[up].inputs[0]):
        return None
    return _Factors(kernels[gate].producer, kernels[up].producer)


def _flatten_product(product: Node) -> list[Node]:
    # The factors, also of products of products.
    if get_kind(product.producer) != MULTIPLY or len(product.inputs) != 2:
        return product.inputs if get_kind(product.producer) == GLU else [product]
    factors = []
    for factor in product.inputs:
        factors += _flatten_product(factor)
    return factors


def trace_to_kernel(node: Node) -> KernelSource | None:
    """Trace a tensor back, through operations of one tensor, to a kernel; `None` if none comes."""
    activations: list[str] = []
    piece = None
    while node.producer is not None and len(node.inputs) == 1:
        producer = node.producer
        if not node.is_form:
            if get_kind(producer) in SPLITTING:
                piece = node
            name = activation_in(producer)
            if name is not None:
                activations.append(name)
            if isinstance(producer, _PROJECTIONS):
                return KernelSource(node, piece or node, activations)
            if multiplies_by_kernel(producer):
                return None
        (node,) = node.inputs
    return None


def _trace_to_product(node: Node, products: Collection[Node]) -> Node | None:
    # Through operations of one tensor.
    while len(node.inputs) == 1:
        (node,) = node.inputs
        if node in products:
            return node
        if multiplies_by_kernel(node.producer):
            return None
    return None


def _skip_forms(node: Node) -> Node:
    # Also a dropout.
    while len(node.inputs) == 1 and (
        node.is_form or get_kind(node.producer) in ("Dropout", "Identity")
    ):
        (node,) = node.inputs
    return node
