"""Verdicts, and the rules that find them: causes come before effects, and hide them.

A rule yields *findings* for the layers that it may report. A finding with the name of the problem
is a *verdict*, which users see. A *cause* of a rule is another problem, for example `"dead units"`,
or a problem of at least some level, for example `"no gradient:error"`.
"""

import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, get_args

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

# Errors of the data and the loss. A loss that misreads its inputs says nothing on weights.
_MISREADINGS = (
    "single class:error",
    "no probabilities:error",
    "unsuitable labels:error",
    "unreachable targets:error",
    "equal inputs:error",
)

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Verdict:
    """One problem in a report. You can print it.

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
        path: The path of the first of the affected layers, which is the path of a row of the
            report; empty if the whole model is affected.

    See Also:
        `DiagnosisReport.verdicts`.
    """

    problem: str
    layers: tuple[str, ...]
    evidence: str
    remedy: Remedy
    level: Level = "warning"
    path: str = ""

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
    """A `Verdict` without the name of the problem, which the rule has.

    Attributes:
        layers: The affected layers. The `Verdict` has their names.
        evidence: See `Verdict`.
        remedy: See `Verdict`.
        level: See `Verdict`.
        reads_loss: See `Rule`, for a finding of a rule that does not always read the loss.
    """

    layers: Sequence[MeasuredLayer]
    evidence: str
    remedy: Remedy
    level: Level = "warning"
    reads_loss: bool = False


# A function of a diagnosis, and of the layers that it may report.
_Check: TypeAlias = Callable[[Diagnosis, list[MeasuredLayer]], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A function that finds one problem.

    Each cause is the name of another problem, whose rule comes before: `"dead units"`. It counts if
    it is a warning or an error. A level after a colon is the lowest that counts: `"no
    gradient:error"`.

    Attributes:
        problem: Name of the problem.
        unless: Causes that hide the problem.
        beside: Causes that hide the problem for the layers that they affect.
        until: Causes that hide the problem from the first layer on that they affect.
        reads_loss: Whether it reads the loss or its gradients, so that errors of the data and the
            loss hide the problem.
        probes: The probes of its own file that it reads.
        hides_all: Whether its problem hides all later problems.
        check: The function. The sections `Reported if`, `Level`, `Why`, `Typical causes` and `Fix`
            of its docstring are Markdown for the documentation. The name of a threshold is replaced
            by its number there: `{DEAD:g}`.
    """

    problem: str
    unless: Sequence[str]
    beside: Sequence[str]
    until: Sequence[str]
    reads_loss: bool
    probes: Sequence[type[Probe]]
    hides_all: bool
    check: _Check

    @property
    def causes(self) -> set[str]:
        """The names of the problems that hide it."""
        causes = [*self.unless, *self.beside, *self.until]
        if self.reads_loss:
            causes += _MISREADINGS
        return {cause.partition(":")[0] for cause in causes}


def rule(
    problem: str,
    *,
    unless: Sequence[str] = (),
    beside: Sequence[str] = (),
    until: Sequence[str] = (),
    reads_loss: bool = False,
    probes: Sequence[type[Probe]] = (),
    hides_all: bool = False,
) -> Callable[[_Check], Rule]:
    """Return a decorator that turns a function into a `Rule` with these attributes."""

    def make_rule(check: _Check) -> Rule:
        return Rule(
            problem=problem,
            unless=unless,
            beside=beside,
            until=until,
            reads_loss=reads_loss,
            probes=probes,
            hides_all=hides_all,
            check=check,
        )

    return make_rule


def evaluate(diagnosis: Diagnosis, rules: Iterable[Rule]) -> list[Verdict]:
    """Ask one rule after the other, and return their verdicts, notes last."""
    findings_by_problem: dict[str, list[Finding]] = {}
    verdicts = []
    for rule in rules:
        is_misread = any(_select_serious(findings_by_problem, cause) for cause in _MISREADINGS)
        if rule.reads_loss and is_misread:
            continue
        if any(_select_serious(findings_by_problem, cause) for cause in rule.unless):
            continue
        layers = _select_layers(rule, findings_by_problem, measured_layers(diagnosis))
        findings = []
        for finding in rule.check(diagnosis, layers):
            if not (finding.reads_loss and is_misread):
                findings.append(finding)
        findings_by_problem[rule.problem] = findings
        for finding in findings:
            names = tuple(dict.fromkeys(layer.name for layer in finding.layers))
            remedy = spare_frozen_weights(finding.remedy, diagnosis)
            path = finding.layers[0].path if finding.layers else ""
            verdicts.append(
                Verdict(rule.problem, names, finding.evidence, remedy, finding.level, path)
            )
        if rule.hides_all and _select_serious(findings_by_problem, rule.problem):
            break
    # The sort is stable: otherwise the order stays.
    return sorted(verdicts, key=lambda verdict: verdict.level == "note")


def _select_serious(
    findings_by_problem: Mapping[str, Sequence[Finding]], cause: str
) -> list[Finding]:
    # The findings of a cause with its least level, or with a more serious one.
    problem, _, least = cause.partition(":")
    serious = LEVELS[: LEVELS.index(least or "warning") + 1]
    findings = findings_by_problem.get(problem, ())
    return [finding for finding in findings if finding.level in serious]


def _select_layers(
    rule: Rule,
    findings_by_problem: Mapping[str, Sequence[Finding]],
    layers: Sequence[MeasuredLayer],
) -> list[MeasuredLayer]:
    """Return the layers that a rule may report, because no cause hides it for them."""

    def list_affected(causes: Sequence[str]) -> list[MeasuredLayer]:
        affected: list[MeasuredLayer] = []
        for cause in causes:
            for finding in _select_serious(findings_by_problem, cause):
                affected += finding.layers
        return affected

    stops = list_affected(rule.until)
    before_stops = itertools.takewhile(lambda layer: layer not in stops, layers)
    hidden = list_affected(rule.beside)
    return [layer for layer in before_stops if layer not in hidden]


# ---------------------------------------------------------------- what several rules use


# Standard deviation above which a signal has exploded.
EXPLODING = 1e3
# Size of a weight above which no initializer and no training gives it.
HUGE = 1e10
# Training first has to undo the initial weights if the loss of an output is above this many times
# the loss of a blind guess, or above this number if a guess costs less than 1.
FIRST_LOSS = 8


def group_by_level(
    items: Iterable[_Item], level: Level, does_harm: Callable[[_Item], object]
) -> list[tuple[Level, list[_Item]]]:
    """Return the harmful items with `level`, then the others with the level of a note.

    No group is empty.
    """
    harmful: list[_Item] = []
    harmless: list[_Item] = []
    for item in items:
        if does_harm(item):
            harmful.append(item)
        else:
            harmless.append(item)
    groups: list[tuple[Level, list[_Item]]] = []
    if harmful:
        groups.append((level, harmful))
    if harmless:
        groups.append(("note", harmless))
    return groups


def exceeds(value: float | None, limit: float) -> bool:
    """Return whether a value was measured and is above `limit`."""
    return value is not None and bool(value > limit)


def list_titles(layers: Iterable[MeasuredLayer]) -> tuple[str, ...]:
    """Return the titles of layers, without repeats."""
    return tuple(dict.fromkeys(layer.title for layer in layers))


def write_count(layers: Sequence[object]) -> str:
    """Write the number of layers in parentheses: `" (3 layers)"`. One is an empty text."""
    if len(layers) < 2:
        return ""
    return f" ({len(layers)} layers)"


def describe_normalization(layer: MeasuredLayer) -> str:
    """Write which normalization makes the output scale of `layer` harmless."""
    return f"; {layer.normalized_by} directly after {layer.title} normalizes this scale"


def summarize_paths(weights: Sequence[MeasuredWeight], between: str = ", ") -> str:
    """Return the paths of the first few weights."""
    return summarize_names([weight.own.shown for weight in weights], between)


def write_rest(weights: Sequence[MeasuredWeight]) -> str:
    """Write the number of weights after the first: `" (and 2 more weights)"`."""
    if len(weights) < 2:
        return ""
    return f" (and {len(weights) - 1} more weights)"
