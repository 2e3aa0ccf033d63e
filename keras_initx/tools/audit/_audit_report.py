"""The result of `audit`: a row for each weight, and a table of groups with problems."""

import html
import itertools
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_initx._checks import summarize_names, truncate
from keras_initx._signatures import shorten_signature
from keras_initx._similar_paths import group_similar, merge_paths
from keras_initx.recipes._weight_rules import NOT_KNOWN
from keras_initx.report._figures import BLUE, RED
from keras_initx.report._order import Points, plot_in_order
from keras_initx.report._results import Judgement, Tabular
from keras_initx.report._table import Column
from keras_initx.report._terminal import line_width
from keras_initx.report._text import choose_verb, format_count, format_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A resolution: by chance, the scales of small weights differ by this factor. Ratios of weights with
# one cause are one row up to it, and weights that would not show it are counted.
_COARSE = 1.2
# Patterns that are named in one row, so that it stays short.
_MOST_PATTERNS = 4


# The statuses of weights without a problem.
AS_EXPECTED = "as expected"
NOT_COMPARED = "not compared"


@shorten_signature
@dataclass(frozen=True)
class WeightAudit:
    """The audit of one weight.

    Attributes:
        path: Its path in your model, or the name of the array.
        status: `"as expected"`, `"not compared"`, or the problem, which the page "Audit weights"
            explains: `"new"`, `"missing"`, `"not finite"`, `"reshaped"`, `"constant"`, `"values"`,
            `"equal weights"`, `"connections"`, `"zeros"`, `"equal slices"`, `"copies"`,
            `"orthonormality"`, `"scale"`, `"parts"`, `"bounds"`, `"mean"`, `"shape"`,
            `"outliers"`, `"precision"`, `"dtype"` or `"bits"`.
        detail: The problem in words, with its numbers, or why the weight was not compared. It may
            be empty.
        cause: The cause of the problem, if a single cause explains it, otherwise empty.
        shape: Its shape.
        dtype: The name of its dtype.
        initializer: The initializer that it should come from, as text, or `None` if it was not
            compared.
        expected_std: The expected standard deviation, or `None` if it is not known.
        std: The actual standard deviation, or `None` if it was not read.
        ratio: `std / expected_std`, or `None`.
        resolution: The smallest factor of its scale that the audit would report in 95 of 100 cases,
            if it was compared with a contract or other weights.
        is_unchanged: Whether all values are equal to the expected values bit for bit, or `None` if
            these are not known.
        rows_unchanged: For a changed weight with two axes or more and a plan or a seed: the number
            of slices along the first axis that are equal bit for bit.
    """

    path: str
    status: str
    detail: str
    cause: str
    shape: tuple[int, ...]
    dtype: str
    initializer: str | None
    expected_std: float | None = None
    std: float | None = None
    ratio: float | None = None
    resolution: float | None = None
    is_unchanged: bool | None = None
    rows_unchanged: int | None = None

    @property
    def is_problem(self) -> bool:
        """Whether it is not as expected."""
        return self.status not in (AS_EXPECTED, NOT_COMPARED)

    @property
    def evidence(self) -> dict[str, float]:
        """The numbers that are known of its scale, by their names."""
        numbers = {"expected_std": self.expected_std, "std": self.std, "ratio": self.ratio}
        return {name: number for name, number in numbers.items() if number is not None}

    @property
    def text(self) -> str:
        """The outcome in words, with the numbers and the cause."""
        parts = [f"{self.path}: {self.status}", self.detail, self.cause]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Group:
    """Weights that differ in the same way.

    Attributes:
        names: Their names. `*` stands in place of a number if only this number differs.
        weights: The weights, the worst first.
    """

    names: Sequence[str]
    weights: Sequence[WeightAudit]

    @property
    def worst(self) -> WeightAudit:
        """The weight that differs most."""
        return self.weights[0]

    @property
    def names_text(self) -> str:
        """The names, one a line, with the number of those left out."""
        if len(self.names) <= _MOST_PATTERNS:
            return "\n".join(self.names)
        first = self.names[: _MOST_PATTERNS - 1]
        return "\n".join([*first, f"and {len(self.names) - len(first)} more"])


def group_rows(weights: Iterable[WeightAudit]) -> list[Group]:
    """Group weights that differ in the same way, the worst group first.

    Weights whose names differ in numbers only are a group if their status and its cause are equal.
    Groups with one cause, one initializer and nearly one ratio are merged. The names of a group are
    in the order of the weights, because chance decides which of them is the worst.
    """
    by_name = group_similar(
        weights,
        lambda weight: weight.path,
        lambda weight: (weight.status, weight.cause, _why_not_compared(weight)),
    )
    groups_by_cause: dict[tuple[str | None, ...], list[Group]] = {}
    for similar in by_name:
        pattern = merge_paths([weight.path for weight in similar])
        group = Group([pattern], sorted(similar, key=_rank_severity))
        worst = group.worst
        cause: tuple[str | None, ...]
        if worst.status == NOT_COMPARED:
            cause = (worst.status, worst.detail)
        elif worst.cause:
            cause = (worst.status, worst.cause, worst.initializer)
        else:
            cause = (worst.status, "", *group.names)
        groups_by_cause[cause] = _merge_if_similar(groups_by_cause.get(cause, []), group)
    groups = itertools.chain.from_iterable(groups_by_cause.values())
    return sorted(groups, key=lambda group: _rank_severity(group.worst))


def _why_not_compared(weight: WeightAudit) -> str:
    return weight.detail if weight.status == NOT_COMPARED else ""


def _merge_if_similar(groups: Sequence[Group], group: Group) -> list[Group]:
    """Merge a group into the first with nearly its ratio, or add it to the groups of its cause."""
    for index, other in enumerate(groups):
        weights = sorted([*other.weights, *group.weights], key=_rank_severity)
        ratios = [weight.ratio for weight in weights if weight.ratio]
        if not ratios or max(ratios) <= _COARSE * min(ratios):
            merged = Group([*other.names, *group.names], weights)
            return [*groups[:index], merged, *groups[index + 1 :]]
    return [*groups, group]


def _rank_severity(weight: WeightAudit) -> tuple[int, float]:
    # In the table, weights whose scale is right come first, then the largest ratios, and last what
    # was not compared.
    if not weight.is_problem:
        return 2, 0.0
    if weight.status != "scale" or not weight.ratio:
        return 0, 0.0
    # Chance does not order 2 times and half.
    return 1, -round(abs(math.log(weight.ratio)), 1)


# The source of a report without rules.
LAYERS_SAY = "their layers say"


@dataclass(frozen=True, eq=False, repr=False)
class AuditReport(Tabular[Group], Judgement):
    """The result of `audit`, shown as a table of problems, the worst first.

    One row has all weights that differ in the same way, with their number and the common part of
    their names. CSV and JSON have a row for each weight.

    Attributes:
        rows: A `WeightAudit` for each weight, in the order of the layers or of the file.
        source: The source of the expected weights, e.g. `"the rules say"` or `"in the contract"`.
        notes: Lines of text: the layers of your model that are not built, and the fans that rules
            guess from the shape.
        has_other_weights: Whether the weights were compared with others, by `like`. Then weights
            with other bits may be as expected, and the summary always counts the equal ones.
    """

    rows: list[WeightAudit]
    source: str
    notes: Sequence[str] = ()
    has_other_weights: bool = False

    @property
    def problems(self) -> list[WeightAudit]:
        """The rows of the weights that are not as expected."""
        return [weight for weight in self.rows if weight.is_problem]

    @property
    def _unknown_to_recipe(self) -> list[str]:
        """The paths of weights that a recipe leaves out, because it does not recognize them."""
        return [weight.path for weight in self.rows if weight.detail == NOT_KNOWN]

    @property
    def not_compared(self) -> list[WeightAudit]:
        """The weights that were not compared, because their expected values are not known."""
        return [weight for weight in self.rows if weight.status == NOT_COMPARED]

    @property
    def unchanged(self) -> list[str]:
        """The paths of the weights that are equal to the expected weights bit for bit.

        `audit` knows the expected bits from a plan, a seed, a contract of one draw or other
        weights. If you drew your weights from one seed, training has never changed the listed ones.
        Without known bits the list is empty, and does not tell you whether weights have changed.
        """
        return [weight.path for weight in self.rows if weight.is_unchanged]

    def _figure(self) -> "Figure":
        """Return a plot of how weights differ, in the order of the layers."""
        as_expected: dict[int, float] = {}
        off: dict[int, float] = {}
        compared = [weight for weight in self.rows if weight.ratio is not None]
        for index, weight in enumerate(compared):
            points = off if weight.is_problem else as_expected
            points[index] = weight.ratio or 0.0
        groups = {"as expected": Points(as_expected, BLUE), "off": Points(off, RED)}
        names = [weight.path for weight in compared]
        title = f"Standard deviation over the expected one: 1 is as {self.source}"
        panels = {"std / expected std": groups}
        return plot_in_order(names, panels, of="weight", title=title, are_ratios=True)

    def _own_content(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "notes": list(self.notes),
        }

    def _rows(self) -> list[Group]:
        """Return the groups of weights that are off or were not compared, the worst first."""
        shown = []
        for weight in self.rows:
            if weight.is_problem or (weight.status == NOT_COMPARED and weight.detail):
                shown.append(weight)
        return group_rows(shown)

    def _below(self) -> list[str]:
        lines = ["", self._summary_in_lines()]
        compared = len(self.rows) - len(self.not_compared)
        are_most = 2 * len(self.problems) > compared
        if self.source == LAYERS_SAY and are_most:
            lines.append("Were they drawn by rules? Pass these too: audit(model, rules).")
        return lines

    def __str__(self) -> str:
        if not self._rows():
            return self._summary_in_lines()
        return super().__str__()

    def _summary_in_lines(self) -> str:
        return textwrap.fill(self.summary, line_width(), break_on_hyphens=False)

    def _repr_html_(self) -> str:
        if not self._rows():
            return f"<p>{html.escape(self.summary)}</p>"
        return super()._repr_html_()

    def _columns(self) -> list[Column[Group]]:
        return [
            Column("weight", lambda row: row.names_text, is_text=True),
            Column("number", lambda row: len(row.weights) if len(row.weights) > 1 else ""),
            Column(
                "expected",
                lambda row: _format_range(weight.expected_std for weight in row.weights),
                is_optional=True,
            ),
            Column("std", lambda row: _format_range(weight.std for weight in row.weights)),
            Column("ratio", lambda row: _format_range(weight.ratio for weight in row.weights)),
            Column(
                "shape",
                lambda row: _keep_common(str(weight.shape) for weight in row.weights),
                is_optional=True,
            ),
            Column(
                "initializer",
                lambda row: _keep_common(weight.initializer or "" for weight in row.weights),
                is_text=True,
                is_optional=True,
            ),
            Column("status", _describe_status, is_text=True),
        ]

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        off = len(self.problems)
        total = len(self.rows)
        if off:
            verb = choose_verb(off, "is", "are")
            text = f"{off} of {total} weights {verb} not as {self.source}"
        else:
            text = f"{total - len(self.not_compared)} of {total} weights are as {self.source}"
        left = len(self.not_compared)
        if left:
            text += f", {left} not compared"
        text += "."
        unknown = self._unknown_to_recipe
        if unknown:
            weights = f"{format_count(len(unknown), 'weight')} ({truncate(unknown)})"
            text += f" The recipe does not know the role of {weights}."
        text += "".join(f" {note}" for note in self.notes)
        text += self._unchanged_text()
        text += self._resolution_text()
        return text

    def _resolution_text(self) -> str:
        """Name the weights with too few values for a change that other weights would show."""
        factors = {}
        for weight in self.rows:
            # Of equal bits, no change is missed.
            if weight.resolution is None or weight.is_unchanged:
                continue
            if round(weight.resolution, 2) > _COARSE:
                factors[weight.path] = weight.resolution
        if not factors:
            return ""
        names = sorted(factors, key=lambda path: -factors[path])
        named = summarize_names(names, shown=3)
        has = choose_verb(len(names), "has", "have")
        return (
            f" {format_count(len(names), 'weight')} ({named}) {has} too few values: the audit may "
            f"miss a change of scale by a factor of {_COARSE}, but not by {factors[names[0]]:.3g}. "
            "This is no fault; layers with more units show smaller changes."
        )

    def _unchanged_text(self) -> str:
        """Say how many weights are equal bit for bit, if bits are known."""
        known = [weight for weight in self.rows if weight.is_unchanged is not None]
        count = len(self.unchanged)
        rows = sum(weight.rows_unchanged or 0 for weight in known if not weight.is_unchanged)
        says_more = self.has_other_weights or (count < len(known) and (count or rows))
        if not known or not says_more:
            return ""
        text = f" The same bit for bit: {count} of {len(known)}"
        if rows:
            text += f", and {rows} rows of others"
        return f"{text}."


def _describe_status(group: Group) -> str:
    """Describe the problem of a group of weights, and its cause."""
    worst = group.worst
    if worst.status == NOT_COMPARED:
        return f"(not compared: {worst.detail})"
    explanation = worst.cause
    # The scale stands in other columns.
    if not explanation and worst.status != "scale":
        explanation = worst.detail
    if explanation:
        return f"{worst.status}: {explanation}"
    return worst.status


def _keep_common(texts: Iterable[str]) -> str:
    distinct = set(texts)
    if len(distinct) == 1:
        return distinct.pop()
    return ""


def _format_range(values: Iterable[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return ""
    lowest = format_number(known[0])
    highest = format_number(known[-1])
    if lowest == highest:
        return lowest
    return f"{lowest} - {highest}"
