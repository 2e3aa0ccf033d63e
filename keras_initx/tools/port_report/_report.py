"""The result of `port_report`."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from keras_initx._checks import summarize_names, truncate
from keras_initx.inspection._environment import Environment
from keras_initx.report._export import paragraphs
from keras_initx.report._markdown import bullets, fold
from keras_initx.report._results import Judgement, Problem, Tabular
from keras_initx.report._table import Column, Row, Table, columns_with_values
from keras_initx.report._terminal import line_width
from keras_initx.report._text import format_count, format_number
from keras_initx.tools.compare_outputs._outputs_report import OutputsReport
from keras_initx.tools.compare_outputs._step_report import DONE_DIFFERENTLY, StepReport
from keras_initx.tools.port_report._agreement import OutputAgreement
from keras_initx.tools.port_report._ported_weights import PortedWeight, PortedWeights

# Below one of these absolute differences reviewers of ports take outputs for equal.
_LIMITS = (1e-3, 1e-4)
# GitHub takes 65,536 characters in the text of a pull request.
_MOST_CHARACTERS = 60_000


@dataclass(frozen=True)
class PortCheck:
    """A check of a port.

    Attributes:
        path: The name of the check: `"weights"`, `"outputs"`, `"largest difference"` or `"loss and
            gradients"`.
        answer: `"equal"`, `"explained"` if it is equal but for what torch and Keras do differently,
            `"differs"`, `"not known"` or `"not compared"`; or the largest difference.
        text: The compared things, or why nothing was compared.
    """

    path: str
    answer: str
    text: str


class PortSide(NamedTuple):
    """One side of a port.

    Attributes:
        name: The name of the model, or of the class of the module.
        environment: The versions and devices that it ran with.
    """

    name: str
    environment: Environment


@dataclass(frozen=True, eq=False, repr=False)
class PortReport(Tabular[PortCheck], Judgement):
    """The result of `port_report`, in the form of all results.

    `print` shows you the verdict, the checks and the differences. `to_markdown` returns the same
    for your pull request, with all weights and all calls in sections that fold. CSV has the checks,
    JSON has everything.

    Attributes:
        weights: The comparison of the weights, and the number of parameters on both sides.
        outputs: The comparison of the outputs of layers, and of the loss and gradients.
        agreements: The differences between whole outputs of the model, in absolute numbers.
        model: The model.
        module: The module.
    """

    weights: PortedWeights
    outputs: OutputsReport
    agreements: Sequence[OutputAgreement]
    model: PortSide
    module: PortSide

    @property
    def rows(self) -> list[PortCheck]:
        """A `PortCheck` for each check."""
        return [
            self._check_of_weights(),
            self._check_of_outputs(),
            self._check_of_differences(),
            self._check_of_step(),
        ]

    @property
    def problems(self) -> list[Any]:
        """The problems of weights, outputs and first step. Fix them in this order."""
        problems = [*self._wrong_weights(), *self.outputs.problems]
        step = self.outputs.step
        if step is not None and not step.obstacle:
            problems += [Problem(tie.paths[0], tie.text) for tie in self.weights.ties]
        return problems

    @property
    def verdict(self) -> str:
        """Whether your port is equal to its source. If not, this sentence names the next fix."""
        return f"{self._verdict().removesuffix('.')}."

    @property
    def summary(self) -> str:
        """The same as `verdict`."""
        return self.verdict

    def _wrong_weights(self) -> list[PortedWeight]:
        """Return the weights that are not proven to be equal, first those without an array."""
        wrong: list[PortedWeight] = []
        for answer in ("not loaded", "differs", "not compared"):
            wrong += [row for row in self.weights.rows if row.answer == answer]
        return wrong

    def _verdict(self) -> str:
        wrong = self._wrong_weights()
        if wrong:
            first = wrong[0]
            same = sum(row.answer == first.answer for row in wrong)
            text = (
                f"{format_count(same, 'weight')} {first.answer}, first {first.path} ({first.how})"
            )
            if first.answer == "differs":
                text = f"{format_count(same, 'weight')} with other values, first {first.text}"
            return _describe_verdict(text, is_known=first.answer != "not compared")
        if self.outputs.first is not None:
            text = self._outputs_without_step().headline.removesuffix(".")
            reasons = f" ({'; '.join(self.outputs.reasons)})" if self.outputs.reasons else ""
            return _describe_verdict(f"{text[:1].lower()}{text[1:]}{reasons}")
        settings = self.outputs._describe_settings("any")
        if settings:
            return _describe_verdict("; ".join(settings))
        if not self._outputs_without_step().ok:
            return _describe_verdict(self._outputs_without_step().headline, is_known=False)
        return "; ".join([self._verdict_on_step(), *self._describe_circumstances()])

    def _verdict_on_step(self) -> str:
        step = self.outputs.step
        if step is not None and step.obstacle:
            text = f"{step.summary[:1].lower()}{step.summary[1:]}".removesuffix(".")
            return _describe_verdict(text, is_known=False)
        if step is not None and not step.ok:
            where = "in the first step" if any(step._differing()) else "in later steps"
            text = f"{where}, {step.problems[0].text}"
            masks = self.outputs._describe_settings("loss")
            if masks and step.loss.answer == "differs":
                text = f"{text}; {'; '.join(masks)}"
            return _describe_verdict(text, is_known=self._step_differs())
        if step is not None and step.explanations:
            explanations = "; ".join(step.explanations)
            return f"The port is equal but for {DONE_DIFFERENTLY}: {explanations}"
        equal = [row.path for row in self.rows if row.answer == "equal"]
        return f"The port is equal: {', '.join(equal)}"

    def _describe_circumstances(self) -> list[str]:
        """Return the end of the verdict: that dropout was off, and settings that differ."""
        step = self.outputs.step
        clauses = []
        if step is not None and step.dropout_off:
            clauses.append("dropout was off")
        settings = [
            *self.outputs._describe_settings("every batch"),
            *self.outputs._describe_settings("not known"),
        ]
        if settings:
            clauses.append(f"settings that differ: {'; '.join(settings)}")
        ties = [tie.text for tie in self.weights.ties]
        in_training = [summarize_names(ties, "; ", shown=1)] if ties else []
        # A step that is equal says which settings make later ones differ.
        if step is None or step.obstacle or any(step._differing()):
            in_training += self.outputs._describe_settings("training")
        if in_training:
            clauses.append(f"in training these differ: {'; '.join(in_training)}")
        return clauses

    def _outputs_without_step(self) -> OutputsReport:
        return replace(self.outputs, step=None, step_left_out="")

    def _check_of_weights(self) -> PortCheck:
        counts = Counter(row.answer for row in self.weights.rows)
        texts = [f"{counts['equal']} of {format_count(len(self.weights.rows), 'weight')} equal"]
        for answer in ("differs", "not loaded", "not compared", "left out"):
            if counts[answer]:
                texts.append(f"{counts[answer]} {'different' if answer == 'differs' else answer}")
        if self.weights.unused:
            texts.append(f"{format_count(len(self.weights.unused), 'array')} for no weight")
        answer = "equal" if counts["equal"] else "not known"
        if counts["differs"] or counts["not loaded"]:
            answer = "differs"
        elif counts["not compared"]:
            answer = "not known"
        return PortCheck("weights", answer, f"{', '.join(texts)}.")

    def _check_of_outputs(self) -> PortCheck:
        outputs = self._outputs_without_step()
        answer = "equal" if outputs.ok else "not known"
        differs = any(row.answer == "differs" for row in outputs.rows)
        if differs or outputs._select_settings("any"):
            answer = "differs"
        return PortCheck("outputs", answer, outputs.summary)

    def _check_of_differences(self) -> PortCheck:
        if not self.agreements:
            return PortCheck("largest difference", "not compared", "No output has a counterpart.")
        worst = max(self.agreements, key=lambda output: output.largest_difference)
        below = [limit for limit in _LIMITS if worst.largest_difference < limit]
        above = [limit for limit in _LIMITS if worst.largest_difference >= limit]
        places = [f"below {_format_limit(min(below))}"] if below else []
        places += [f"above {_format_limit(max(above))}"] if above else []
        output = f" of {worst.path}" if len(self.agreements) > 1 else ""
        text = f"Absolute{output}, for values up to {format_number(worst.largest_value)}"
        return PortCheck(
            "largest difference",
            format_number(worst.largest_difference),
            f"{text}: {' and '.join(places)}.",
        )

    def _check_of_step(self) -> PortCheck:
        step = self.outputs.step
        if step is None:
            return PortCheck(
                "loss and gradients",
                "not compared",
                "Pass targets and the loss of the module.",
            )
        answer = "not known"
        if step.obstacle:
            answer = "not compared"
        elif self._step_differs():
            answer = "differs"
        elif step.ok:
            answer = "explained" if step.explanations else "equal"
        return PortCheck("loss and gradients", answer, step.summary)

    def _step_differs(self) -> bool:
        """Return whether the first step or a later one differs, and not only lacks a comparison."""
        step = self.outputs.step
        if step is None or step.obstacle:
            return False
        return any(step._differing()) or bool(step.later)

    def _lines_on_sides(self) -> list[str]:
        lines = []
        for name, side in (("model", self.model), ("module", self.module)):
            lines.append(f"{name}: {side.name}, {side.environment}")
        for count in self.weights.counts:
            if count.model or count.module:
                lines.append(
                    f"{count.kind}: {count.model:,} in the model, {count.module:,} in the module"
                )
        return lines

    def _lines_on_weights(self) -> list[str]:
        lines = [f"{row.text}." for row in self._wrong_weights()[:_SHOWN]]
        left = len(self._wrong_weights()) - _SHOWN
        if left > 0:
            lines.append(f"And {left} more.")
        paths: dict[str, list[str]] = {}
        for row in self.weights.rows:
            if row.answer == "left out":
                paths.setdefault(f"Left out, {row.how}", []).append(row.path)
            elif row.answer == "equal" and row.how not in ("", "transposed"):
                how = f"{row.how[:1].upper()}{row.how[1:]}"
                paths.setdefault(how, []).append(row.path)
        lines += [f"{how}: {truncate(names)}." for how, names in paths.items()]
        if self.weights.unused:
            arrays = [f"{name} {shape}" for name, shape in self.weights.unused.items()]
            lines.append(f"Arrays of the module for no weight: {truncate(arrays)}.")
        return [*lines, *self.weights.notes]

    def _columns(self) -> list[Column[PortCheck]]:
        return [
            Column("check", lambda row: row.path, is_text=True),
            Column("result", lambda row: row.answer, is_text=True),
            Column("", lambda row: row.text, is_text=True),
        ]

    def _above(self) -> list[str]:
        return [_wrap(self.verdict), ""]

    def _below(self) -> list[str]:
        lines = ["", *map(_wrap, self._lines_on_sides())]
        remarks = [*self._lines_on_weights(), *self._lines_on_settings()]
        if remarks:
            lines += ["", *map(_wrap, remarks)]
        for report in self._reports_below():
            lines += ["", str(report)]
        return lines

    def _reports_below(self) -> list[OutputsReport | StepReport]:
        """Return the reports that are shown below this one: on differences and the first step."""
        outputs = self._outputs_without_step()
        reports: list[OutputsReport | StepReport] = [] if outputs.ok else [outputs]
        return reports if self.outputs.step is None else [*reports, self.outputs.step]

    def _repr_html_(self) -> str:
        lines = [*self._lines_on_sides(), *self._lines_on_weights(), *self._lines_on_settings()]
        table = Table.of(self._columns(), self.rows).as_html()
        html_below = [report._repr_html_() for report in self._reports_below()]
        return "".join([paragraphs([self.verdict]), table, paragraphs(lines), *html_below])

    def _lines_on_settings(self) -> list[str]:
        if not self._outputs_without_step().ok:
            return []  # the report on outputs has them
        return self.outputs._list_other_settings()

    def _title(self) -> str:
        return self.verdict

    def _headline(self) -> str:
        return f": {self.verdict}"

    def _markdown_blocks(self) -> list[str]:
        blocks = [self._table_of_sides(), _format_table(self._columns(), self.rows)]
        if self._lines_on_weights():
            blocks += ["### Weights", bullets(self._lines_on_weights())]
        blocks += ["### Outputs", *self._outputs_without_step()._markdown_blocks()]
        if self.outputs.step is not None:
            blocks += ["### First step", *self.outputs.step._markdown_blocks()]
        whole = [
            fold(
                format_count(len(self.weights.rows), "weight"),
                _format_table(_COLUMNS_OF_WEIGHTS, self.weights.rows),
            ),
            fold(
                format_count(len(self.outputs.rows), "call"),
                _format_table(self.outputs._columns(), self.outputs.rows),
            ),
        ]
        if sum(map(len, [*blocks, *whole])) > _MOST_CHARACTERS:
            whole = ["All weights and calls are in the JSON of the report: they do not fit here."]
        return [*blocks, *whole]

    def _table_of_sides(self) -> str:
        sides = (self.model, self.module)
        rows = [
            ("name", *(side.name for side in sides)),
            ("versions", *(_format_versions(side.environment) for side in sides)),
            ("devices", *(", ".join(side.environment.devices) for side in sides)),
        ]
        for count in self.weights.counts:
            if count.model or count.module:
                rows.append((count.kind, f"{count.model:,}", f"{count.module:,}"))
        headers = ("", "model", "module")
        return Table(headers, tuple(rows), (True, True, True)).as_markdown().rstrip()

    def _content(self) -> dict[str, Any]:
        environments = {}
        for name, side in (("model", self.model), ("module", self.module)):
            environments[name] = {"name": side.name, **side.environment.as_content()}
        return {
            "verdict": self.verdict,
            "ok": self.ok,
            "rows": self._records(),
            "sides": environments,
            "counts": [vars(count) for count in self.weights.counts],
            "weights": [vars(row) for row in self.weights.rows],
            "unused": self.weights.unused,
            "ties": [vars(tie) for tie in self.weights.ties],
            "notes": self.weights.notes,
            "agreements": [vars(agreement) for agreement in self.agreements],
            "outputs": self.outputs._content(),
        }


_SHOWN = 20  # weights that differ
_COLUMNS_OF_WEIGHTS: list[Column[PortedWeight]] = [
    Column("weight", lambda row: row.path, is_text=True),
    Column("shape", lambda row: row.shape),
    Column("array", lambda row: " + ".join(row.sources), is_text=True),
    Column("result", lambda row: row.answer, is_text=True),
    Column("how", lambda row: row.cause or row.how, is_text=True),
]


def _describe_verdict(text: str, *, is_known: bool = True) -> str:
    how = "differs" if is_known else "is not known to be equal"
    return f"The port {how}: {text}"


def _format_limit(limit: float) -> str:
    return f"{limit:.0e}".replace("e-0", "e-")


def _format_versions(environment: Environment) -> str:
    return ", ".join(f"{name} {version}" for name, version in environment.versions.items())


def _wrap(line: str) -> str:
    return textwrap.fill(line, line_width(), subsequent_indent="  ", break_on_hyphens=False)


def _format_table(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> str:
    return Table.of(columns_with_values(columns, rows), rows).as_markdown().rstrip()
