"""The problems in a report, and their levels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from keras_initx.diagnostics._types import Level

# The most serious level first.
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Verdict:
    """A problem in a report.

    Attributes:
        problem: Name of the problem, e.g. `"vanishing"`.
        layers: Names of the affected layers.
        evidence: The measurements that show it.
        remedy: What to use instead.
        level: Its effect on training. `"error"`: part of the model does not learn, or numbers
            overflow. `"warning"`: the model learns slowly, with fewer units, or not as intended.
            `"note"`: harmless, or usually intended.
    """

    problem: str
    layers: tuple[str, ...]
    evidence: str
    remedy: str
    level: Level = "warning"


def named_in(verdicts: Iterable[Verdict]) -> set[str]:
    """Return the names of all layers in `verdicts`."""
    return {name for verdict in verdicts for name in verdict.layers}
