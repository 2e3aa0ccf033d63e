"""What a verdict is, and the decorator for rules: functions that find one problem."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.rendering import line_width

__all__ = ["Verdict"]

Level: TypeAlias = Literal["error", "warning", "note"]
# The most serious level first.
LEVELS: tuple[Level, ...] = get_args(Level)

_Hit = TypeVar("_Hit")


@dataclass(frozen=True)
class Verdict:
    """A problem in a report, which prints as it does there.

    Attributes:
        problem: Name of the problem, e.g. `"vanishing"`.
        layers: Names of the affected layers.
        evidence: The measurements that show it.
        remedy: The `Remedy`: what to use instead.
        level: Its effect on training. `"error"`: part of the model does not learn, or numbers
            overflow. `"warning"`: the model learns slowly, with fewer units, or not as intended.
            `"note"`: harmless, or usually intended.
    """

    problem: str
    layers: tuple[str, ...]
    evidence: str
    remedy: Remedy
    level: Level = "warning"

    def paragraphs(self) -> list[tuple[str, str]]:
        """Return the evidence and the remedy as sentences, each with its title."""
        return [
            (f"{self.problem} ({self.level})", f"{self.evidence}."),
            ("Remedy", f"{self.remedy}."),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as strings and a tuple of strings."""
        return {**vars(self), "remedy": str(self.remedy)}

    def __str__(self) -> str:
        width = line_width()
        lines = []
        for title, text in self.paragraphs():
            lines += textwrap.wrap(
                f"{title}: {text}", width, subsequent_indent="  ", break_on_hyphens=False
            )
        return "\n".join(lines)


# Minimum number of values for a signal to be evaluated, and of examples for units to count as dead.
LEAST_VALUES = 16
# Standard deviation above which a signal has exploded.
EXPLODING = 1e3


@dataclass(frozen=True)
class Finding:
    """A `Verdict` without the name of the problem, which is that of the rule.

    Attributes:
        layers: The affected layers, whose names are those of the `Verdict`.
        evidence: See `Verdict`.
        remedy: See `Verdict`.
        level: See `Verdict`.
    """

    layers: Sequence[LayerReport]
    evidence: str
    remedy: Remedy
    level: Level = "warning"


_Check = Callable[[Measurements], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A function that finds one problem.

    The other attributes are Markdown texts for the documentation.

    Attributes:
        problem: Name of the problem.
        levels: Dict from each possible level to its condition; `""` means whenever no other
            applies.
        finds: What the rule reports.
        reason: Why this is a problem, at this threshold and of these levels.
        remedy: How to fix it.
        check: The function, which takes measurements and yields a `Finding` for each level.
    """

    problem: str
    levels: Mapping[Level, str]
    finds: str
    reason: str
    remedy: str
    check: _Check

    def verdicts(self, measured: Measurements) -> Iterator[Verdict]:
        """Yield the verdicts on the measurements."""
        for found in self.check(measured):
            names = names_of(found.layers)
            yield Verdict(self.problem, names, found.evidence, found.remedy, found.level)


def rule(
    problem: str, *, levels: Mapping[Level, str], finds: str, reason: str, remedy: str
) -> Callable[[_Check], Rule]:
    """Turn a function into a rule. Arguments are the attributes of `Rule`."""

    def decorate(check: _Check) -> Rule:
        return Rule(problem, levels, finds, reason, remedy, check)

    return decorate


def by_level(
    hit: Iterable[_Hit], level: Level, does_harm: Callable[[_Hit], object]
) -> list[tuple[Level, list[_Hit]]]:
    """Return what does harm with its `level`, then the others with that of a note.

    There is no group without members.
    """
    harmful: list[_Hit] = []
    harmless: list[_Hit] = []
    for one in hit:
        if does_harm(one):
            harmful.append(one)
        else:
            harmless.append(one)
    groups: list[tuple[Level, list[_Hit]]] = []
    if harmful:
        groups.append((level, harmful))
    if harmless:
        groups.append(("note", harmless))
    return groups


def exceeds(value: float | None, limit: float) -> bool:
    """Return whether a measurement was made and is above `limit`."""
    return value is not None and bool(value > limit)


def has_enough_values(layer: LayerReport) -> bool:
    """Return whether the signal of `layer` has enough values to say something of it."""
    return bool(layer.signal.size >= LEAST_VALUES)


def names_of(layers: Iterable[LayerReport]) -> tuple[str, ...]:
    """Return the names of layers, without repeats."""
    return tuple(dict.fromkeys(layer.name for layer in layers))


def layer_count(layers: Sequence[LayerReport]) -> str:
    """Return the number of layers in parentheses if there are several."""
    if len(layers) < 2:
        return ""
    return f" ({len(layers)} layers)"


def listed(names: Sequence[str], between: str = ", ", shown: int = 4) -> str:
    """Return the first names, and the number of the others."""
    text = between.join(names[:shown])
    if len(names) > shown:
        text += f" and {len(names) - shown} more"
    return text


def normalization_of(layer: LayerReport) -> str:
    """Return a phrase with the normalization that makes the output scale of `layer` harmless."""
    return f"; {layer.flow.normalized_by} directly after {layer.name} normalizes this scale"
