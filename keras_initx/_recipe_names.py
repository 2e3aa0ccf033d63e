"""The recipes by their names, and the rules that they return, for the rooms below theirs."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# `recipes/` adds its functions when it is imported.
RECIPES: dict[str, Callable[..., Any]] = {}
# Imports this room. The package sets it, above all rooms.
import_room: Callable[[], object] | None = None
# Why a weight keeps its values under a recipe, and is not compared by an audit.
LEFT = "the recipe does not know what it is for"


@dataclass(frozen=True)
class Findings:
    """What is known of the model that rules were made for.

    Attributes:
        notes: What the plan is to say of where they come from, as lines of text.
        left: Paths of weights of which it is not known what they are for. They keep their values
            where no rule matches them.
    """

    notes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class OwnPattern(str):
    """A pattern of a recipe: equal to its text, and in a dict another key than that.

    So a rule of a user with the same pattern stays in front in `{"*kernel": "zeros", **rules}`,
    where it would get the recipe's value otherwise. For this the hash is not that of the text, and
    a set of texts does not have the pattern. What was found goes with it into other dicts.
    """

    findings = Findings()
    __hash__ = object.__hash__


class NotedRules(dict[Any, Any]):
    """Rules, and what was found when they were made. Patterns are found by their texts."""

    def __init__(
        self, rules: Mapping[Any, Any], notes: tuple[str, ...], left: tuple[str, ...] = ()
    ) -> None:
        self.findings = Findings(notes, left)
        for condition, value in rules.items():
            if isinstance(condition, str):
                condition = OwnPattern(condition)
                condition.findings = self.findings
            self[condition] = value

    @property
    def left(self) -> tuple[str, ...]:
        """Paths of weights of which it is not known what they are for."""
        return self.findings.left

    def __missing__(self, text: Any) -> Any:
        key = self._key(text)
        if key is text:
            raise KeyError(text)
        return self[key]

    def __setitem__(self, text: Any, value: Any) -> None:
        super().__setitem__(self._key(text), value)

    def __delitem__(self, text: Any) -> None:
        super().__delitem__(self._key(text))

    def __contains__(self, text: Any) -> bool:
        return super().__contains__(self._key(text))

    def get(self, text: Any, default: Any = None) -> Any:
        return super().get(self._key(text), default)

    def pop(self, text: Any, *default: Any) -> Any:
        return super().pop(self._key(text), *default)

    def setdefault(self, text: Any, default: Any = None) -> Any:
        return super().setdefault(self._key(text), default)

    def copy(self) -> "NotedRules":
        return NotedRules(self, self.findings.notes, self.left)

    def keys(self) -> Any:
        return _by_text(self).keys()  # for comparisons with sets of texts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and _by_text(self) == _by_text(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def _key(self, text: Any) -> Any:
        """Return the key of this text, first that of a user, or what is given if there is none."""
        if super().__contains__(text):
            return text
        return next((key for key in self if key == text), text)


def _by_text(rules: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return rules with the texts of patterns as keys."""
    return {str(key) if isinstance(key, str) else key: value for key, value in rules.items()}


def findings_in(rules: Mapping[Any, Any] | None) -> Iterator[Findings]:
    """Yield what was found by each recipe of which there are rules."""
    found = [rules.findings] if isinstance(rules, NotedRules) else []
    found += [key.findings for key in rules or () if isinstance(key, OwnPattern)]
    yield from dict.fromkeys(found)


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


def with_roles(recipe: Any, roles: Any) -> Callable[..., Any]:
    """Return a recipe that takes what the user says of weights, see `initialize`.

    Raises:
        ValueError: If there is no recipe.
    """
    plain = recipe
    while isinstance(plain, functools.partial):
        plain = plain.func
    if not any(plain is one for one in RECIPES.values()):
        raise ValueError(
            "`roles` must be `None` without a recipe of this package, by itself or by its name. "
            f"Received: {roles=!r} with {recipe!r}"
        )
    return functools.partial(recipe, roles=roles)


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
