"""The result of `audit`."""

import html
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from keras_initx.rendering import (
    BLUE,
    RED,
    Column,
    Points,
    WeightTable,
    filled,
    plot_in_order,
    short_number,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AuditReport", "WeightAudit"]


@dataclass(frozen=True)
class WeightAudit:
    """The audit of one weight.

    Attributes:
        path: Its path in the model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        initializer: The initializer that it should come from, as text, or `None` if it was not
            compared.
        expected_std: The standard deviation that it should have, or `None` if it is not known.
        std: The standard deviation that it has, or `None` if it was not read.
        ratio: `std / expected_std`, or `None`.
        verdict: What is wrong, e.g. `"scale"`; empty if it is as it should be.
        evidence: The numbers.
        cause: What explains them, if a single cause does, otherwise empty.
        reason: Why it was not compared, otherwise empty.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    initializer: str | None
    expected_std: float | None = None
    std: float | None = None
    ratio: float | None = None
    verdict: str = ""
    evidence: str = ""
    cause: str = ""
    reason: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class AuditReport(WeightTable[WeightAudit]):
    """The result of `audit`, shown as a table of what is off, the worst first.

    Attributes:
        weights: A `WeightAudit` for each weight, in the order of the layers or of the file.
        source: Who says how the weights should be, e.g. `"the rules say"`.
        looks_trained: Whether most weights differ as after training.
    """

    weights: list[WeightAudit]
    source: str
    looks_trained: bool = False

    @property
    def off(self) -> list[WeightAudit]:
        """The weights that are not as they should be."""
        return [weight for weight in self.weights if weight.verdict]

    @property
    def not_compared(self) -> list[WeightAudit]:
        """The weights of which it is not known how they should be."""
        return [weight for weight in self.weights if weight.initializer is None or weight.reason]

    @property
    def ok(self) -> bool:
        """Whether all weights that were compared are as they should be."""
        return not self.off

    @property
    def exit_code(self) -> int:
        """0 if all weights that were compared are as they should be, otherwise 1."""
        return 0 if self.ok else 1

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        return self._summary()

    def _figure(self) -> "Figure":
        """Return the standard deviations found over those expected, in the order of the layers."""
        as_expected: dict[int, float] = {}
        off: dict[int, float] = {}
        shown = [weight for weight in self.weights if weight.ratio is not None]
        for place, weight in enumerate(shown):
            points = off if weight.verdict else as_expected
            points[place] = weight.ratio or 0.0
        groups = {"as expected": Points(as_expected, BLUE), "off": Points(off, RED)}
        names = [weight.path for weight in shown]
        return plot_in_order(names, {"std / expected std": groups}, of="weight")

    def _records(self) -> list[dict[str, Any]]:
        return [asdict(weight) for weight in self.weights]

    def _rows(self) -> list[WeightAudit]:
        """Return what there is to say something about, the worst first."""
        left = [weight for weight in self.not_compared if not weight.verdict]
        return [*sorted(self.off, key=_rank), *left]

    def __str__(self) -> str:
        if not self._rows():
            return self.summary
        return super().__str__()

    def _repr_html_(self) -> str:
        if not self._rows():
            return f"<p>{html.escape(self.summary)}</p>"
        return super()._repr_html_()

    def _columns(self) -> list[Column[WeightAudit]]:
        columns: list[Column[WeightAudit]] = [
            Column("weight", lambda row: row.path, is_text=True),
            Column("shape", lambda row: row.shape),
            Column(
                "expected",
                lambda row: f"({row.reason})" if row.reason else row.initializer or "",
                is_text=True,
                max_width=34,
            ),
            Column("std expected", lambda row: _number(row.expected_std)),
            Column("std", lambda row: _number(row.std)),
            Column("ratio", lambda row: _number(row.ratio)),
            Column("verdict", lambda row: row.verdict, is_text=True),
            Column("cause", lambda row: row.cause or row.evidence, is_text=True, max_width=44),
        ]
        return filled(columns, self._rows())

    def _summary(self) -> str:
        off = len(self.off)
        total = len(self.weights)
        if off:
            verb = "is" if off == 1 else "are"
            text = f"{off} of {total} weights {verb} not as {self.source}"
        else:
            text = f"{total - len(self.not_compared)} of {total} weights are as {self.source}"
        left = len(self.not_compared)
        if left:
            text += f", {left} not compared"
        if self.looks_trained:
            text += "; the model looks trained"
        return f"{text}."


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return short_number(value)


def _rank(weight: WeightAudit) -> tuple[bool, float]:
    """Return the place in the table: what is not a matter of scale, then the largest ratio."""
    if weight.verdict != "scale" or not weight.ratio:
        return False, 0.0
    return True, -max(weight.ratio, 1 / weight.ratio)
