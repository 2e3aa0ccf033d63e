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
from keras_initx.inspection._kernels import DEPTHWISE, SEPARABLE, multiplies_by_kernel
from keras_initx.inspection._operations import ATTENTION, SPLITTING, SUMS_OF_PRODUCTS, get_kind

# A piece of the outputs of a kernel, as a path: (outputs, piece of them, piece of this piece).
_Piece: TypeAlias = tuple[Node, ...]
# How a product uses a tensor: as which input, and whether another input comes from a product. By
# the second, keys and values differ: both are second inputs, of `q @ k.T` and of `weights @ v`.
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
    uses_by_kernel: dict[Node, dict[_Use, set[_Piece]]] = {}
    for node in nodes:
        pieces_before = set[_Piece]().union(*(pieces.get(source, ()) for source in node.inputs))
        # A depthwise convolution has a kernel, but keeps the pieces apart.
        is_depthwise = isinstance(node.producer, DEPTHWISE)
        is_depthwise = is_depthwise and not isinstance(node.producer, SEPARABLE)
        has_kernel = not node.is_form and multiplies_by_kernel(node.producer)
        if has_kernel and not (is_depthwise and pieces_before):
            pieces[node] = {(node,)}
            continue
        if not after_products.isdisjoint(node.inputs):
            after_products.add(node)
        kind = "" if node.is_form else get_kind(node.producer)
        if kind in _PRODUCTS and len(node.inputs) > 1:
            after_products.add(node)
            for place, source in enumerate(node.inputs):
                others = {other for other in node.inputs if other is not source}
                use = (place, not others.isdisjoint(after_products))
                for kernel, group in _group_by_kernel(pieces.get(source, ())).items():
                    pieces_by_use = uses_by_kernel.setdefault(kernel, {})
                    pieces_by_use.setdefault(use, set()).update(group)
        elif kind in SPLITTING:
            pieces[node] = set()
            for source in node.inputs:
                pieces[node] |= _split_pieces(pieces.get(source, ()), source, node)
        else:
            pieces[node] = pieces_before
    counts: dict[keras.Operation, int] = {}
    for kernel in pieces:  # in the order of the graph; only kernels have uses
        groups = _join_overlapping(uses_by_kernel.get(kernel, {}).values())
        layer = kernel.producer
        if len(groups) > 1 and layer is not None:
            size = _count_elements(kernel)
            shares = [_sum_elements(group) / size for group in groups]
            are_equal = math.isclose(min(shares), max(shares))
            are_all = math.isclose(sum(shares), 1)
            count = len(groups) if are_equal and are_all else 0
            # All calls of a layer must give the same count.
            counts[layer] = count if counts.get(layer, count) == count else 0
    return counts


def _group_by_kernel(pieces: Iterable[_Piece]) -> dict[Node, set[_Piece]]:
    by_kernel: dict[Node, set[_Piece]] = {}
    for piece in pieces:
        by_kernel.setdefault(piece[0], set()).add(piece)
    return by_kernel


def _split_pieces(pieces: Iterable[_Piece], whole: Node, part: Node) -> set[_Piece]:
    """Find the pieces in a part of a tensor, given those in the whole tensor.

    If the tensor has more than one piece of a kernel, its part may have some of each. They stay as
    they are: otherwise they would double at each step of a loop that splits what it has mixed.
    """
    number = _count_elements(whole)
    split: set[_Piece] = set()
    for group in _group_by_kernel(pieces).values():
        if len(group) > 1:
            split |= group
            continue
        (piece,) = group
        is_whole = _count_elements(piece[-1]) == number  # nothing else is in the tensor
        split.add((*piece, part) if is_whole else piece)
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
    if any(_is_inside(piece, second) for piece in first):
        return True
    return any(_is_inside(piece, first) for piece in second)


def _is_inside(piece: _Piece, others: Collection[_Piece]) -> bool:
    # Whether a piece is one of the others, or inside of one: a piece begins with those that it is
    # inside of.
    return any(piece[: length + 1] in others for length in range(len(piece)))


def _sum_elements(group: Collection[_Piece]) -> int:
    # Without pieces inside of others.
    outermost = [piece for piece in group if not _is_inside(piece[:-1], group)]
    return sum(_count_elements(piece[-1]) for piece in outermost)


def _count_elements(node: Node) -> int:
    # Without the lengths that are not known, such as that of the batch.
    symbol = node.tensor()  # a weak reference
    return math.prod(length for length in getattr(symbol, "shape", ()) if length is not None)
