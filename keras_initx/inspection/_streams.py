"""Streams of branches: how many branches a signal passes on its own way through a model.

A sum follows another if its branches begin at what is computed from that one: stages in series are
one stream, and so is what a loop applies again. Towers beside each other, and calls on other
inputs, are streams of their own. What a branch gets at its side, as the memory of a decoder, leads
nowhere.
"""

from collections.abc import Callable, Sequence

import keras

from keras_initx.inspection._branches import Branch, kernels_before
from keras_initx.inspection._graph import Node
from keras_initx.inspection._operations import CONCATENATE, get_kind


class Streams:
    """The ways along the branches of a model.

    Attributes:
        numbers: The number of the stream of each branch.

    Args:
        branches: Branches in the order in which they are added, without those around others.
        around: The branches around others. Ways go through them, not beside them.
    """

    def __init__(self, branches: Sequence[Branch], around: Sequence[Branch]) -> None:
        self._sums: dict[Node, list[Branch]] = {}
        for branch in branches:
            self._sums.setdefault(branch.total, []).append(branch)
        self._around: dict[Node, list[Branch]] = {}
        for branch in around:
            self._around.setdefault(branch.total, []).append(branch)
        self._before: dict[Node, frozenset[Node | None]] = {}
        for total, found in self._sums.items():
            self._before[total] = self._reached(found[0].begin[0])
        self._after: dict[Node, list[Node]] = {total: [] for total in self._sums}
        for total, before in self._before.items():
            for other in before:
                if other is not None:
                    self._after[other].append(total)
        self._of_sums = self._numbered()
        self.numbers = {branch: self._of_sums[branch.total] for branch in branches}

    def lengths(self, counts: Callable[[Branch], bool]) -> dict[Branch, frozenset[int]]:
        """Return how many branches there are on the ways through each branch.

        Args:
            counts: Whether a branch counts.
        """
        own = {total: sum(map(counts, found)) for total, found in self._sums.items()}
        up: dict[Node, frozenset[int]] = {}
        for total, before in self._before.items():
            up[total] = frozenset(
                length + (own[other] if other else 0)
                for other in before
                for length in (up[other] if other else (0,))
            )
        down: dict[Node, frozenset[int]] = {}
        for total in reversed(self._sums):
            after = self._after[total]
            ways = [length + own[other] for other in after for length in down[other]]
            down[total] = frozenset(ways or [0])
        found = {}
        for total, branches in self._sums.items():
            ways = [one + own[total] + other for one in up[total] for other in down[total]]
            found.update(dict.fromkeys(branches, frozenset(ways)))
        return found

    def firsts(self) -> list[Branch]:
        """Return a branch of each sum that follows no other."""
        return [self._sums[total][0] for total, before in self._before.items() if None in before]

    def starts(self) -> dict[int, list[keras.Operation]]:
        """Return the layers with a kernel that each stream begins with, by its number."""
        found: dict[int, dict[keras.Operation, None]] = {}
        for branch in self.firsts():
            kernels = found.setdefault(self.numbers[branch], {})
            kernels.update(dict.fromkeys(kernels_before(branch)))
        return {number: list(kernels) for number, kernels in found.items()}

    def _reached(self, begin: Node) -> frozenset[Node | None]:
        """Return the last sums on the ways to a tensor, and `None` for a way without any.

        A way without any counts only if there are no others, or beside others in a concatenation.
        """
        found: dict[Node, frozenset[Node | None]] = {}
        open_nodes = [begin]
        while open_nodes:
            node = open_nodes[-1]
            if node in self._sums:
                found[node] = frozenset([node])
                open_nodes.pop()
                continue
            before = self._inputs(node)
            missing = [part for part in before if part not in found]
            if missing:
                open_nodes += missing
                continue
            open_nodes.pop()
            sums = frozenset[Node | None]().union(*(found[part] for part in before))
            if get_kind(node.producer) != CONCATENATE and sums != {None}:
                # A side input, as a condition or a mask, is no way.
                sides = [found[part] for part in before if found[part] != {None}]
                sums = frozenset[Node | None]().union(*sides)
            found[node] = sums or frozenset([None])
        return found[begin]

    def _inputs(self, node: Node) -> list[Node]:
        """Return what a tensor is computed from, of a branch around others what that gives."""
        if node in self._around:
            return [term for branch in self._around[node] for term in branch.terms]
        return [part for part in node.inputs if part.is_float]

    def _numbered(self) -> dict[Node, int]:
        """Return the number of the stream of each sum."""
        numbers: dict[Node, int] = {}
        for total in self._sums:
            if total in numbers:
                continue
            number = len(set(numbers.values()))
            open_nodes = [total]
            while open_nodes:
                node = open_nodes.pop()
                if node not in numbers:
                    numbers[node] = number
                    open_nodes += [one for one in self._before[node] if one is not None]
                    open_nodes += self._after[node]
        return numbers
