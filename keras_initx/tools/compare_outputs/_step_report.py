"""The result of comparing the first step of two models: rows for weights, and lines of text.

Below the table of the rows, a report prints lines such as:

    outputs in training: differs, by 0.042 of their size
    loss: 1.91316 here, 1.99058 there: 0.961108 times that there
    gradients: 2 of 4 weights differ, the nearest to the loss is norm/gamma (1.3 here, ...)
    updates: not compared
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from keras_initx._checks import truncate
from keras_initx._signatures import shorten_signature
from keras_initx.report._figures import BLUE, COLORS, PALE_BLUE, RED
from keras_initx.report._order import Points, plot_in_order
from keras_initx.report._results import Judgement, Problem, Tabular
from keras_initx.report._table import Column
from keras_initx.report._terminal import line_width
from keras_initx.report._text import (
    format_count,
    format_number,
    group_names,
    join_clauses,
    join_names,
)
from keras_initx.tools.compare_outputs._recorded_step import Kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Status: TypeAlias = Literal["equal", "explained", "differs", "not compared"]
# How a verdict speaks of explained differences, which are no mistakes of a port.
DONE_DIFFERENTLY = "what the frameworks do differently"
WITHOUT_OPTIMIZERS = (
    "The optimizers were not compared. What those of torch do differently: "
    "docs/first_step.md#what-optimizers-of-torch-do-differently"
)
# Of rows that differ, a table has so many.
_MOST_ROWS = 12


@dataclass(frozen=True)
class StepChange:
    """A gradient, an update or an output compared with its counterpart.

    Attributes:
        status: `"equal"`, `"explained"` if it is equal but for what torch and Keras do differently,
            `"differs"` or `"not compared"`.
        detail: The form of the difference, its explanation, or why it was not compared.
        norm: The norm here, `None` if it is not known.
        norm_there: The norm in the other model.
        difference: The root mean square of the difference, as a share of the larger of both.
        rounding: The difference that rounding may cause, in the same unit.
        ratio: The factor between the values here and there, if it is the same for all.
    """

    status: Status
    detail: str = ""
    norm: float | None = None
    norm_there: float | None = None
    difference: float | None = None
    rounding: float | None = None
    ratio: float | None = None

    @property
    def norms(self) -> str:
        """Both norms in words."""
        if self.norm is None or self.norm_there is None:
            return self.detail
        here, there = format_number(self.norm), format_number(self.norm_there)
        if here == there and self.difference:
            return f"{here} here and there, {format_number(self.difference)} of it apart"
        return f"{here} here, {there} there"

    @property
    def text(self) -> str:
        """How it differs, in words."""
        if self.ratio is not None:
            return f"{format_factor(self.ratio)} there"
        return self.norms if self.norm_there is not None else (self.detail or self.status)


def format_factor(ratio: float) -> str:
    """Format a factor in words, before "there"."""
    if 0 < ratio < 0.99:
        return f"1/{_format_digits(1 / ratio)} of those"
    return f"{_format_digits(ratio)} times those"


def _format_digits(number: float) -> str:
    """Format a number with three digits, whole if it is nearly so, near 1 with six digits."""
    if 0 < abs(number - 1) < 0.01:
        return f"{number:.6g}"
    if abs(number - round(number)) < 1e-3 * abs(number):
        return f"{round(number)}"
    return f"{number:.3g}"


@dataclass(frozen=True)
class StepRow:
    """A weight in the first step.

    Attributes:
        path: Its path.
        kind: `"trained"`, `"frozen"`, or `"state"` for values that a call in training changes, such
            as a moving average.
        like: The path of its counterpart, empty if there is none.
        gradient: How its gradient compares with its counterpart's, `None` unless it is trained.
        update: The comparison of its change by the step, or of a state by the call; `None` if it is
            frozen.
    """

    path: str
    kind: Kind
    like: str = ""
    gradient: StepChange | None = None
    update: StepChange | None = None

    @property
    def _changes(self) -> dict[str, StepChange]:
        changes = {"gradient": self.gradient, "update": self.update}
        return {name: change for name, change in changes.items() if change is not None}

    @property
    def status(self) -> Status:
        """The worse status of both, from `"differs"` by `"not compared"` and `"explained"` on."""
        statuses = [change.status for change in self._changes.values()]
        worst: tuple[Status, ...] = ("differs", "not compared", "explained")
        return next((status for status in worst if status in statuses), "equal")

    @property
    def detail(self) -> str:
        """The explanation of a difference, or why something was not compared."""
        return join_clauses(*dict.fromkeys(change.detail for change in self._changes.values()))

    @property
    def text(self) -> str:
        """The differences, in words."""
        clauses = []
        for name, change in self._changes.items():
            if change.status == "differs":
                clauses.append(f"{name}: {change.text}")
        return f"{self.path}: {join_clauses(*clauses) or self.status}"


@dataclass(frozen=True)
class StepLoss:
    """The loss compared with the loss of the other model.

    Attributes:
        status: `"equal"`, `"differs"` or `"not compared"`.
        here: The loss here.
        there: The loss there.
        detail: The factor between both, and things in the batch with this count; or why it was not
            compared.
        cause: The settings of the losses that differ, in words.
    """

    status: Status
    here: float | None = None
    there: float | None = None
    detail: str = ""
    cause: str = ""

    @property
    def text(self) -> str:
        """The loss in words."""
        if self.status == "equal":
            return f"loss: equal, {self.here:.4g}"
        if self.here is None or self.there is None:
            return f"loss: not compared, {self.detail}"
        text = f"loss: {self.here:.6g} here, {self.there:.6g} there"
        reasons = join_clauses(self.detail, self.cause)
        return f"{text}: {reasons}" if reasons else text


@shorten_signature
@dataclass(frozen=True, eq=False, repr=False)
class StepReport(Tabular[StepRow], Judgement):
    """The first step of your model compared with another model, in the form of all results.

    Attributes:
        rows: A `StepRow` for each weight, beginning with the last layer.
        outputs: Dict from the labels of the outputs in training to their comparisons.
        loss: The comparison of the losses.
        settings: Settings of the loss and the optimizer that differ, each in words.
        unmatched: Paths of weights of the other model without a counterpart.
        obstacle: Why no step was compared, empty if one was.
        inputs: How targets and weights of samples differ, each in words.
        later: The settings that differ and make later steps differ, if the first does not.
        unread: Settings that were not compared, each in words.
        dropout_off: The rates of dropout of both models, in words; empty if all are 0. The step is
            taken without dropout.
        has_optimizers: Whether the optimizers were compared, which they are between two models of
            Keras.
    """

    rows: Sequence[StepRow]
    outputs: dict[str, StepChange]
    loss: StepLoss
    settings: Sequence[str]
    unmatched: Sequence[str]
    obstacle: str = ""
    inputs: Sequence[str] = ()
    later: Sequence[str] = ()
    unread: Sequence[str] = ()
    dropout_off: str = ""
    has_optimizers: bool = True

    @property
    def problems(self) -> list[Any]:
        """The differences, and the loss or the gradients if they were not compared.

        A setting that differs is a problem too, because a later step shows it.
        """
        if self.obstacle:
            return [Problem("first step", self.summary)]
        problems = self._list_step_problems()
        if self.later:
            problems.append(Problem("settings", join_clauses(*self.later)))
        return problems

    def _list_step_problems(self) -> list[Any]:
        problems: list[Any] = []
        if self.inputs:
            problems.append(Problem("targets", join_clauses(*self.inputs)))
        if any(change.status == "differs" for change in self.outputs.values()):
            problems.append(Problem("outputs in training", self._describe_outputs()))
        if self.loss.status != "equal":
            problems.append(Problem("loss", self.loss.text))
        problems += [row for row in self.rows if row.status == "differs"]
        gradients = [row.gradient for row in self.rows if row.gradient is not None]
        if all(change.status == "not compared" for change in gradients):
            problems.append(Problem("gradients", "no gradient was compared"))
        return problems

    @property
    def first(self) -> StepRow | None:
        """The weight nearest to the loss whose gradient differs, `None` without one."""
        return next(iter(_select_rows(self.rows, "gradient", "differs")), None)

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        if self.obstacle:
            return f"The first step was not compared: {self.obstacle}."
        text = "The first step differs"
        if not self._list_step_problems():
            text = "The first step is equal"
            if self.explanations:
                text += f" but for {DONE_DIFFERENTLY}: {join_clauses(*self.explanations)}"
            if self.later:
                text += f", later ones are not: {join_clauses(*self.later)}"
        elif not any(self._differing()):
            text = "The first step was not compared"
        if self.inputs:
            text += f", with {join_clauses(*self.inputs)}"
        missing = [row for row in self.rows if row.status == "not compared"]
        if missing:
            text += f"; of {format_count(len(missing), 'weight')} not all was compared"
        if self.dropout_off:
            text += "; dropout was off"
        return f"{text}."

    @property
    def explanations(self) -> list[str]:
        """What torch and Keras do differently in this step, each with the weights that show it."""
        return [*self._list_explanations("gradient"), *self._list_explanations("update")]

    def _list_explanations(self, name: str) -> list[str]:
        statements = []
        for row in _select_rows(self.rows, name, "explained"):
            statements.append((getattr(row, name).detail, row.path))
        groups = group_names(statements).items()
        return [f"{detail} ({truncate(paths)})" for detail, paths in groups]

    def _differing(self) -> Iterator[bool]:
        yield bool(self.inputs)
        yield from (change.status == "differs" for change in self.outputs.values())
        yield self.loss.status == "differs"
        yield from (row.status == "differs" for row in self.rows)

    def _list_findings(self) -> list[str]:
        """List the findings of the step, in the order of its computation."""
        if self.obstacle:
            return []
        lines = []
        if self.dropout_off:
            lines.append(f"dropout was off: {self.dropout_off}")
        lines += [*self.inputs, self._describe_outputs(), self.loss.text]
        lines += [self._describe_gradients(), *self._describe_updates()]
        lines += self._list_not_compared()
        if self.settings:
            lines.append(f"settings that differ: {join_clauses(*self.settings)}")
        if self.unread:
            lines.append(f"settings that were not compared: {join_clauses(*self.unread)}")
        return lines

    def _describe_shortly(self) -> list[str]:
        """Describe the loss, the gradients and updates that differ, as clauses."""
        clauses = list(self.inputs)
        if any(change.status != "equal" for change in self.outputs.values()):
            clauses.append(self._describe_outputs())
        is_equal = self.loss.status == "equal"
        clauses.append(f"loss {self.loss.here:.4g}" if is_equal else self.loss.text)
        clauses.append(self._describe_gradients())
        if _select_rows(self.rows, "update", "differs"):
            clauses += self._describe_updates()
        if self.later:
            clauses.append(f"later steps differ: {join_clauses(*self.later)}")
        if self.dropout_off:
            clauses.append("dropout was off")
        return clauses

    def _describe_outputs(self) -> str:
        clauses = []
        for label, change in self.outputs.items():
            if change.status == "equal":
                continue
            name = f"{label}: " if label else ""
            clauses.append(f"{name}{change.status}, {change.detail}".rstrip(", "))
        return f"outputs in training: {join_clauses(*clauses) or 'equal'}"

    def _describe_gradients(self) -> str:
        compared = _select_rows(self.rows, "gradient", "equal", "differs")
        differing = _select_rows(compared, "gradient", "differs")
        text = f"gradients: {_count_differing(compared, differing)}"
        explanations = self._list_explanations("gradient")
        if explanations:
            text += f"; explained: {join_clauses(*explanations)}"
        if not differing:
            return text
        ratios = [row.gradient.ratio for row in differing if row.gradient is not None]
        if len(differing) == len(compared) and _are_one_factor(ratios) and ratios[0] is not None:
            return f"gradients: all are {format_factor(ratios[0])} there"
        first = differing[0]
        if first.gradient is not None:
            text += f", the nearest to the loss is {first.path} ({first.gradient.norms})"
        before = [row.path for row in compared[: compared.index(first)]]
        return join_clauses(text, f"equal after it: {truncate(before)}" if before else "")

    def _describe_updates(self) -> list[str]:
        lines = []
        for kind, name in (("trained", "updates"), ("state", "moving averages and other state")):
            rows = [row for row in self.rows if row.kind == kind and row.update is not None]
            if not rows:
                continue
            compared = _select_rows(rows, "update", "equal", "differs")
            differing = _select_rows(compared, "update", "differs")
            text = f"{name}: {_count_differing(compared, differing)}"
            if differing:
                text += ", whose gradients are equal" if kind == "trained" else ""
                text += f": {_group_updates(differing)}"
            if len(compared) < len(_select_rows(rows, "update", "explained", "equal", "differs")):
                explanations = self._list_explanations("update")
                text += f"; explained: {join_clauses(*explanations)}"
            lines.append(text)
        return lines

    def _list_not_compared(self) -> list[str]:
        """List the parts that were not compared, by the reasons."""
        statements = []
        for row in self.rows:
            missing = []
            for name, change in row._changes.items():
                if change.status == "not compared":
                    missing.append((change.detail, name))
            for detail, changes in group_names(missing).items():
                statements.append((f"{join_names(changes)} ({detail})", row.path))
        for path in self.unmatched:
            statements.append(("weights of the other model alone", path))
        lines = []
        for statement, paths in group_names(statements).items():
            lines.append(f"not compared, {statement}: {truncate(paths)}")
        return lines

    def _rows(self) -> list[StepRow]:
        return [row for row in self.rows if row.status == "differs"][:_MOST_ROWS]

    def _columns(self) -> list[Column[StepRow]]:
        return [
            Column("weight", lambda row: row.path, is_text=True),
            Column("like", _counterpart_path, is_text=True, is_optional=True),
            Column("gradient", lambda row: _format_change(row.gradient), is_text=True),
            Column("update", lambda row: _format_change(row.update), is_text=True),
        ]

    def text_lines(self, width: int) -> list[str]:
        """List the lines on the step, filled to a width, and the summary."""
        lines = []
        sentences = [self.summary] if self.has_optimizers else [self.summary, WITHOUT_OPTIMIZERS]
        for line in [*self._list_findings(), *sentences]:
            lines.append(textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False))
        return lines

    def _below(self) -> list[str]:
        return ["", *self.text_lines(line_width())]

    def _records(self) -> list[dict[str, Any]]:
        records = []
        for row in self.rows:
            record: dict[str, Any] = {
                "path": row.path,
                "status": row.status,
                "detail": row.detail,
                "kind": row.kind,
                "like": row.like,
            }
            for name, change in (("gradient", row.gradient), ("update", row.update)):
                shown_change = change or StepChange("not compared", "there is none")
                record[name] = shown_change.status
                record[f"{name}_detail"] = shown_change.detail
                record[f"{name}_norm"] = shown_change.norm
                record[f"{name}_norm_there"] = shown_change.norm_there
                record[f"{name}_difference"] = shown_change.difference
                record[f"{name}_rounding"] = shown_change.rounding
                record[f"{name}_ratio"] = shown_change.ratio
            records.append(record)
        return records

    def _own_content(self) -> dict[str, Any]:
        return {
            "obstacle": self.obstacle,
            "outputs": {label: change.status for label, change in self.outputs.items()},
            "loss_status": self.loss.status,
            "loss": self.loss.here,
            "loss_there": self.loss.there,
            "loss_detail": self.loss.detail,
            "loss_cause": self.loss.cause,
            "targets": list(self.inputs),
            "settings": list(self.settings),
            "later": list(self.later),
            "unread": list(self.unread),
            "dropout_off": self.dropout_off,
            "has_optimizers": self.has_optimizers,
            "unmatched": list(self.unmatched),
        }

    def _figure(self) -> "Figure":
        panels = {}
        for name in ("gradient", "update"):
            colors = {"rounding": PALE_BLUE, "equal": BLUE, "explained": COLORS[4], "differs": RED}
            groups: dict[str, dict[int, float]] = {group: {} for group in colors}
            for index, row in enumerate(self.rows):
                change = getattr(row, name)
                if change is None or change.difference is None or change.status not in groups:
                    continue
                groups[change.status][index] = change.difference
                groups["rounding"][index] = change.rounding
            panels[f"difference of the {name}"] = {
                group: Points(values, colors[group]) for group, values in groups.items()
            }
        return plot_in_order([row.path for row in self.rows], panels, of="weight")


def _select_rows(rows: Sequence[StepRow], name: str, *statuses: Status) -> list[StepRow]:
    """Select the rows whose gradient or update, by its name, has one of some statuses."""
    selected = []
    for row in rows:
        change = getattr(row, name)
        if change is not None and change.status in statuses:
            selected.append(row)
    return selected


def _count_differing(compared: Sequence[StepRow], differing: Sequence[StepRow]) -> str:
    if not compared:
        return "not compared"
    count = format_count(len(compared), "weight")
    return f"{len(differing)} of {count} differ" if differing else f"equal for {count}"


def _are_one_factor(ratios: Sequence[float | None]) -> bool:
    # Up to rounding.
    known = [ratio for ratio in ratios if ratio is not None]
    if len(known) < len(ratios) or not known:
        return False
    return max(known) - min(known) <= 1e-3 * max(map(abs, known))


def _group_updates(rows: Sequence[StepRow]) -> str:
    """Describe how updates differ: `hidden/kernel, head/kernel (1/2 of those there)`."""
    statements = [(row.update.text, row.path) for row in rows if row.update is not None]
    groups = group_names(statements).items()
    return truncate([f"{truncate(paths)} ({text})" for text, paths in groups], "; ")


def _format_change(change: StepChange | None) -> str:
    if change is None:
        return ""
    if change.status == "differs":
        return change.text
    return f"{change.status}: {change.detail}" if change.detail else change.status


def _counterpart_path(row: StepRow) -> str:
    return "" if row.like == row.path else row.like
