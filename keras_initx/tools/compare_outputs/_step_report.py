"""The result of comparing the first step of two models."""

import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from keras_initx._checks import truncate
from keras_initx.report._figures import BLUE, PALE_BLUE, RED
from keras_initx.report._order import Points, plot_in_order
from keras_initx.report._results import Judgement, Problem, Tabular
from keras_initx.report._table import Column
from keras_initx.report._terminal import line_width
from keras_initx.report._text import format_count, format_number
from keras_initx.tools.compare_outputs._recorded_step import Kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Answer: TypeAlias = Literal["equal", "differs", "not compared"]


@dataclass(frozen=True)
class StepChange:
    """A gradient, an update or an output beside its counterpart.

    Attributes:
        answer: `"equal"`, `"differs"` or `"not compared"`.
        how: What is seen of the difference, or why it was not compared.
        norm: The norm here, `None` if it is not known.
        norm_there: The norm there.
        difference: The root mean square of the difference, relative to the larger one of both.
        rounding: How large it may be for rounding, in the same unit.
        ratio: By what factor those here are larger, if all values are by the same.
    """

    answer: Answer
    how: str = ""
    norm: float | None = None
    norm_there: float | None = None
    difference: float | None = None
    rounding: float | None = None
    ratio: float | None = None

    @property
    def norms(self) -> str:
        """Both norms in words."""
        if self.norm is None or self.norm_there is None:
            return self.how
        here, there = format_number(self.norm), format_number(self.norm_there)
        if here == there and self.difference:
            return f"{here} here and there, {format_number(self.difference)} of it apart"
        return f"{here} here, {there} there"

    @property
    def text(self) -> str:
        """How it differs, in words."""
        if self.ratio is not None:
            return f"{format_factor(self.ratio)} there"
        return self.norms if self.norm_there is not None else (self.how or self.answer)


def format_factor(ratio: float) -> str:
    """Return a factor in words, before "there"."""
    if 0 < ratio < 0.99:
        return f"1/{_format_digits(1 / ratio)} of those"
    return f"{_format_digits(ratio)} times those"


def _format_digits(number: float) -> str:
    """Return a number with three digits, and whole if it is nearly so; one near 1 with more."""
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
        kind: `"trained"`, `"frozen"`, or `"state"` for what a call in training changes, such as a
            moving average.
        like: The path of its counterpart, empty if there is none.
        gradient: Its gradient beside that of the counterpart, `None` unless it is trained.
        update: What the step adds to it, or the call to a state, `None` if it is frozen.
    """

    path: str
    kind: Kind
    like: str = ""
    gradient: StepChange | None = None
    update: StepChange | None = None

    @property
    def answer(self) -> Answer:
        """`"differs"` if one of both does, `"equal"` if both are, else `"not compared"`."""
        answers = [change.answer for change in (self.gradient, self.update) if change is not None]
        if "differs" in answers:
            return "differs"
        return "not compared" if "not compared" in answers else "equal"

    @property
    def text(self) -> str:
        """What differs, in words."""
        parts = []
        for name, change in (("gradient", self.gradient), ("update", self.update)):
            if change is not None and change.answer == "differs":
                parts.append(f"{name}: {change.text}")
        return f"{self.path}: {'; '.join(parts) or self.answer}"


@dataclass(frozen=True)
class StepLoss:
    """The loss beside that of the other model.

    Attributes:
        answer: `"equal"`, `"differs"` or `"not compared"`.
        here: The loss here.
        there: The loss there.
        how: By which factor it differs, and what there is as often; or why it was not compared.
    """

    answer: Answer
    here: float | None = None
    there: float | None = None
    how: str = ""

    @property
    def text(self) -> str:
        """The loss in words."""
        if self.answer == "equal":
            return f"loss: equal, {self.here:.4g}"
        if self.here is None or self.there is None:
            return f"loss: not compared, {self.how}"
        text = f"loss: {self.here:.6g} here, {self.there:.6g} there"
        return f"{text}: {self.how}" if self.how else text


@dataclass(frozen=True, eq=False, repr=False)
class StepReport(Tabular[StepRow], Judgement):
    """The first step of a model beside that of another, in the form of all results.

    Attributes:
        rows: A `StepRow` for each weight, those of the last layer first.
        outputs: Dict from the places of the outputs in training to how they compare.
        loss: How the losses compare.
        settings: Settings of the loss and the optimizer that differ, each in words.
        unmatched: Paths of weights of the other model without a counterpart.
        obstacle: Why no step was compared, empty if one was.
        inputs: How targets and weights of samples differ, each in words.
        later: The settings that differ and make later steps differ, if the first does not.
        unread: Settings that were not compared, each in words.
        causes: What torch is known to do otherwise, with the weights whose values show it, and
            settings that are equal at the first step alone, each in words.
        explained: The paths of the weights whose difference has no other cause.
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
    causes: Sequence[str] = ()
    explained: Collection[str] = ()

    @property
    def problems(self) -> list[Any]:
        """What differs, and the loss or the gradients if they were not compared.

        Settings that differ are a problem too, which a later step shows.
        """
        if self.obstacle:
            return [Problem("first step", self.summary)]
        found = self._list_step_problems()
        if self.later:
            found.append(Problem("settings", "; ".join(self.later)))
        return found

    def _list_step_problems(self) -> list[Any]:
        found: list[Any] = []
        if self.inputs:
            found.append(Problem("targets", "; ".join(self.inputs)))
        if any(change.answer == "differs" for change in self.outputs.values()):
            found.append(Problem("outputs in training", self._describe_outputs()))
        if self.loss.answer != "equal":
            found.append(Problem("loss", self.loss.text))
        found += [row for row in self.rows if row.answer == "differs"]
        gradients = [row.gradient for row in self.rows if row.gradient is not None]
        if all(change.answer == "not compared" for change in gradients):
            found.append(Problem("gradients", "no gradient was compared"))
        return found

    @property
    def first(self) -> StepRow | None:
        """The first weight whose gradient differs, back from the loss, `None` if none does."""
        return next(iter(_select_differing(self.rows, "gradient")), None)

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        if self.obstacle:
            return f"The first step was not compared: {self.obstacle}."
        text = "The first step differs"
        if not self._list_step_problems():
            text = "The first step is equal"
            if self.later:
                text += f", later ones are not: {'; '.join(self.later)}"
        elif not any(self._differing()):
            text = "The first step was not compared"
        elif self._is_explained():
            text += ", by nothing but the causes that are known"
        if self.inputs:
            text += f", with {'; '.join(self.inputs)}"
        missing = [row for row in self.rows if row.answer == "not compared"]
        if missing:
            text += f"; of {format_count(len(missing), 'weight')} not all was compared"
        return f"{text}."

    def _is_explained(self) -> bool:
        """Return whether nothing differs but weights of which all causes are known."""
        found = self._list_step_problems()
        return all(isinstance(one, StepRow) and one.path in self.explained for one in found)

    def _differing(self) -> Iterator[bool]:
        yield bool(self.inputs)
        yield from (change.answer == "differs" for change in self.outputs.values())
        yield self.loss.answer == "differs"
        yield from (row.answer == "differs" for row in self.rows)

    def _list_findings(self) -> list[str]:
        """Return what is known of the step, in the order in which it is computed."""
        if self.obstacle:
            return []
        lines = [*self.inputs, self._describe_outputs(), self.loss.text, self._describe_gradients()]
        lines += self._describe_updates()
        lines += [f"known: {cause}" for cause in self.causes]
        lines += self._list_not_compared()
        if self.settings:
            lines.append(f"settings that differ: {'; '.join(self.settings)}")
        if self.unread:
            lines.append(f"settings that were not compared: {'; '.join(self.unread)}")
        return lines

    def _describe_outputs(self) -> str:
        parts = []
        for place, change in self.outputs.items():
            if change.answer == "equal":
                continue
            name = f"{place}: " if place else ""
            parts.append(f"{name}{change.answer}, {change.how}".rstrip(", "))
        return f"outputs in training: {'; '.join(parts) or 'equal'}"

    def _describe_gradients(self) -> str:
        rows = [row for row in self.rows if row.gradient is not None]
        compared = [row for row in rows if row.gradient and row.gradient.answer != "not compared"]
        differing = _select_differing(rows, "gradient")
        if not compared:
            return "gradients: not compared"
        if not differing:
            return f"gradients: equal for {format_count(len(compared), 'weight')}"
        ratios = [row.gradient.ratio for row in differing if row.gradient is not None]
        if len(differing) == len(compared) and _are_one_factor(ratios) and ratios[0] is not None:
            return f"gradients: all are {format_factor(ratios[0])} there"
        first = differing[0]
        text = f"gradients: {len(differing)} of {format_count(len(compared), 'weight')} differ"
        before = [row.path for row in rows[: rows.index(first)] if row in compared]
        if first.gradient is not None:
            text += f", back from the loss first that of {first.path} ({first.gradient.norms})"
        if before:
            text += f"; equal behind it: {truncate(before)}"
        return text

    def _describe_updates(self) -> list[str]:
        """Return lines on updates and moving averages."""
        lines = []
        for kind, name in (("trained", "updates"), ("state", "moving averages and other state")):
            rows = [row for row in self.rows if row.kind == kind and row.update is not None]
            compared = [row for row in rows if row.update and row.update.answer != "not compared"]
            differing = _select_differing(rows, "update")
            if not rows:
                continue
            if not compared:
                lines.append(f"{name}: not compared")
            elif not differing:
                lines.append(f"{name}: equal for {format_count(len(compared), 'weight')}")
            else:
                text = f"{name}: {len(differing)} of {format_count(len(compared), 'weight')} differ"
                if kind == "trained":
                    text += ", whose gradients are equal"
                lines.append(f"{text}: {_group_updates(differing)}")
        return lines

    def _list_not_compared(self) -> list[str]:
        """Return lines on what was not compared, by the reasons."""
        names: dict[str, list[str]] = {}
        for row in self.rows:
            parts: dict[str, list[str]] = {}
            for name, change in (("gradient", row.gradient), ("update", row.update)):
                if change is not None and change.answer == "not compared":
                    parts.setdefault(change.how, []).append(name)
            for how, found in parts.items():
                names.setdefault(f"{' and '.join(found)} ({how})", []).append(row.path)
        if self.unmatched:
            names["weights of the other model alone"] = list(self.unmatched)
        return [f"not compared, {why}: {truncate(found)}" for why, found in names.items()]

    def _rows(self) -> list[StepRow]:
        """Return the rows that differ, the first ones of many."""
        return [row for row in self.rows if row.answer == "differs"][:_SHOWN]

    def _columns(self) -> list[Column[StepRow]]:
        return [
            Column("weight", lambda row: row.path, is_text=True),
            Column("like", _counterpart_path, is_text=True, is_optional=True),
            Column("gradient", lambda row: _format_change(row.gradient), is_text=True),
            Column("update", lambda row: _format_change(row.update), is_text=True),
        ]

    def text_lines(self, width: int) -> list[str]:
        """Return what is known of the step, filled to a width, and the summary."""
        lines = []
        for line in [*self._list_findings(), self.summary]:
            lines.append(textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False))
        return lines

    def _below(self) -> list[str]:
        return ["", *self.text_lines(line_width())]

    def _records(self) -> list[dict[str, Any]]:
        records = []
        for row in self.rows:
            record: dict[str, Any] = {"path": row.path, "kind": row.kind, "like": row.like}
            for name, change in (("gradient", row.gradient), ("update", row.update)):
                one = change or StepChange("not compared", "there is none")
                record[name] = one.answer
                record[f"{name}_how"] = one.how
                record[f"{name}_norm"] = one.norm
                record[f"{name}_norm_there"] = one.norm_there
                record[f"{name}_difference"] = one.difference
                record[f"{name}_rounding"] = one.rounding
                record[f"{name}_ratio"] = one.ratio
            records.append(record)
        return records

    def as_content(self) -> dict[str, Any]:
        """Return what the JSON has."""
        return {
            "obstacle": self.obstacle,
            "outputs": {place: change.answer for place, change in self.outputs.items()},
            "loss": {
                "answer": self.loss.answer,
                "here": self.loss.here,
                "there": self.loss.there,
                "how": self.loss.how,
            },
            "targets": list(self.inputs),
            "settings": list(self.settings),
            "later": list(self.later),
            "unread": list(self.unread),
            "causes": list(self.causes),
            "explained": sorted(self.explained),
            "unmatched": list(self.unmatched),
            "rows": self._records(),
        }

    def _content(self) -> dict[str, Any]:
        return self.as_content()

    def _figure(self) -> "Figure":
        panels = {}
        for name in ("gradient", "update"):
            groups: dict[str, dict[int, float]] = {"rounding": {}, "equal": {}, "differs": {}}
            for place, row in enumerate(self.rows):
                change = getattr(row, name)
                if change is None or change.difference is None or change.answer not in groups:
                    continue
                groups[change.answer][place] = change.difference
                groups["rounding"][place] = change.rounding
            colors = {"rounding": PALE_BLUE, "equal": BLUE, "differs": RED}
            panels[f"difference of the {name}"] = {
                group: Points(values, colors[group]) for group, values in groups.items()
            }
        return plot_in_order([row.path for row in self.rows], panels, of="weight")


# Of rows that differ, so many are shown.
_SHOWN = 12


def _select_differing(rows: Sequence[StepRow], name: str) -> list[StepRow]:
    found = []
    for row in rows:
        change = getattr(row, name)
        if change is not None and change.answer == "differs":
            found.append(row)
    return found


def _are_one_factor(ratios: Sequence[float | None]) -> bool:
    """Return whether factors are one factor, up to rounding."""
    known = [ratio for ratio in ratios if ratio is not None]
    if len(known) < len(ratios) or not known:
        return False
    return max(known) - min(known) <= 1e-3 * max(map(abs, known))


def _group_updates(rows: Sequence[StepRow]) -> str:
    """Return how updates differ, weights of which the same is said together."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.update is not None:
            names.setdefault(row.update.text, []).append(row.path)
    parts = [f"{truncate(paths)} ({text})" for text, paths in names.items()]
    return truncate(parts, "; ")


def _format_change(change: StepChange | None) -> str:
    if change is None:
        return ""
    if change.answer == "differs":
        return change.text
    return f"{change.answer}: {change.how}" if change.how else change.answer


def _counterpart_path(row: StepRow) -> str:
    return "" if row.like == row.path else row.like
