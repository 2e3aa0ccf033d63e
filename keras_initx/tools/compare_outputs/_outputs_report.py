"""The result of `compare_outputs`: a row for each call, and sentences made of the rows.

Below the table of the rows, a report prints sentences such as:

    First difference: norm: inputs differ by 0, outputs by 0.0044 of their size.
    It arises in norm, whose inputs are equal.
    What differs in norm: epsilon: 0.01 here, 0.001 there.
    3 of 3 calls compared: 1 equal, 2 different; the outputs of the model differ.
"""

import textwrap
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from keras_initx._checks import truncate
from keras_initx._signatures import shorten_signature
from keras_initx.inspection._environment import Environment
from keras_initx.report._figures import BLUE, COLORS, PALE_BLUE, RED
from keras_initx.report._order import Points, plot_in_order
from keras_initx.report._results import Judgement, Problem, Tabular
from keras_initx.report._table import Column, format_cell
from keras_initx.report._terminal import line_width
from keras_initx.report._text import (
    format_count,
    format_number,
    group_names,
    join_clauses,
    join_names,
)
from keras_initx.tools.compare_outputs._setting_differences import SettingDifference
from keras_initx.tools.compare_outputs._step_report import StepReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Status = Literal["equal", "differs", "not known", "not compared"]
# How statuses are counted.
_WORDS: dict[Status, str] = {"equal": "equal", "differs": "different", "not known": "not known"}
# What settings that differ change.
_SCOPES = {"any": "For other inputs these differ", "training": "In training these differ"}
# If a difference may arise in more calls, they are counted.
_MOST_SUSPECTS = 3
# A difference below this may be rounding or not, which float64 shows.
_SMALL = 1e-4


@shorten_signature
@dataclass(frozen=True)
class OutputRow:
    """A call that was compared with its counterpart, or could not be.

    The difference of two values is a share of the root mean square of their channel, or of the
    median channel if that is larger. The difference of a tensor is the root mean square of these
    shares, or a quarter of the largest share if that is larger. The difference of several tensors
    is the largest.

    Attributes:
        path: The path of the layer, or of the operation of a functional model.
        call: The number of the call, from 1.
        kind: The name of its class.
        status: `"equal"`, `"differs"`, `"not known"` if it is equal and proves nothing, or `"not
            compared"`.
        detail: How it was compared, the form of the difference, or why it proves nothing or was not
            compared.
        like: The name of its counterpart, empty if there is none.
        inputs: The difference of its inputs, `None` if they were not compared.
        outputs: The difference of its outputs, `None` if they were not compared.
        tolerance: The difference above which its outputs differ.
        compared: The number of values that were compared.
        settings: The settings that differ between the two. They may only matter for another batch.
        is_model: Whether it is the call of the model.
        is_whole: Whether all its outputs were compared, and prove something.
        inputs_differ: Whether its inputs differ.
        dtype: The dtype of its outputs.
    """

    path: str
    call: int
    kind: str
    status: Status
    detail: str = ""
    like: str = ""
    inputs: float | None = None
    outputs: float | None = None
    tolerance: float = 0.0
    compared: int = 0
    settings: tuple[str, ...] = ()
    is_model: bool = False
    is_whole: bool = False
    inputs_differ: bool = False
    dtype: str = ""

    @property
    def name(self) -> str:
        """The path, with the number of the call if it is not the first."""
        return self.path if self.call == 1 else f"{self.path}, call {self.call}"

    @property
    def text(self) -> str:
        """How its inputs and outputs differ, in words."""
        return str(self)

    def __str__(self) -> str:
        text: str = self.status
        if self.inputs is not None:
            text = f"inputs differ by {format_number(self.inputs)}"
        if self.outputs is not None:
            size = f"{format_number(self.outputs)} of their size"
            differ = f"outputs differ by {size}"
            text = differ if self.inputs is None else f"{text}, outputs by {size}"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name}: {text}{detail}"


class Stretch(NamedTuple):
    """The stretch of calls where a difference arises.

    Attributes:
        after: The last equal calls before it.
        here: The calls after them, or inside the first that differs, that were not compared.
        there: The calls of the other model in this stretch that were not compared.
    """

    after: tuple[str, ...]
    here: tuple[str, ...]
    there: tuple[str, ...]


@shorten_signature
@dataclass(frozen=True, eq=False, repr=False)
class OutputsReport(Tabular[OutputRow], Judgement):
    """The result of `compare_outputs`, in the form of all results.

    `print` shows you the row where the first difference arises, the equal rows before it, the
    differences of this layer, and settings that differ elsewhere. CSV and JSON have all rows.

    Attributes:
        rows: An `OutputRow` for each call, ordered by the ends of calls.
        first: The row where the first difference arises, `None` without a difference. It is the
            first row that differs, or the row that has made its inputs, if these differ by half of
            the tolerance.
        between: The stretch where the difference arises, `None` without a difference.
        is_inside: Whether it arises inside of this row, whose inputs are all equal.
        reasons: The differences of this row, such as settings and masks.
        unmatched: The calls of the other model without a counterpart.
        settings: The settings that differ, also between calls without a counterpart. A setting that
            changes outputs for another batch is a problem. One that changes training alone is a
            problem if the first step was compared.
        settings_not_compared: Settings that could not be compared, each with the reason.
        step: The comparison of the first step of training, `None` if you did not ask for it.
        step_left_out: Why the first step of the other model was not compared, empty if it was, or
            there is none.
        environment: The versions and devices that your model was called with.
        environment_there: Those of the other model, `None` if they are not known.
    """

    rows: list[OutputRow]
    first: OutputRow | None
    between: Stretch | None
    reasons: list[str]
    unmatched: list[str]
    settings: Sequence[SettingDifference] = ()
    settings_not_compared: Sequence[str] = ()
    step: StepReport | None = None
    step_left_out: str = ""
    is_inside: bool = False
    environment: Environment | None = None
    environment_there: Environment | None = None

    @property
    def problems(self) -> list[Any]:
        """The rows that differ, the model's row unless it is proven equal, and the first step's.

        Settings that may change outputs count. Those of training count with the first step.
        """
        problems: list[Any] = []
        for row in self.rows:
            if row.status == "differs" or (row.is_model and not row.is_whole):
                problems.append(row)
        problems += [Problem(row.name, row.text) for row in self._select_settings("any")]
        if self.step is not None:
            problems += self.step.problems
        return problems

    def _select_settings(self, scope: str) -> list[SettingDifference]:
        """Select the settings that differ, of one scope, see `SettingDifference`."""
        return [difference for difference in self.settings if difference.scope == scope]

    def _describe_settings(self, scope: str) -> list[str]:
        """Describe the settings that differ, of one scope, each with the layers that have it."""
        groups = group_names((row.text, row.name) for row in self._select_settings(scope))
        return [f"{text} ({truncate(names)})" for text, names in groups.items()]

    @property
    def summary(self) -> str:
        """The result in one sentence, the tolerances in another, and the first step in a third."""
        sentences = [self._summarize_outputs(), *self._summarize_settings()]
        sentences += self._explain_missing_step() if self.step is None else [self.step.summary]
        return " ".join(sentences)

    def _summarize_settings(self) -> list[str]:
        sentences = []
        for scope, words in _SCOPES.items():
            texts = self._describe_settings(scope)
            # The step says which settings make later steps differ.
            is_said = scope == "training" and self.step is not None and not self.step.obstacle
            if texts and not is_said:
                sentences.append(f"{words}: {'; '.join(texts)}.")
        return sentences

    def _explain_missing_step(self) -> list[str]:
        if not self.step_left_out:
            return []
        return [f"The first step of `like` was not compared: {self.step_left_out}."]

    def _summarize_outputs(self) -> str:
        text = f"{self._count_statuses()}; the outputs of the model {self._describe_model()}. "
        tolerances: dict[str, float] = {}
        for row in self.rows:
            if row.outputs is not None:
                tolerances[row.dtype] = max(row.tolerance, tolerances.get(row.dtype, 0.0))
        tolerances_in_words = [
            f"{format_number(value)} in {dtype}" for dtype, value in tolerances.items()
        ]
        text += f"Tolerance: {', '.join(tolerances_in_words)}"
        if not tolerances.keys().isdisjoint(("bfloat16", "float16")):
            text += ". Remedy: compare in float32 to see smaller differences"
        return f"{text}."

    def _count_statuses(self) -> str:
        """Count the calls by their statuses."""
        counts = Counter(row.status for row in self.rows)
        compared = len(self.rows) - counts["not compared"]
        text = f"{compared} of {format_count(len(self.rows), 'call')} compared"
        if counts["equal"] == compared:
            return f"{text}, all equal"
        counts_in_words = [
            f"{counts[status]} {word}" for status, word in _WORDS.items() if counts[status]
        ]
        return f"{text}: {', '.join(counts_in_words)}"

    @property
    def _main_problem(self) -> str:
        """The main problem, in a few words."""
        if self.first is None:
            settings = self._describe_settings("any")
            if settings:
                return f"The outputs of the model {self._describe_model()}; {'; '.join(settings)}."
            if self.step is not None and not self.step.ok:
                return self.step.summary
            return f"The outputs of the model {self._describe_model()}."
        count = sum(row.status == "differs" for row in self.rows)
        calls = format_count(count, "call")
        return f"The outputs of {calls} differ, beginning with {self.first.name}."

    def _describe_model(self) -> str:
        rows = [row for row in self.rows if row.is_model]
        if any(row.status == "differs" for row in rows):
            return "differ"
        if all(row.is_whole for row in rows):
            return "are equal"
        if rows[-1].status == "not compared":
            return f"were not compared ({rows[-1].detail})"
        return f"are not known to be equal ({rows[-1].detail})"

    def _describe_first_difference(self, *, has_reasons: bool = True) -> list[str]:
        """Describe the first difference, where to look for its cause, and what differs there."""
        if self.first is None or self.between is None:
            return []
        lines = [f"First difference: {self.first}."]
        is_small = self.first.dtype == "float32" and (self.first.outputs or 0.0) < _SMALL
        if is_small and not self.reasons:
            lines.append(
                "This may be rounding. Remedy: compare models in float64 on both sides; Keras "
                "computes them on TensorFlow only."
            )
        lines.append(_describe_place(self.first, self.between, has_equal_inputs=self.is_inside))
        if self.reasons and has_reasons:
            lines.append(f"What differs in {self.first.name}: {join_clauses(*self.reasons)}.")
        return lines

    def _list_other_settings(self, scopes: Collection[str] | None = None) -> list[str]:
        """List the settings that differ in other rows, each with the rows that have it.

        Args:
            scopes: Their scopes, `None` for all.
        """
        head = "Configured differently"
        if self.first is None:
            head = "Equal for this batch, but configured differently"
        heads = {
            "any": head,
            "training": "Differs in training",
            "one framework": "In one framework alone",
            "loss": "In Keras alone",
        }
        statements = []
        for row in self.settings:
            is_told = bool({row.text, str(row)} & set(self.reasons))
            if self.first is not None and row.path == self.first.name:
                is_told = True
            if not is_told and (scopes is None or row.scope in scopes):
                statements.append((f"{heads.get(row.scope, head)}: {row.text}", row.name))
        groups = group_names(statements).items()
        return [f"{text} ({truncate(names)})." for text, names in groups]

    def _list_settings_not_compared(self) -> list[str]:
        texts = list(dict.fromkeys(self.settings_not_compared))
        return [f"Settings not compared: {truncate(texts, '; ')}."] if texts else []

    def _list_not_compared(self) -> list[str]:
        """List the calls that were not compared, or prove nothing, by the reasons."""
        statements = []
        for status in ("not known", "not compared"):
            for row in self.rows:
                if row.status == status:
                    statements.append((f"{status.capitalize()}, {row.detail}", row.name))
        for name in self.unmatched:
            statements.append(("Not compared, only in the other model", name))
        groups = group_names(statements).items()
        return [f"{statement}: {truncate(names)}." for statement, names in groups]

    def _rows(self) -> list[OutputRow]:
        if self.first is None or self.between is None:
            return []
        near = (*self.between.after, self.first.name)
        return [row for row in self.rows if row.name in near or row.is_model]

    def _columns(self) -> list[Column[OutputRow]]:
        return [
            Column("layer", lambda row: row.name, is_text=True),
            Column("like", _counterpart_name, is_text=True, is_optional=True),
            Column("inputs differ", lambda row: format_cell(row.inputs)),
            Column("outputs differ", lambda row: format_cell(row.outputs)),
            Column("tolerance", _format_tolerance),
            Column("", _format_status, is_text=True),
        ]

    def _below(self) -> list[str]:
        lines = [
            *self._describe_first_difference(),
            *self._list_other_settings(),
            *self._list_settings_not_compared(),
            *self._list_not_compared(),
        ]
        for row in self.rows:
            if row.is_model and " with " in row.detail:
                lines.append(f"{row.name} was compared by {row.detail}.")
        lines += [self._summarize_outputs(), *self._explain_missing_step()]
        width = line_width()
        filled = [textwrap.fill(line, width, break_on_hyphens=False) for line in lines]
        if self.step is not None:
            filled += ["", *self.step.text_lines(width)]
        return ["", *filled]

    def _versions(self) -> str:
        if self.environment is None:
            return super()._versions()
        there = self.environment_there
        versions_there = "versions that are not known" if there is None else there
        return f"here with {self.environment}; there with {versions_there}"

    def _own_content(self) -> dict[str, Any]:
        between = None
        here, there = self.environment, self.environment_there
        if self.between is not None:
            between = dict(zip(("after", "here", "there"), self.between, strict=True))
        return {
            "between": between,
            "is_inside": self.is_inside,
            "reasons": self.reasons,
            "unmatched": self.unmatched,
            "settings": [vars(difference) for difference in self.settings],
            "settings_not_compared": list(self.settings_not_compared),
            "step_left_out": self.step_left_out,
            "environment": None if here is None else here.as_content(),
            "environment_there": None if there is None else there.as_content(),
            "step": None if self.step is None else self.step._content(),
        }

    def _figure(self) -> "Figure":
        groups: dict[str, dict[int, float]] = {name: {} for name in ("tolerance", *_WORDS)}
        for index, row in enumerate(self.rows):
            if row.outputs is not None:
                groups[row.status][index] = row.outputs
                groups["tolerance"][index] = row.tolerance
        colors = {"tolerance": PALE_BLUE, "equal": BLUE, "differs": RED, "not known": COLORS[4]}
        points = {name: Points(values, colors[name]) for name, values in groups.items()}
        panels = {"difference": points}
        return plot_in_order([row.name for row in self.rows], panels, of="layer")


def _describe_place(first: OutputRow, between: Stretch, *, has_equal_inputs: bool) -> str:
    """Describe where to look for the cause of the first difference: in a call, or between two."""
    if has_equal_inputs:
        text = f"It arises in {first.name}, whose inputs are equal"
    else:
        before = f"{truncate(between.after)} (equal)" if between.after else "the model's inputs"
        inputs = "inputs differ" if first.inputs_differ else "inputs are not known to be equal"
        text = f"It arises between {before} and {first.name} (its {inputs})"
    places = []
    for names, side in ((between.here, "here"), (between.there, "there")):
        if len(names) > _MOST_SUSPECTS:
            places.append(f"in one of {len(names)} calls {side}")
        elif names:
            places.append(f"in {join_names(names)} {side}")
    return f"{text}: {', '.join(places)}." if places else f"{text}."


def _format_tolerance(row: OutputRow) -> str:
    return "" if row.outputs is None else format_cell(row.tolerance)


def _format_status(row: OutputRow) -> str:
    if row.detail:
        return f"{row.status}: {row.detail}"
    return row.status


def _counterpart_name(row: OutputRow) -> str:
    return "" if row.like == row.path else row.like
