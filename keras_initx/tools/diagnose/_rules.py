"""What a verdict is, and the rules: causes come first, and what has a cause says nothing."""

import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from keras_initx._checks import summarize_names
from keras_initx.report._terminal import line_width
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe
from keras_initx.tools.diagnose._frozen import spare_frozen_weights
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    MeasuredWeight,
    measured_layers,
)
from keras_initx.tools.diagnose._remedy import Remedy

Level: TypeAlias = Literal["error", "warning", "note"]
# The most serious level first.
LEVELS: tuple[Level, ...] = get_args(Level)

_Hit = TypeVar("_Hit")


@dataclass(frozen=True)
class Verdict:
    """Names one problem in a report. It prints as in the report.

    Attributes:
        problem: Name of the problem, e.g. `"vanishing"`.
        layers: Names of the affected layers, as Keras has them. `model.get_layer` takes the names
            of layers that are directly in the model.
        evidence: The measurements that show the problem.
        remedy: The `Remedy`, which says how you fix it.
        level: Its effect on training. One of:

            - `"error"`: part of the model does not learn, or numbers overflow.
            - `"warning"`: the model learns slowly, with fewer units, or not as intended.
            - `"note"`: harmless, or usually intended.

    See Also:
        `DiagnosisReport.verdicts`.
    """

    problem: str
    layers: tuple[str, ...]
    evidence: str
    remedy: Remedy
    level: Level = "warning"

    @property
    def path(self) -> str:
        """The first of the affected layers, empty if the whole model is affected."""
        return next(iter(self.layers), "")

    @property
    def text(self) -> str:
        """The text of the report."""
        return str(self)

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


@dataclass(frozen=True)
class Finding:
    """A `Verdict` without the name of the problem, which is that of the rule.

    Attributes:
        layers: The affected layers, whose names are those of the `Verdict`.
        evidence: See `Verdict`.
        remedy: See `Verdict`.
        level: See `Verdict`.
    """

    layers: Sequence[MeasuredLayer]
    evidence: str
    remedy: Remedy
    level: Level = "warning"


@dataclass(frozen=True)
class LayerColumn:
    """One more column of the table.

    Attributes:
        header: Its header.
        note: What it shows, for the legend.
        text: Function of a diagnosis and a layer that returns the text, `None` for an empty one.
    """

    header: str
    note: str
    text: Callable[[Diagnosis, MeasuredLayer], str | None]


# A function of a diagnosis, and of the layers that it may speak of.
_Check: TypeAlias = Callable[[Diagnosis, list[MeasuredLayer]], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A function that finds one problem.

    Each cause is the name of another problem, whose rule comes before: `"dead units"`. It counts
    if it was found as a warning or an error, or from another level on: `"no gradient:error"`.

    Attributes:
        problem: Name of the problem.
        unless: Causes because of which nothing is said.
        beside: Causes because of which nothing is said of the same layers.
        until: Causes because of which nothing is said from the first of their layers on.
        probes: The probes of its own file that it reads.
        columns: What it adds to the table of a report.
        hides_all: Whether nothing else is said once it has found something.
        check: The function. The sections `Reported if`, `Level`, `Why`, `Typical causes` and `Fix`
            of its docstring are Markdown for the documentation. The name of a threshold stands for
            its number there: `{DEAD:g}`.
    """

    problem: str
    unless: Sequence[str]
    beside: Sequence[str]
    until: Sequence[str]
    probes: Sequence[type[Probe]]
    columns: Sequence[LayerColumn]
    hides_all: bool
    check: _Check

    @property
    def causes(self) -> set[str]:
        """The problems that it waits for."""
        named = (*self.unless, *self.beside, *self.until)
        return {cause.partition(":")[0] for cause in named}


def rule(
    problem: str,
    *,
    unless: Sequence[str] = (),
    beside: Sequence[str] = (),
    until: Sequence[str] = (),
    probes: Sequence[type[Probe]] = (),
    columns: Sequence[LayerColumn] = (),
    hides_all: bool = False,
) -> Callable[[_Check], Rule]:
    """Return a decorator that makes a `Rule` of a function. Arguments are its attributes."""

    def make_rule(check: _Check) -> Rule:
        return Rule(
            problem=problem,
            unless=unless,
            beside=beside,
            until=until,
            probes=probes,
            columns=columns,
            hides_all=hides_all,
            check=check,
        )

    return make_rule


def evaluate(diagnosis: Diagnosis, rules: Iterable[Rule]) -> list[Verdict]:
    """Return what rules find, one asked after the other, notes last."""
    found: dict[str, list[Finding]] = {}
    verdicts = []
    for one in rules:
        if any(_findings(found, cause) for cause in one.unless):
            continue
        findings = list(one.check(diagnosis, _layers_for(one, found, measured_layers(diagnosis))))
        found[one.problem] = findings
        for finding in findings:
            names = tuple(dict.fromkeys(layer.name for layer in finding.layers))
            remedy = spare_frozen_weights(finding.remedy, diagnosis)
            verdicts.append(Verdict(one.problem, names, finding.evidence, remedy, finding.level))
        if one.hides_all and _findings(found, one.problem):
            break
    # The sort is stable: otherwise the order stays.
    return sorted(verdicts, key=lambda verdict: verdict.level == "note")


def _findings(found: Mapping[str, Sequence[Finding]], cause: str) -> list[Finding]:
    """Return what was found of a cause, with its least level or a more serious one."""
    problem, _, least = cause.partition(":")
    serious = LEVELS[: LEVELS.index(least or "warning") + 1]
    return [one for one in found.get(problem, ()) if one.level in serious]


def _layers_for(
    rule: Rule, found: Mapping[str, Sequence[Finding]], layers: Sequence[MeasuredLayer]
) -> list[MeasuredLayer]:
    """Return the layers that a rule may speak of."""

    def named_by(causes: Sequence[str]) -> list[MeasuredLayer]:
        named: list[MeasuredLayer] = []
        for cause in causes:
            for finding in _findings(found, cause):
                named += finding.layers
        return named

    first_ones = named_by(rule.until)
    before = itertools.takewhile(lambda layer: layer not in first_ones, layers)
    others = named_by(rule.beside)
    return [layer for layer in before if layer not in others]


# ---------------------------------------------------------------- what several rules say


# Standard deviation above which a signal has exploded.
EXPLODING = 1e3
# Factor between the loss of an output and that of a blind guess, or 1 if that is more, above which
# training first has to undo the initial weights.
FIRST_LOSS = 8


def group_by_level(
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


def list_titles(layers: Iterable[MeasuredLayer]) -> tuple[str, ...]:
    """Return the titles of layers, without repeats."""
    return tuple(dict.fromkeys(layer.title for layer in layers))


def write_count(layers: Sequence[object]) -> str:
    """Return the number of layers in parentheses if there are several."""
    if len(layers) < 2:
        return ""
    return f" ({len(layers)} layers)"


def describe_normalization(layer: MeasuredLayer) -> str:
    """Return a phrase with the normalization that makes the output scale of `layer` harmless."""
    return f"; {layer.normalized_by} directly after {layer.title} normalizes this scale"


def summarize_paths(weights: Sequence[MeasuredWeight], between: str = ", ") -> str:
    """Return the paths of the first few weights."""
    return summarize_names([weight.path for weight in weights], between)


def write_rest(weights: Sequence[MeasuredWeight]) -> str:
    """Return the number of weights after the first in parentheses."""
    if len(weights) < 2:
        return ""
    return f" (and {len(weights) - 1} more weights)"
