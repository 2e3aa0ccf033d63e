"""The result of `compare_outputs`."""

import math
import statistics
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from keras_initx._checks import truncated
from keras_initx.outputs._rounding import MOST
from keras_initx.rendering._figures import BLUE, PALE_BLUE, RED
from keras_initx.rendering._order import Points, plot_in_order
from keras_initx.rendering._results import Judgement, Tabular
from keras_initx.rendering._table import Column
from keras_initx.rendering._terminal import line_width
from keras_initx.rendering._text import counted, short_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Answer = Literal["equal", "differs", "not compared"]


@dataclass(frozen=True)
class OutputRow:
    """A call that was compared with its counterpart, or could not be.

    Differences are root mean squares, in standard deviations of what is compared with. Of several
    tensors they are the largest.

    Attributes:
        path: The path of the layer, or of the operation of a functional model.
        call: Which of its calls, from 1.
        kind: The name of its class.
        answer: `"equal"`, `"differs"` or `"not compared"`.
        how: How it was compared, what is seen of the difference, or why it was not compared.
        like: The name of its counterpart, empty if there is none.
        inputs: The difference of its inputs, `None` if they were not compared.
        outputs: The difference of its outputs, `None` if they were not compared.
        noise: What rounding makes of the latter.
        compared: The number of values that were compared.
        left_out: The number of those that were not, because rounding changes them by far more than
            others, or because both are infinite or NaN.
        is_model: Whether it is the call of the model.
        is_whole: Whether all its outputs were compared.
        inputs_differ: Whether its inputs differ by more than rounding.
        dtype: The dtype of its outputs.
    """

    path: str
    call: int
    kind: str
    answer: Answer
    how: str = ""
    like: str = ""
    inputs: float | None = None
    outputs: float | None = None
    noise: float | None = None
    compared: int = 0
    left_out: int = 0
    is_model: bool = False
    is_whole: bool = False
    inputs_differ: bool = False
    dtype: str = ""

    @property
    def name(self) -> str:
        """The path, and which call it is if it is not the first."""
        return self.path if self.call == 1 else f"{self.path}, call {self.call}"

    @property
    def text(self) -> str:
        """How its inputs and outputs differ, in words."""
        return str(self)

    def __str__(self) -> str:
        parts = []
        if self.inputs is not None:
            parts.append(f"inputs differ by {short_number(self.inputs)}")
        if self.outputs is not None:
            parts.append(f"outputs by {short_number(self.outputs)} standard deviations")
        text = ", ".join(parts)
        if self.inputs is None and self.outputs is not None:
            text = text.replace("outputs by", "outputs differ by")
        how = f" ({self.how})" if self.how else ""
        return f"{self.name}: {text or self.answer}{how}"


class Stretch(NamedTuple):
    """Where a difference arises.

    Attributes:
        after: The last call that is equal, `None` if there is none.
        here: The calls after it that were not compared, up to the first that differs.
        there: Those of the other model.
    """

    after: str | None
    here: tuple[str, ...]
    there: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class OutputsReport(Tabular[OutputRow], Judgement):
    """The result of `compare_outputs`, in the form of all results.

    `print` shows the first row that differs, those around it, and what is known of it. CSV and JSON
    have all rows.

    Attributes:
        rows: An `OutputRow` for each call, in the order in which calls end.
        between: Where the first difference arises, `None` if there is none.
        reasons: What is known to differ there: settings, masks.
        unmatched: The calls of the other model that were compared with nothing.
    """

    rows: list[OutputRow]
    between: Stretch | None
    reasons: list[str]
    unmatched: list[str]

    @property
    def first(self) -> OutputRow | None:
        """The first row that differs, `None` if none does."""
        for row in self.rows:
            if row.answer == "differs":
                return row
        return None

    @property
    def problems(self) -> list[OutputRow]:
        """The rows that differ, and those of outputs of the model that were not compared."""
        found = []
        for row in self.rows:
            if row.answer == "differs" or (row.is_model and not row.is_whole):
                found.append(row)
        return found

    @property
    def visible(self) -> float:
        """How small a difference was visible in half of the rows, in standard deviations."""
        bounds = [MOST * row.noise for row in self.rows if row.noise is not None]
        return statistics.median(bounds) if bounds else math.inf

    @property
    def summary(self) -> str:
        """The result in one sentence, and what could be seen in another."""
        counts = Counter(row.answer for row in self.rows)
        compared = counts["equal"] + counts["differs"]
        text = f"{compared} of {counted(len(self.rows), 'call')} compared"
        if counts["differs"]:
            text += f": {counts['equal']} equal, {counts['differs']} different"
        else:
            text += ", all equal"
        text += f"; the outputs of the model {self._of_model()}. "
        text += f"Differences above {short_number(self.visible)} standard deviations were visible"
        narrow = [row.dtype for row in self.rows if row.dtype in ("bfloat16", "float16")]
        if narrow:
            text += f" in {narrow[0]}: compare in float32 to see smaller ones"
        return f"{text}."

    @property
    def headline(self) -> str:
        """What is wrong, in a few words."""
        if self.first is None:
            return f"The outputs of the model {self._of_model()}."
        count = sum(row.answer == "differs" for row in self.rows)
        return f"The outputs of {counted(count, 'call')} differ, first those of {self.first.name}."

    def _of_model(self) -> str:
        rows = [row for row in self.rows if row.is_model]
        if any(row.answer == "differs" for row in rows):
            return "differ"
        if all(row.is_whole for row in rows):
            return "are equal"
        return f"were not compared ({rows[-1].how})"

    def _place(self) -> list[str]:
        """Return sentences on where the first difference arises."""
        if self.first is None or self.between is None:
            return []
        lines = [f"First difference: {self.first}."]
        after, here, there = self.between
        if after is not None and (here or there or self.first.inputs_differ):
            lines.append(f"The last equal call before it is {after}.")
        for names, of in ((here, "this model"), (there, "the other")):
            if names:
                place = "Before it" if after is None else "Between them"
                lines.append(f"{place} in {of}, not compared: {truncated(list(names))}.")
        if self.reasons:
            lines.append(f"Known of it: {'; '.join(self.reasons)}.")
        return lines

    def _not_compared(self) -> list[str]:
        """Return a line on the calls that were not compared, by the reasons."""
        names: dict[str, list[str]] = {}
        for row in self.rows:
            if row.answer == "not compared":
                names.setdefault(row.how, []).append(row.name)
        if self.unmatched:
            names["only in the other model"] = self.unmatched
        return [f"Not compared, {why}: {truncated(found)}." for why, found in names.items()]

    def _rows(self) -> list[OutputRow]:
        """Return the first row that differs, the last equal one, and the rows of the model."""
        if self.first is None or self.between is None:
            return []
        near = (self.between.after, self.first.name)
        return [row for row in self.rows if row.name in near or row.is_model]

    def _columns(self) -> list[Column[OutputRow]]:
        return [
            Column("layer", lambda row: row.name, is_text=True),
            Column("like", _other_name, is_text=True, is_optional=True),
            Column("inputs differ", lambda row: _number(row.inputs)),
            Column("outputs differ", lambda row: _number(row.outputs)),
            Column("rounding", lambda row: _number(row.noise)),
            Column("", _answer, is_text=True),
        ]

    def _below(self) -> list[str]:
        lines = [*self._place(), *self._not_compared(), self.summary]
        width = line_width()
        return ["", *(textwrap.fill(line, width, break_on_hyphens=False) for line in lines)]

    def _content(self) -> dict[str, Any]:
        between = None
        if self.between is not None:
            between = dict(zip(("after", "here", "there"), self.between, strict=True))
        return {
            "rows": self._records(),
            "between": between,
            "reasons": self.reasons,
            "unmatched": self.unmatched,
        }

    def _figure(self) -> "Figure":
        groups: dict[str, dict[int, float]] = {"rounding": {}, "equal": {}, "differs": {}}
        for place, row in enumerate(self.rows):
            if row.outputs is not None and row.noise is not None:
                groups[row.answer][place] = row.outputs
                groups["rounding"][place] = row.noise
        colors = {"rounding": PALE_BLUE, "equal": BLUE, "differs": RED}
        points = {name: Points(values, colors[name]) for name, values in groups.items()}
        panels = {"difference in standard deviations": points}
        return plot_in_order([row.name for row in self.rows], panels, of="layer")


def _number(value: float | None) -> str:
    return "" if value is None else short_number(value)


def _answer(row: OutputRow) -> str:
    if row.how:
        return f"{row.answer}: {row.how}"
    return row.answer


def _other_name(row: OutputRow) -> str:
    return "" if row.like == row.path else row.like
