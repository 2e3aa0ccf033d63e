"""What a problem is, and how serious."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from keras_initx.diagnostics._types import Level

# What a verdict means for training, the most serious first.
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Verdict:
    """Something that was found.

    Attributes:
        problem: What it is: `"vanishing"`.
        layers: Names of the layers that have it.
        evidence: What has been measured.
        remedy: What to use instead.
        level: What it means for training. `"error"`: part of the model does not learn, or numbers overflow.
            `"warning"`: it learns slowly, from fewer units, or not as meant. `"note"`: nothing, or what is meant.
    """

    problem: str
    layers: tuple[str, ...]
    evidence: str
    remedy: str
    level: Level = "warning"


def named_in(verdicts: Iterable[Verdict]) -> set[str]:
    """Return the names of the layers that any of `verdicts` names."""
    return {name for verdict in verdicts for name in verdict.layers}
