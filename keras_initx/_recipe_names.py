"""The recipes by their names, for the rooms below theirs, which do not import it."""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

# `recipes/` adds its functions when it is imported.
RECIPES: dict[str, Callable[..., Any]] = {}
# Imports this room. The package sets it, above all rooms.
import_room: Callable[[], object] | None = None


class NotedRules(dict[Any, Any]):
    """Rules, and what the plan is to say of where they come from.

    Attributes:
        notes: Lines of text.
        left: Paths of trained weights for which there is no rule, because it is not known what
            they are for.
    """

    def __init__(
        self, rules: Mapping[Any, Any], notes: tuple[str, ...], left: tuple[str, ...] = ()
    ) -> None:
        super().__init__(rules)
        self.notes = notes
        self.left = left


def recipe_of(text: str) -> Callable[..., Any] | None:
    """Return the recipe of a name, or of a name and a source joined by a colon.

    It is `None` if no recipe has this name.

    Raises:
        ValueError: If there is a source, and the recipe takes none.
    """
    name, _, source = text.partition(":")
    recipe = _recipes().get(name)
    if recipe is None or not source:
        return recipe
    if "source" not in inspect.signature(recipe).parameters:
        raise ValueError(
            f"`source` is for recipes with several, and {name!r} has one. Received: {text!r}"
        )
    return functools.partial(recipe, source=source)


def recipes_like(text: str) -> list[str]:
    """Return the names of the recipes that are like a word; none for the path of a file."""
    name, _, _ = text.partition(":")
    if not name.isidentifier():
        return []
    return difflib.get_close_matches(name.lower(), _recipes())


def _recipes() -> dict[str, Callable[..., Any]]:
    if import_room is not None:
        import_room()
    return RECIPES
