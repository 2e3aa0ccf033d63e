"""Count the kernels that one kernel holds: for example queries, keys and values, split afterward.

    q, k, v = split(dense(x), 3);  softmax(q @ k.T) @ v        `dense` holds three kernels

Pieces of the outputs that reach an input of a product together belong to one kernel, for example
the halves that rotary positions turn. Pieces that only meet in products belong to several kernels.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import keras

from keras_initx.inspection._graph import Node
from keras_initx.inspection._kernels import DEPTHWISE, multiplies_by_kernel
from keras_initx.inspection._operations import ATTENTION, SPLITTING, SUMS_OF_PRODUCTS, get_kind

# A piece of the outputs of a kernel: all outputs, and the pieces of pieces that lead to it.
_Piece: TypeAlias = tuple[Node, ...]
_PRODUCTS = (*SUMS_OF_PRODUCTS, *ATTENTION, "Attention", "AdditiveAttention")


def count_fused_kernels(nodes: Iterable[Node]) -> dict[keras.Operation, int]:
    """Count the kernels of one size in the kernel of each layer that holds several.

    The number is 0 if the outputs are split for attention into pieces of different sizes, or have
    other uses too.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """
    pieces: dict[Node, set[_Piece]] = {}
    groups: dict[Node, list[set[_Piece]]] = {}
    for node in nodes:
        pieces_before = set[_Piece]().union(*(pieces.get(source, ()) for source in node.inputs))
        is_depthwise = isinstance(node.producer, DEPTHWISE) and pieces_before
        if node.is_form:
            pieces[node] = pieces_before
        elif multiplies_by_kernel(node.producer) and not is_depthwise:
            pieces[node] = {(node,)}
        elif get_kind(node.producer) in _PRODUCTS:
            for source in node.inputs:
                groups |= _join_pieces(pieces.get(source, set()), groups)
        elif get_kind(node.producer) in SPLITTING:
            pieces[node] = {(*piece, node) for piece in pieces_before}
        else:
            pieces[node] = pieces_before
    counts: dict[keras.Operation, int] = {}
    for kernel, groups_of_kernel in groups.items():
        layer = kernel.producer
        if len(groups_of_kernel) > 1 and layer is not None:
            size = math.prod(_list_lengths(kernel))
            shares = [_count_numbers(group) / size for group in groups_of_kernel]
            is_even = math.isclose(min(shares), max(shares)) and math.isclose(sum(shares), 1)
            count = len(groups_of_kernel) if is_even else 0
            counts[layer] = count if counts.get(layer, count) == count else 0
    return counts


def _join_pieces(
    pieces: Iterable[_Piece], groups: Mapping[Node, Sequence[set[_Piece]]]
) -> dict[Node, list[set[_Piece]]]:
    """Join the pieces of each kernel that reach an input of a product into one group.

    Args:
        pieces: The pieces that reach it.
        groups: The groups of each kernel so far.

    Returns:
        The new groups of the kernels that have these pieces.
    """
    pieces_by_kernel: dict[Node, set[_Piece]] = {}
    for piece in pieces:
        pieces_by_kernel.setdefault(piece[0], set()).add(piece)
    joined_groups = {}
    for kernel, joined in pieces_by_kernel.items():
        separate = []
        for group in groups.get(kernel, ()):
            if any(_have_overlap(first, second) for first in group for second in joined):
                joined |= group
            else:
                separate.append(group)
        joined_groups[kernel] = [*separate, joined]
    return joined_groups


def _have_overlap(first: _Piece, second: _Piece) -> bool:
    # Whether a piece is the other, or contains it.
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]


def _count_numbers(group: Iterable[_Piece]) -> int:
    # Without pieces inside of others.
    outermost: list[_Piece] = []
    for piece in sorted(group, key=len):
        if not any(_have_overlap(piece, other) for other in outermost):
            outermost.append(piece)
    return sum(math.prod(_list_lengths(piece[-1])) for piece in outermost)


def _list_lengths(node: Node) -> list[int]:
    symbol = node.tensor()
    return [length for length in getattr(symbol, "shape", ()) if length is not None]
