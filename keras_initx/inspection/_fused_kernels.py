"""Count the kernels that one kernel holds: for example queries, keys and values, split afterward.

    q, k, v = split(dense(x), 3);  softmax(q @ k.T) @ v        `dense` holds three kernels

Pieces of the outputs that reach an input of a product together belong to one kernel, for example
the halves that rotary positions turn. So do pieces that products use alike, for example the queries
of several heads, or of several steps of a loop. Other pieces that only meet in products belong to
several kernels.
"""

import math
from collections.abc import Collection, Iterable
from typing import TypeAlias

import keras

from keras_initx.inspection._graph import Node
from keras_initx.inspection._kernels import DEPTHWISE, multiplies_by_kernel
from keras_initx.inspection._operations import ATTENTION, SPLITTING, SUMS_OF_PRODUCTS, get_kind

# A piece of the outputs of a kernel: all outputs, and the pieces of pieces that lead to it.
_Piece: TypeAlias = tuple[Node, ...]
# How a product uses a tensor: as which input, and whether another input comes from a product.
_Use: TypeAlias = tuple[int, bool]
_PRODUCTS = (*SUMS_OF_PRODUCTS, *ATTENTION, "Attention", "AdditiveAttention")


def count_fused_kernels(nodes: Iterable[Node]) -> dict[keras.Operation, int]:
    """Count the kernels of one size in the kernel of each layer that holds several.

    The number is 0 if the outputs are split for attention into pieces of different sizes, or have
    other uses too.

    Args:
        nodes: All tensors of the graph, each after those that it was made from.
    """
    pieces: dict[Node, set[_Piece]] = {}
    after_products: set[Node] = set()
    used: dict[Node, dict[_Use, set[_Piece]]] = {}
    for node in nodes:
        pieces_before = set[_Piece]().union(*(pieces.get(source, ()) for source in node.inputs))
        is_depthwise = isinstance(node.producer, DEPTHWISE) and pieces_before
        if not node.is_form and multiplies_by_kernel(node.producer) and not is_depthwise:
            pieces[node] = {(node,)}
            continue
        if not after_products.isdisjoint(node.inputs):
            after_products.add(node)
        kind = "" if node.is_form else get_kind(node.producer)
        if kind in _PRODUCTS and len(node.inputs) > 1:
            after_products.add(node)
            for place, source in enumerate(node.inputs):
                others = {other for other in node.inputs if other is not source}
                use = place, not others.isdisjoint(after_products)
                for kernel, group in _group_by_kernel(pieces.get(source, ())).items():
                    used.setdefault(kernel, {}).setdefault(use, set()).update(group)
        elif kind in SPLITTING:
            pieces[node] = set()
            for source in node.inputs:
                pieces[node] |= _split_pieces(pieces.get(source, ()), source, node)
        else:
            pieces[node] = pieces_before
    counts: dict[keras.Operation, int] = {}
    for kernel in pieces:  # in the order of the graph
        groups = _join_overlapping(used.get(kernel, {}).values())
        layer = kernel.producer
        if len(groups) > 1 and layer is not None:
            size = _count_numbers_in(kernel)
            shares = [_count_numbers(group) / size for group in groups]
            is_even = math.isclose(min(shares), max(shares)) and math.isclose(sum(shares), 1)
            count = len(groups) if is_even else 0
            counts[layer] = count if counts.get(layer, count) == count else 0
    return counts


def _group_by_kernel(pieces: Iterable[_Piece]) -> dict[Node, set[_Piece]]:
    by_kernel: dict[Node, set[_Piece]] = {}
    for piece in pieces:
        by_kernel.setdefault(piece[0], set()).add(piece)
    return by_kernel


def _split_pieces(pieces: Iterable[_Piece], whole: Node, part: Node) -> set[_Piece]:
    """Return the pieces that a part of a tensor has, if the whole tensor has these.

    If the tensor has more than one piece of a kernel, its part may have some of each. They stay as
    they are: otherwise they would double at each step of a loop that splits what it has mixed.
    """
    number = _count_numbers_in(whole)
    split: set[_Piece] = set()
    for mixed in _group_by_kernel(pieces).values():
        is_all = len(mixed) == 1 and all(_count_numbers_in(piece[-1]) == number for piece in mixed)
        split |= {(*piece, part) for piece in mixed} if is_all else mixed
    return split


def _join_overlapping(groups: Iterable[set[_Piece]]) -> list[set[_Piece]]:
    """Join groups of which a piece is in another group, or inside of a piece of it."""
    joined: list[set[_Piece]] = []
    for group in groups:
        overlapping = [other for other in joined if _have_overlap(group, other)]
        joined = [other for other in joined if other not in overlapping]
        joined.append(group.union(*overlapping))
    return joined


def _have_overlap(first: Collection[_Piece], second: Collection[_Piece]) -> bool:
    pairs = ((first, second), (second, first))
    return any(_is_inside(piece, others) for pieces, others in pairs for piece in pieces)


def _is_inside(piece: _Piece, others: Collection[_Piece]) -> bool:
    # Whether a piece is one of the others, or inside of one.
    return any(piece[: length + 1] in others for length in range(len(piece)))


def _count_numbers(group: Collection[_Piece]) -> int:
    # Without pieces inside of others.
    outermost = [piece for piece in group if not _is_inside(piece[:-1], group)]
    return sum(_count_numbers_in(piece[-1]) for piece in outermost)


def _count_numbers_in(node: Node) -> int:
    # Without the lengths that are not known, such as that of the batch.
    symbol = node.tensor()
    return math.prod(length for length in getattr(symbol, "shape", ()) if length is not None)
