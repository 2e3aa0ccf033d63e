"""Gates in a graph: products of two kernels of one input, one through an activation."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

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
        up: The other one. It is the same if one kernel is split.
        down: The layer with a kernel that reads the product.
    """

    gate: keras.Operation
    up: keras.Operation
    down: keras.Operation


@dataclass
class Origin:
    """Where a tensor comes from through operations of one tensor.

    Attributes:
        kernel: The output of a kernel.
        part: The part of it, or all of it.
        activations: The names of the activations on the way.
    """

    kernel: Node
    part: Node
    activations: list[str]


def gates_of(nodes: Sequence[Node]) -> list[Gate]:
    """Return the products of two kernels of one input that another kernel reads."""
    products: dict[Node, tuple[Any, Any]] = {}
    found = []
    for node in nodes:
        if get_kind(node.producer) in (GLU, MULTIPLY) and not node.is_form:
            pair = _gated(node)
            if pair is not None:
                products[node] = pair
        elif isinstance(node.producer, _PROJECTIONS) and not node.is_form:
            product = _before(node, products)
            if product is not None:
                found.append(Gate(*products[product], node.producer))
    return found


def _gated(product: Node) -> tuple[Any, Any] | None:
    """Return the layers of a gate and of what it multiplies, or `None` if there is no gate."""
    factors: dict[Node, list[str]] = {}
    kernels: dict[Node, Node] = {}
    for factor in _factors(product):
        source = source_of(factor)
        if source is None:
            return None
        # A tensor times an activation of itself, as in SiLU, is one.
        factors.setdefault(source.part, []).extend(source.activations)
        kernels[source.part] = source.kernel
    if get_kind(product.producer) == GLU and kernels:
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


def _layers_of(gate: Node, up: Node) -> tuple[Any, Any]:
    return gate.producer, up.producer


def _factors(product: Node) -> list[Node]:
    """Return what is multiplied, also in products of products."""
    if get_kind(product.producer) != MULTIPLY or len(product.inputs) != 2:
        return product.inputs if get_kind(product.producer) == GLU else [product]
    factors = []
    for part in product.inputs:
        factors += _factors(part)
    return factors


def source_of(node: Node) -> Origin | None:
    """Return the only kernel that a tensor comes from, through operations of one tensor."""
    activations: list[str] = []
    part = None
    while node.producer is not None and len(node.inputs) == 1:
        producer = node.producer
        if not node.is_form:
            if get_kind(producer) in SPLITTING:
                part = node
            name = activation_in(producer)
            if name is not None:
                activations.append(name)
            if isinstance(producer, _PROJECTIONS):
                return Origin(node, part or node, activations)
            if multiplies_by_kernel(producer):
                return None
        (node,) = node.inputs
    return None


def _before(node: Node, wanted: Collection[Node]) -> Node | None:
    """Return the tensor of these that a layer gets through operations of one tensor."""
    while len(node.inputs) == 1:
        (node,) = node.inputs
        if node in wanted:
            return node
        if multiplies_by_kernel(node.producer):
            return None
    return None


def _plain(node: Node) -> Node:
    """Return a tensor before its other forms and a dropout."""
    while len(node.inputs) == 1 and (
        node.is_form or get_kind(node.producer) in ("Dropout", "Identity")
    ):
        (node,) = node.inputs
    return node
