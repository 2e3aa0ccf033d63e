"""What a rule is: a function that finds one problem, with what the documentation says of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics._types import Level
from keras_initx.diagnostics._verdicts import Verdict


@dataclass(frozen=True)
class Finding:
    """A `Verdict` without the name of the problem, which the rule has.

    Attributes:
        layers: See `Verdict`.
        evidence: See `Verdict`.
        remedy: See `Verdict`.
        level: See `Verdict`; `None` for the first of the rule's levels.
    """

    layers: tuple[str, ...]
    evidence: str
    remedy: str
    level: Level | None = None


_Check = Callable[[Measurements], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A function that finds one problem. All else is for the documentation, in Markdown.

    Attributes:
        problem: Name of the problem.
        levels: Dict from each level that it may have to when it has it, `""` for whenever no other applies.
        finds: What is named. `{vanishing}` stands for the threshold of this name and its default.
        reason: Why there.
        remedy: What helps.
        level_reason: Why these levels.
        check: The function: of measurements, gives a `Finding` for each level.
    """

    problem: str
    levels: Mapping[Level, str]
    finds: str
    reason: str
    remedy: str
    level_reason: str
    check: _Check

    def verdicts(self, measured: Measurements) -> Iterator[Verdict]:
        """Give the verdicts on what has been measured."""
        first, *_ = self.levels
        for found in self.check(measured):
            yield Verdict(self.problem, found.layers, found.evidence, found.remedy, found.level or first)


def rule(
    problem: str, *, levels: Mapping[Level, str], finds: str, reason: str, remedy: str, level_reason: str
) -> Callable[[_Check], Rule]:
    """Make a function a rule. The arguments are the attributes of `Rule`."""
    return lambda check: Rule(problem, levels, finds, reason, remedy, level_reason, check)
