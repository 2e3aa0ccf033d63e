"""The rules that a recipe returns: a dict by patterns, with what was found in the model."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from keras_initx._typing import InitializerLike
from keras_initx.structure._patterns import matches_path, matching_paths

# Maps patterns to initializers.
RecipeRules: TypeAlias = dict[str, InitializerLike | None]
# Why a weight keeps its values under a recipe, and is not compared by an audit.
NOT_KNOWN = "the recipe does not know what it is for"


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

    findings: Findings = Findings()

    def __hash__(self) -> int:
        return object.__hash__(self)


class NotedRules(dict[Any, Any]):
    """Rules, and what was found when they were made. Patterns are found by their texts."""

    def __init__(
        self, rules: Mapping[Any, Any], notes: tuple[str, ...], left: tuple[str, ...] = ()
    ) -> None:
        self.findings: Findings = Findings(notes, left)
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


def shortened(values: RecipeRules, paths: Mapping[str, bool]) -> RecipeRules:
    """Return rules for these values by path, with a pattern where one is exact.

    Special rules come first: a pattern that ends with the names of the weight and of its layer, or
    otherwise a path. Then comes, for each name, what most weights of this name get that have no
    role of their own.

    Args:
        values: Initializers by path.
        paths: The paths of all weights, and whether each has a role of its own in the table.
    """
    texts = {path: repr(value) for path, value in values.items()}
    usual: dict[str, str] = {}
    for name in ("kernel", "bias", "embeddings"):
        for pattern in (f"*{name}", f"*/{name}"):
            matching = matching_paths(pattern, paths)
            if matching and texts.keys() >= set(matching):
                plain = [path for path in matching if not paths[path]] or matching
                ((text, _),) = Counter(texts[path] for path in plain).most_common(1)
                # The whole name, such as `dt_bias`, where all have the same.
                whole = {path.rpartition("/")[2] for path in matching}
                if len(whole) == 1:
                    pattern = pattern.removesuffix(name) + whole.pop()
                usual[pattern] = text
                break
    special: RecipeRules = {}
    last: RecipeRules = {}
    for path, value in values.items():
        text = texts[path]
        name = next((one for one in usual if matches_path(one, path)), "")
        if name and usual[name] == text:
            last[name] = value
            continue
        special[_exact_pattern(path, text, texts, paths)] = value
    return special | {ending: last[ending] for ending in usual if ending in last}


def _exact_pattern(path: str, text: str, texts: Mapping[str, str], paths: Collection[str]) -> str:
    """Return a pattern for all weights like that of a path, or the path if none is exact.

    It leaves out the layers around its own, all numbers, or all but the last.
    """
    layer = "*/" + "/".join(path.split("/")[-2:])
    all_numbers = re.sub(r"\d+", "*", path)
    all_but_last = re.sub(r"\d+(?=.*\d)", "*", path)
    for pattern in (layer, all_numbers, all_but_last):
        matched = [other for other in paths if matches_path(pattern, other)]
        if path in matched and len(matched) > 1 and all(texts.get(one) == text for one in matched):
            return pattern
    return path
