"""Kernels that hold several: those of queries, keys and values, whose outputs are split.

Pieces of the outputs that reach an input of a product together are of one kernel, such as the
halves that rotary positions turn. Pieces that only meet in products are of several.
"""

import math
from collections.abc import Iterable
from typing import TypeAlias

import keras

from keras_initx.inspection._graph import Node
from keras_initx.inspection._kernels import DEPTHWISE, multiplies_by_kernel
from keras_initx.inspection._operations import ATTENTION, SPLITTING, SUMS_OF_PRODUCTS, get_kind

# A piece of the outputs of a kernel: these, and the pieces of pieces that lead to it.
_Piece: TypeAlias = tuple[Node, ...]
_PRODUCTS = (*SUMS_OF_PRODUCTS, *ATTENTION, "Attention", "AdditiveAttention")


def kernels_held(nodes: Iterable[Node]) -> dict[keras.Operation, int]:
    """Return how many kernels of one size the layers with a kernel hold, of those with several.

    It is 0 where the outputs are split for attention into pieces of other sizes, or are used
    otherwise too.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """
    pieces: dict[Node, set[_Piece]] = {}
    groups: dict[Node, list[set[_Piece]]] = {}
    for node in nodes:
        reached = set[_Piece]().union(*(pieces.get(part, ()) for part in node.inputs))
        is_depthwise = isinstance(node.producer, DEPTHWISE) and reached
        if node.is_form:
            pieces[node] = reached
        elif multiplies_by_kernel(node.producer) and not is_depthwise:
            pieces[node] = {(node,)}
        elif get_kind(node.producer) in _PRODUCTS:
            for part in node.inputs:
                _add(pieces.get(part, set()), groups)
        elif get_kind(node.producer) in SPLITTING:
            pieces[node] = {(*piece, node) for piece in reached}
        else:
            pieces[node] = reached
    counts: dict[keras.Operation, int] = {}
    for kernel, own in groups.items():
        layer = kernel.producer
        if len(own) > 1 and layer is not None:
            sizes = [_size_of(group) / math.prod(_lengths(kernel)) for group in own]
            is_even = math.isclose(min(sizes), max(sizes)) and math.isclose(sum(sizes), 1)
            count = len(own) if is_even else 0
            counts[layer] = count if counts.get(layer, count) == count else 0
    return counts


def _add(pieces: Iterable[_Piece], groups: dict[Node, list[set[_Piece]]]) -> None:
    """Join the pieces of each kernel that reach an input of a product."""
    by_kernel: dict[Node, set[_Piece]] = {}
    for piece in pieces:
        by_kernel.setdefault(piece[0], set()).add(piece)
    for kernel, joined in by_kernel.items():
        apart = []
        for group in groups.get(kernel, []):
            if any(_overlap(one, other) for one in group for other in joined):
                joined |= group
            else:
                apart.append(group)
        groups[kernel] = [*apart, joined]


def _overlap(one: _Piece, other: _Piece) -> bool:
    """Return whether a piece is another, or has it in it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _size_of(group: Iterable[_Piece]) -> int:
    """Return how many numbers some pieces have, without those in others of them."""
    whole: list[_Piece] = []
    for piece in sorted(group, key=len):
        if not any(_overlap(piece, other) for other in whole):
            whole.append(piece)
    return sum(math.prod(_lengths(piece[-1])) for piece in whole)


def _lengths(node: Node) -> list[int]:
    symbol = node.tensor()
    return [length for length in getattr(symbol, "shape", ()) if length is not None]
