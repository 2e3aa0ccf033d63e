"""The patterns by which rules choose weights: one language, wherever rules are taken.

`*` stands for any text, also with `/`, and `?` for one character. Everything else stands for
itself, also brackets, which the name of a layer may have. A pattern matches a whole path.
"""

import functools
import re
from collections.abc import Iterable

__all__ = ["captured_texts", "matches_path", "matching_paths"]


def captured_texts(pattern: str, path: str) -> tuple[str, ...] | None:
    """Return the text that each `*` stands for, or `None` if `pattern` does not match `path`.

    From the left, each stands for as little as possible.
    """
    match = _expression(pattern).fullmatch(path)
    if match is None:
        return None
    return match.groups()


def matches_path(pattern: str, path: str) -> bool:
    """Return whether `pattern` matches `path`."""
    return captured_texts(pattern, path) is not None


def matching_paths(pattern: str, paths: Iterable[str]) -> list[str]:
    """Return those of `paths` that `pattern` matches."""
    return [path for path in paths if matches_path(pattern, path)]


@functools.lru_cache
def _expression(pattern: str) -> re.Pattern[str]:
    first, *others = [re.escape(part).replace(r"\?", ".") for part in pattern.split("*")]
    if not others:
        return re.compile(first, re.DOTALL)
    *inner, last = others
    # No star is tried with more than the least: what follows would not match any better.
    before = "".join(f"(?>(.*?){part})" for part in inner)
    return re.compile(f"{first}{before}(.*){last}", re.DOTALL)
