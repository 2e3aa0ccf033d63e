"""Group paths that differ in numbers only, for example in a stack of layers.

The paths `block/kernel`, `block_1/kernel` and `block_2/kernel` become `block*/kernel (3)`.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

# A number in a path. At the end of the name of a layer, Keras puts an underscore before it.
_NUMBER = re.compile(r"_?\d+(?=/|$)|\d+")


def strip_numbers(path: str) -> str:
    # What paths have in common that differ in numbers only: `block/kernel`.
    return _NUMBER.sub("", path)


def group_similar(
    items: Iterable[Item],
    path: Callable[[Item], str],
    others: Callable[[Item], Hashable] = lambda _: None,
) -> list[list[Item]]:
    """Group items whose paths differ in numbers only.

    Args:
        items: The items.
        path: Function that returns the path of an item.
        others: Function that returns other properties that the items of a group must share.
    """
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault((strip_numbers(path(item)), others(item)), []).append(item)
    return list(groups.values())


def merge_paths(paths: Sequence[str]) -> str:
    """Merge paths that differ in numbers into one with stars. A single path stays."""
    if len(paths) == 1:
        return paths[0]
    patterns = [_NUMBER.sub("*", path) for path in paths]
    # The first of layers with automatic names has no number.
    return max(patterns, key=lambda pattern: pattern.count("*"))


def describe_paths(paths: Sequence[str]) -> str:
    """Describe paths that differ in numbers only, by their pattern and their number."""
    pattern = merge_paths(paths)
    return pattern if len(paths) == 1 else f"{pattern} ({len(paths)})"
