"""Number the streams that residual branches add to, and count the branches along each.

A sum follows another sum if its branches begin at a tensor computed from that sum. Stages in series
are therefore one stream, and so are layers that a loop applies again. Towers next to each other,
and calls on other inputs, are streams of their own. A side input of a branch, such as the memory of
a decoder, is no path of a stream:

    x1 = x + a(x);  x2 = x1 + b(x1)           one stream, two branches on the way
    m = memory + c(memory);  y = x + d(x, m)  two streams, one branch on the way of each
"""

import itertools
from collections.abc import Sequence
from typing import TypeAlias

from keras_initx.inspection._branches import Branch
from keras_initx.inspection._graph import Node
from keras_initx.inspection._operations import CONCATENATE, get_kind

# Sums on the ways to a tensor, and `None` for a way without any.
_Sums: TypeAlias = frozenset[Node | None]


class Streams:
    """The paths along the branches of a model.

    Attributes:
        numbers: The number of the stream of each branch.

    Args:
        branches: Branches in the order of their sums, without branches around others.
        outer_branches: The branches around others. Paths go through them, not along their streams.
    """

    def __init__(self, branches: Sequence[Branch], outer_branches: Sequence[Branch]) -> None:
        self._branches_by_sum: dict[Node, list[Branch]] = {}
        for branch in branches:
            self._branches_by_sum.setdefault(branch.total, []).append(branch)
        self._outer_branches: dict[Node, list[Branch]] = {}
        for branch in outer_branches:
            self._outer_branches.setdefault(branch.total, []).append(branch)
        self._earlier_sums: dict[Node, _Sums] = {}
        for total, branches_of_sum in self._branches_by_sum.items():
            self._earlier_sums[total] = self._find_earlier_sums(branches_of_sum[0].begin[0])
        self._later_sums: dict[Node, list[Node]] = {total: [] for total in self._branches_by_sum}
        for total, earlier_sums in self._earlier_sums.items():
            for earlier in earlier_sums:
                if earlier is not None:
                    self._later_sums[earlier].append(total)
        numbers_by_sum = self._number_streams()
        self.numbers = {branch: numbers_by_sum[branch.total] for branch in branches}

    def lengths(self) -> dict[Branch, frozenset[int]]:
        """Count the branches on the paths through each branch, a number for each length of them."""
        before: dict[Node, frozenset[int]] = {}
        for total, earlier_sums in self._earlier_sums.items():
            before[total] = frozenset(
                length + (self._count_own(earlier) if earlier else 0)
                for earlier in earlier_sums
                for length in (before[earlier] if earlier else (0,))
            )
        after: dict[Node, frozenset[int]] = {}
        for total in reversed(self._branches_by_sum):
            ways = [
                length + self._count_own(later)
                for later in self._later_sums[total]
                for length in after[later]
            ]
            after[total] = frozenset(ways or [0])
        lengths = {}
        for total, branches in self._branches_by_sum.items():
            pairs = itertools.product(before[total], after[total])
            ways = [first + self._count_own(total) + last for first, last in pairs]
            lengths.update(dict.fromkeys(branches, frozenset(ways)))
        return lengths

    def _count_own(self, total: Node) -> int:
        return len(self._branches_by_sum[total])

    def firsts(self) -> list[Branch]:
        """Return a branch of each sum that follows no other sum."""
        return [
            self._branches_by_sum[total][0]
            for total, earlier_sums in self._earlier_sums.items()
            if None in earlier_sums
        ]

    def _find_earlier_sums(self, begin: Node) -> _Sums:
        """Find the last sums on the paths to a tensor, and `None` for a path without a sum.

        A path without a sum counts only if there are no others, or with others in a concatenation.
        """
        sums_by_node: dict[Node, _Sums] = {}
        open_nodes = [begin]
        while open_nodes:
            node = open_nodes[-1]
            if node in self._branches_by_sum:
                sums_by_node[node] = frozenset([node])
                open_nodes.pop()
                continue
            sources = self._list_inputs(node)
            missing = [source for source in sources if source not in sums_by_node]
            if missing:
                open_nodes += missing
                continue
            open_nodes.pop()
            sums_of_sources = [sums_by_node[source] for source in sources]
            sums = _Sums().union(*sums_of_sources)
            if get_kind(node.producer) != CONCATENATE and sums != {None}:
                # A side input, as a condition or a mask, is no way.
                sums = _Sums().union(*(sums for sums in sums_of_sources if sums != {None}))
            sums_by_node[node] = sums or frozenset([None])
        return sums_by_node[begin]

    def _list_inputs(self, node: Node) -> list[Node]:
        # The sum of an outer branch goes on to what this branch gives, not to its stream.
        if node in self._outer_branches:
            return [term for branch in self._outer_branches[node] for term in branch.terms]
        return [source for source in node.inputs if source.is_float]

    def _number_streams(self) -> dict[Node, int]:
        # Sums that follow each other, directly or not, have one number.
        numbers: dict[Node, int] = {}
        for total in self._branches_by_sum:
            if total in numbers:
                continue
            number = len(set(numbers.values()))
            open_nodes = [total]
            while open_nodes:
                node = open_nodes.pop()
                if node not in numbers:
                    numbers[node] = number
                    open_nodes += [
                        earlier for earlier in self._earlier_sums[node] if earlier is not None
                    ]
                    open_nodes += self._later_sums[node]
        return numbers
