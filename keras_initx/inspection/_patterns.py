"""Match the patterns by which rules choose weights, in the same language for all rules.

`*` matches any text, even with `/`, and `?` matches one character. All other characters match
themselves. Brackets do too, because the name of a layer may have them. A pattern matches a whole
path. The texts that the stars match may be filled into a template:

    "block_*/*" matches "block_3/mlp/kernel": ("3", "mlp/kernel");   "h.{0}.{1}" -> "h.3.mlp/kernel"
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from keras_initx._checks import suggest_paths
from keras_initx._received import show

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
    """Find the first condition that matches each item, by path; other items are left out.

    Args:
        argument: Name of the argument that holds the conditions, in error messages.
        conditions: Patterns, or other objects that `match` takes, in the order of the argument.
        items: The items to match, by path.
        match: Function that returns the match of a condition with an item, false if there is none.
        kind: The kind of the items in error messages.
        hint: Returns the end of the message about a condition, by default similar paths.

    Returns:
        Dict from the paths of items to the condition and the result of `match`.

    Raises:
        ValueError: If a condition matches no item.
    """
    matches: dict[str, tuple[Condition, Match]] = {}
    for condition in conditions:
        is_used = False
        for path, item in items.items():
            matched = match(condition, item)
            if matched:
                is_used = True
                matches.setdefault(path, (condition, matched))
        if not is_used:
            suggestion = hint(condition) if hint else suggest_paths(str(condition), list(items))
            raise ValueError(
                f"Each of `{argument}` must match {kind}. "
                f"Received: {show(condition)}, which matches none{suggestion}"
            )
    return matches


def captured_texts(pattern: str, path: str) -> tuple[str, ...] | None:
    """Return the texts that each `*` matches, or `None` if `pattern` does not match `path`.

    From the left, each `*` matches as little as possible.
    """
    match = _compile(pattern).fullmatch(path)
    if match is None:
        return None
    return match.groups()


def fill_template(template: str, texts: Sequence[str], path: str, requirement: str) -> str:
    """Fill the texts that a pattern matches into a template of a name.

    Args:
        template: The name, with `{0}` for the text that the first `*` matches.
        texts: The texts that each `*` matches.
        path: The path.
        requirement: The requirement on `names`, in words.

    Raises:
        ValueError: If there is no such text.
    """
    try:
        return template.format(*texts)
    except (IndexError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(
            f"`names` must {requirement}, with `{{0}}` for the text that the first `*` of the "
            f"pattern matches. Received: {show(template)} for {show(path)}: {error}"
        ) from None


def matches_path(pattern: str, path: str) -> bool:
    return captured_texts(pattern, path) is not None


def match_pattern(pattern: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the names that `pattern` matches, each with the texts that each `*` matches.

    The names may be all those of one weight, such as a path in two forms, or the paths of all
    weights.
    """
    texts_by_name = {}
    for name in names:
        texts = captured_texts(pattern, name)
        if texts is not None:
            texts_by_name[name] = texts
    return texts_by_name


@functools.lru_cache
def _compile(pattern: str) -> re.Pattern[str]:
    first, *others = [re.escape(piece).replace(r"\?", ".") for piece in pattern.split("*")]
    if not others:
        return re.compile(first, re.DOTALL)
    *inner, last = others
    # No star is tried with more than the least: what follows would not match any better.
    inner_expression = "".join(f"(?>(.*?){piece})" for piece in inner)
    return re.compile(f"{first}{inner_expression}(.*){last}", re.DOTALL)
