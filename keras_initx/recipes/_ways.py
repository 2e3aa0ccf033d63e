"""How many branches and blocks are on the way of each weight, counted along the graph."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import keras

from keras_initx.recipes._parts import ENDS, Doubt, Part, Role
from keras_initx.structure._architecture import Architecture
from keras_initx.structure._branches import Branch
from keras_initx.structure._graph import producers_of, with_ancestors


class Ways:
    """The ways along the branches of a model.

    Attributes:
        decoders: The numbers of the streams that are a decoder beside an encoder.
        doubts: What is not known of the ways.

    Args:
        found: What the graph of the model shows.
        attends: Whether a branch is one of attention.
        weights_in: Returns the weights in layers.
        alone: How many branches there are beside those of the graph, by their names.
    """

    def __init__(
        self,
        found: Architecture,
        attends: Callable[[Branch], bool],
        weights_in: Callable[[Iterable[keras.Operation]], Sequence[Part]],
        alone: int = 0,
    ) -> None:
        self._found = found
        self._weights_in = weights_in
        self.doubts: dict[Doubt, str] = {}
        lengths = found.streams.lengths(lambda branch: True)
        self._lengths = {one: {length + alone for length in lengths[one]} for one in lengths}
        self._attended = found.streams.lengths(attends)
        self._others = found.streams.lengths(lambda branch: not attends(branch))
        self.decoders = self._find_decoders()
        self._blocks = self._find_blocks()

    def counted(self, roles: Mapping[str, Role], parts: Sequence[Part]) -> dict[str, Role]:
        """Return roles with the numbers of branches and blocks on their ways.

        What is in no branch has the numbers of the streams that it leads to, or those that all
        weights have.

        Args:
            roles: The role of each weight.
            parts: All weights.
        """
        found: dict[str, list[Branch]] = {}
        for branch in self._found.branches:
            for part in self._weights_in(branch.operations):
                found.setdefault(part.weight.path, []).append(branch)
        for branch in self._found.streams.firsts():
            before = producers_of(with_ancestors(branch.begin[0]))
            for part in self._weights_in(before):
                if not roles[part.weight.path].in_branch:
                    found.setdefault(part.weight.path, []).append(branch)
        everywhere = list(self._found.branches)
        counted = {}
        for part in parts:
            role = roles[part.weight.path]
            branches = found.get(part.weight.path, everywhere)
            lengths = set().union(*(self._lengths[branch] for branch in branches))
            blocks = {self._blocks[branch] for branch in branches if branch in self._blocks}
            is_end = role.in_branch or role.name in ENDS
            if is_end and len(lengths) > 1:
                words = " and ".join(map(str, sorted(lengths)))
                text = f"{part.weight.path!r} on ways of {words} branches"
                self.doubts.setdefault(Doubt.LENGTHS, text)
            if (is_end or role.name == "tokens") and len(blocks) > 1:
                text = f"{part.weight.path!r} on ways of several numbers of blocks"
                self.doubts.setdefault(Doubt.BLOCKS, text)
            counted[part.weight.path] = replace(
                role,
                branches=lengths.pop() if len(lengths) == 1 else 0,
                blocks=blocks.pop() if len(blocks) == 1 else (0, 0),
            )
        return counted

    def _find_decoders(self) -> set[int]:
        """Return the numbers of the streams of a decoder beside an encoder.

        Streams of the same layers, as of a model that is called on two inputs, are one.
        """
        found = self._found
        numbers = found.streams.numbers
        decoders = {numbers[branch] for branch in found.branches if branch in found.crosses}
        if not decoders and not found.crossing:
            return set()
        stacks: dict[frozenset[keras.Operation], set[int]] = {}
        for number in set(numbers.values()):
            own = [branch for branch in found.branches if numbers[branch] == number]
            layers = frozenset(layer for branch in own for layer in branch.last)
            stacks.setdefault(layers, set()).add(number)
        crossing = [own for own in stacks.values() if not own.isdisjoint(decoders)]
        if len(stacks) != 2 or len(crossing) != 1:
            self.doubts[Doubt.BLOCKS] = "no encoder beside a decoder"
            return set()
        return crossing[0]

    def _find_blocks(self) -> dict[Branch, tuple[int, int]]:
        """Return the number of blocks on the way through each branch, as far as it is known."""
        numbers = self._found.streams.numbers
        own: dict[Branch, int] = {}
        for branch in self._found.branches:
            is_decoder = numbers[branch] in self.decoders
            attended, others = self._attended[branch], self._others[branch]
            if len(attended) != 1 or len(others) != 1:
                lengths = " and ".join(map(str, sorted(self._lengths[branch])))
                self.doubts.setdefault(Doubt.BLOCKS, f"ways of {lengths} branches")
                continue
            ((first,), (second,)) = attended, others
            if first != second * (2 if is_decoder else 1):
                words = "half as many in a decoder beside an encoder" if is_decoder else "as many"
                self.doubts.setdefault(
                    Doubt.BLOCKS,
                    f"{first} branches with attention and {second} without, which must be {words}",
                )
            own[branch] = second
        if not self.decoders:
            return {branch: (number, 0) for branch, number in own.items()}
        of_decoder = {own[branch] for branch in own if numbers[branch] in self.decoders}
        of_encoder = {own[branch] for branch in own if numbers[branch] not in self.decoders}
        if len(of_decoder) != 1 or len(of_encoder) != 1:
            self.doubts.setdefault(Doubt.BLOCKS, "an encoder or a decoder of several lengths")
            return {}
        return dict.fromkeys(own, (of_encoder.pop(), of_decoder.pop()))
