"""The patterns by which rules choose weights: one language, wherever rules are taken.

`*` stands for any text, also with `/`, and `?` for one character. Everything else stands for
itself, also brackets, which the name of a layer may have. A pattern matches a whole path.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from keras_initx._checks import suggest_paths

Condition = TypeVar("Condition")
Item = TypeVar("Item")
Match = TypeVar("Match")


def find_first_matches(
    argument: str,
    conditions: Iterable[Condition],
    items: Mapping[str, Item],
    match: Callable[[Condition, Item], Match | None],
    *,
    kind: str = "a weight",
    hint: Callable[[Condition], str] | None = None,
) -> dict[str, tuple[Condition, Match]]:
    """Return the first condition that matches, by the path of each item that one matches.

    Args:
        argument: Name of the argument that holds the conditions, in error messages.
        conditions: Patterns, or whatever `match` takes, in the order of the argument.
        items: What is matched, by path.
        match: Returns what a condition finds in an item. It does not match if that is false.
        kind: What each condition must match, in error messages.
        hint: Returns the end of the message about a condition, by default paths like the pattern.

    Raises:
        ValueError: If a condition matches no item.
    """
    found: dict[str, tuple[Condition, Match]] = {}
    for condition in conditions:
        is_used = False
        for path, item in items.items():
            result = match(condition, item)
            if result:
                is_used = True
                found.setdefault(path, (condition, result))
        if not is_used:
            close = hint(condition) if hint else suggest_paths(str(condition), list(items))
            raise ValueError(
                f"Each of `{argument}` must match {kind}. "
                f"Received: {condition!r}, which matches none{close}"
            )
    return found


def captured_texts(pattern: str, path: str) -> tuple[str, ...] | None:
    """Return the text that each `*` stands for, or `None` if `pattern` does not match `path`.

    From the left, each stands for as little as possible.
    """
    match = _expression(pattern).fullmatch(path)
    if match is None:
        return None
    return match.groups()


def fill_template(template: str, texts: Sequence[str], path: str, what: str) -> str:
    """Return the name for a path that a pattern matches.

    Args:
        template: The name, with `{0}` for the text that the first `*` stands for.
        texts: The texts that each `*` stands for.
        path: The path.
        what: What `names` must have, in words.

    Raises:
        ValueError: If there is no such text.
    """
    try:
        return template.format(*texts)
    except (IndexError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(
            f"`names` must {what}, with `{{0}}` for the text that the first `*` of the pattern "
            f"matches. Received: {template!r} for {path!r}: {error}"
        ) from None


def matches_path(pattern: str, path: str) -> bool:
    """Return whether `pattern` matches `path`."""
    return captured_texts(pattern, path) is not None


def match_pattern(pattern: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return those of `names` that `pattern` matches, each with the texts that each `*` stands for.

    They are all names of one thing, such as a path in two forms or those of layers around each
    other, or the paths of all weights.
    """
    found = {}
    for name in names:
        texts = captured_texts(pattern, name)
        if texts is not None:
            found[name] = texts
    return found


@functools.lru_cache
def _expression(pattern: str) -> re.Pattern[str]:
    first, *others = [re.escape(part).replace(r"\?", ".") for part in pattern.split("*")]
    if not others:
        return re.compile(first, re.DOTALL)
    *inner, last = others
    # No star is tried with more than the least: what follows would not match any better.
    before = "".join(f"(?>(.*?){part})" for part in inner)
    return re.compile(f"{first}{before}(.*){last}", re.DOTALL)
