"""The result of `port_report`."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from keras_initx._checks import truncate
from keras_initx._signatures import shorten_signature
from keras_initx.inspection._environment import Environment
from keras_initx.report._export import paragraphs
from keras_initx.report._markdown import bullets, fold
from keras_initx.report._results import Judgement, Problem, Tabular
from keras_initx.report._table import Column, Row, Table, drop_empty_columns
from keras_initx.report._terminal import line_width
from keras_initx.report._text import format_count, format_number
from keras_initx.tools.compare_outputs._outputs_report import OutputsReport
from keras_initx.tools.compare_outputs._step_report import DONE_DIFFERENTLY, WITHOUT_OPTIMIZERS
from keras_initx.tools.load_pretrained._load_pretrained import suggest_names
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
        status: `"equal"`, `"explained"` if it is equal but for what torch and Keras do differently,
            `"differs"`, `"not known"`, `"not compared"`, or `"measured"`, which does not count.
        detail: The compared things, or why nothing was compared.
        evidence: The largest difference, `None` for the other checks.
    """

    path: str
    status: str
    detail: str
    evidence: float | None = None

    @property
    def _result(self) -> str:
        """The status, or the number that was measured, in words."""
        return self.status if self.evidence is None else format_number(self.evidence)

    @property
    def text(self) -> str:
        """The check, in words."""
        return f"{self.path}: {self._result}. {self.detail}"


class PortSide(NamedTuple):
    """One side of a port.

    Attributes:
        name: The name of the model, or of the class of the module.
        environment: The versions and devices that it ran with.
    """

    name: str
    environment: Environment


@shorten_signature
@dataclass(frozen=True, eq=False, repr=False)
class PortReport(Tabular[PortCheck], Judgement):
    """The result of `port_report`, in the form of all results.

    `print` shows you the verdict, the checks, and where to look if the port is wrong. `to_markdown`
    returns the same for your pull request, with details, all weights and all calls in sections that
    fold. CSV has the checks, JSON has everything.

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
    def summary(self) -> str:
        """Whether your port is equal to its source. If not, this sentence names the next fix."""
        return f"{self._verdict().removesuffix('.')}."

    def _wrong_weights(self) -> list[PortedWeight]:
        """List the weights that are not proven to be equal, first those without an array."""
        wrong: list[PortedWeight] = []
        for status in ("not loaded", "differs", "not compared"):
            wrong += [row for row in self.weights.rows if row.status == status]
        return wrong

    def _verdict(self) -> str:
        wrong = self._wrong_weights()
        if wrong:
            first = wrong[0]
            same = sum(row.status == first.status for row in wrong)
            reason = f" ({first.detail})" if first.detail else ""
            text = f"{format_count(same, 'weight')} {first.status}, first {first.path}{reason}"
            if first.status == "differs":
                text = f"{format_count(same, 'weight')} with other values, first {first.text}"
            if all(row.status == "not loaded" for row in self.weights.rows):
                text += suggest_names(
                    {row.path: row.shape for row in self.weights.rows}, self.weights.unused
                )
            return _describe_verdict(text, is_known=first.status != "not compared")
        if self.outputs.first is not None:
            text = self._outputs_without_step()._main_problem.removesuffix(".")
            reasons = f" ({'; '.join(self.outputs.reasons)})" if self.outputs.reasons else ""
            return _describe_verdict(f"{text[:1].lower()}{text[1:]}{reasons}")
        settings = self.outputs._describe_settings("any")
        if settings:
            return _describe_verdict("; ".join(settings))
        if not self._outputs_without_step().ok:
            return _describe_verdict(self._outputs_without_step()._main_problem, is_known=False)
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
            if masks and step.loss.status == "differs":
                text = f"{text}; {'; '.join(masks)}"
            return _describe_verdict(text, is_known=self._step_differs())
        if step is not None and step.explanations:
            explanations = "; ".join(step.explanations)
            return f"The port is equal but for {DONE_DIFFERENTLY}: {explanations}"
        equal = [row.path for row in self.rows if row.status == "equal"]
        return f"The port is equal: {', '.join(equal)}"

    def _describe_circumstances(self) -> list[str]:
        """Write the end of the verdict: that dropout was off, and settings that differ."""
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
        in_training = ties[:1]
        if len(ties) > 1:
            in_training.append(
                f"the same holds for {format_count(len(ties) - 1, 'parameter')} more"
            )
        # A step that is equal says which settings make later ones differ.
        if step is None or step.obstacle or any(step._differing()):
            in_training += self.outputs._describe_settings("training")
        if in_training:
            clauses.append(f"in training these differ: {'; '.join(in_training)}")
        return clauses

    def _outputs_without_step(self) -> OutputsReport:
        return replace(self.outputs, step=None, step_left_out="")

    def _check_of_weights(self) -> PortCheck:
        counts = Counter(row.status for row in self.weights.rows)
        texts = [f"{counts['equal']} of {format_count(len(self.weights.rows), 'weight')} equal"]
        for status in ("differs", "not loaded", "not compared", "left out"):
            if counts[status]:
                texts.append(f"{counts[status]} {'different' if status == 'differs' else status}")
        if self.weights.unused:
            texts.append(f"{format_count(len(self.weights.unused), 'array')} for no weight")
        status = "equal" if counts["equal"] else "not known"
        if counts["differs"] or counts["not loaded"]:
            status = "differs"
        elif counts["not compared"]:
            status = "not known"
        return PortCheck("weights", status, f"{', '.join(texts)}.")

    def _check_of_outputs(self) -> PortCheck:
        outputs = self._outputs_without_step()
        status = "equal" if outputs.ok else "not known"
        differs = any(row.status == "differs" for row in outputs.rows)
        if differs or outputs._select_settings("any"):
            status = "differs"
        return PortCheck("outputs", status, f"{outputs._count_statuses()}.")

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
            "measured",
            f"{text}: {' and '.join(places)}.",
            worst.largest_difference,
        )

    def _check_of_step(self) -> PortCheck:
        step = self.outputs.step
        if step is None:
            return PortCheck(
                "loss and gradients",
                "not compared",
                "Pass targets and the loss of the module.",
            )
        if step.obstacle:
            return PortCheck("loss and gradients", "not compared", step.summary)
        status = "not known"
        if self._step_differs():
            status = "differs"
        elif step.ok:
            status = "explained" if step.explanations else "equal"
        return PortCheck("loss and gradients", status, f"{'; '.join(step._describe_shortly())}.")

    def _step_differs(self) -> bool:
        """Return whether the first step or a later one differs, and not only lacks a comparison."""
        step = self.outputs.step
        if step is None or step.obstacle:
            return False
        return any(step._differing()) or bool(step.later)

    def _columns(self) -> list[Column[PortCheck]]:
        return [
            Column("check", lambda row: row.path, is_text=True),
            Column("result", lambda row: row._result, is_text=True),
            Column("", lambda row: row.detail, is_text=True),
        ]

    def __str__(self) -> str:
        lines = [self.summary]
        lines += [f"- {row.text}" for row in self.rows]
        lines += [*self._list_next_steps(), *self._count_not_compared()]
        return "\n".join(map(_wrap, lines))

    def _list_next_steps(self) -> list[str]:
        """List what to look at next: the wrong weights, the first difference, other settings."""
        wrong = self._wrong_weights()
        # The verdict has the first.
        lines = [f"{row.text}." for row in wrong[1:_SHOWN]]
        if len(wrong) > _SHOWN:
            lines.append(f"And {len(wrong) - _SHOWN} more weights.")
        outputs = self._outputs_without_step()
        lines += outputs._describe_first_difference(has_reasons=bool(wrong))
        # The verdict of equal outputs has the others.
        scopes = None if wrong or outputs.first is not None else ("one framework", "loss")
        settings = outputs._list_other_settings(scopes)
        lines += settings[:_SHOWN]
        if len(settings) > _SHOWN:
            lines.append(f"And {len(settings) - _SHOWN} more settings.")
        return lines

    def _count_not_compared(self) -> list[str]:
        """Count what was not compared, and say where all of it is listed."""
        step = self.outputs.step
        calls = [row for row in self.outputs.rows if row.status in ("not known", "not compared")]
        counts = []
        if calls:
            counts.append(format_count(len(calls), "call"))
        if self.outputs.unmatched:
            counts.append(f"{format_count(len(self.outputs.unmatched), 'call')} of the module")
        if self.outputs.settings_not_compared:
            counts.append("some settings")
        if step is not None and not step.obstacle:
            weights = [row for row in step.rows if row.status == "not compared"]
            if weights:
                counts.append(f"gradients of {format_count(len(weights), 'weight')}")
        lines = ["All weights and calls: `report.to_markdown()`."]
        if counts:
            lines = [f"Not compared: {', '.join(counts)}, see `report.to_markdown()`."]
        if step is not None and not step.has_optimizers:
            lines.append(WITHOUT_OPTIMIZERS)
        return lines

    def _list_details(self) -> list[str]:
        """List what is left out of the text: how weights were loaded, what was not compared."""
        paths: dict[str, list[str]] = {}
        for row in self.weights.rows:
            if row.status == "left out":
                paths.setdefault(f"Left out, {row.detail}", []).append(row.path)
            elif row.status == "equal" and row.detail not in ("", "transposed"):
                detail = f"{row.detail[:1].upper()}{row.detail[1:]}"
                paths.setdefault(detail, []).append(row.path)
        lines = [f"{detail}: {truncate(names)}." for detail, names in paths.items()]
        if self.weights.unused:
            arrays = [f"{name} {shape}" for name, shape in self.weights.unused.items()]
            lines.append(f"Arrays of the module for no weight: {truncate(arrays)}.")
        for tie in self.weights.ties:
            lines.append(f"{tie.text}.")
        outputs = self._outputs_without_step()
        return [
            *lines,
            *self.weights.notes,
            *outputs._list_other_settings(),
            *outputs._list_settings_not_compared(),
            *outputs._list_not_compared(),
            outputs.summary,
        ]

    def _title(self) -> str:
        return self.summary

    def _headline(self) -> str:
        return f": {self.summary}"

    def _repr_html_(self) -> str:
        lines = [*self._list_next_steps(), *self._count_not_compared()]
        table = Table.of(self._columns(), self.rows).as_html()
        details = [paragraphs(self._list_details())]
        if self.outputs.first is not None:
            details.append(self._outputs_without_step()._repr_html_())
        if self.outputs.step is not None:
            details.append(self.outputs.step._repr_html_())
        return "".join([paragraphs([self.summary]), table, paragraphs(lines), *details])

    def _markdown_blocks(self) -> list[str]:
        blocks = [self._table_of_sides(), _format_table(self._columns(), self.rows)]
        if self._list_next_steps():
            blocks.append(bullets(self._list_next_steps()))
        blocks.append(fold("Details", bullets(self._list_details())))
        if self.outputs.step is not None:
            blocks.append(fold("First step", *self.outputs.step._markdown_blocks()))
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

    def _own_content(self) -> dict[str, Any]:
        environments = {}
        for name, side in (("model", self.model), ("module", self.module)):
            environments[name] = {"name": side.name, **side.environment.as_content()}
        return {
            "sides": environments,
            "counts": [vars(count) for count in self.weights.counts],
            "weights": [vars(row) for row in self.weights.rows],
            "unused": self.weights.unused,
            "ties": [vars(tie) for tie in self.weights.ties],
            "notes": self.weights.notes,
            "agreements": [vars(agreement) for agreement in self.agreements],
            "outputs": self.outputs._content(),
        }


# Of weights or settings that differ, the text has so many.
_SHOWN = 3
_COLUMNS_OF_WEIGHTS: list[Column[PortedWeight]] = [
    Column("weight", lambda row: row.path, is_text=True),
    Column("shape", lambda row: row.shape),
    Column("array", lambda row: " + ".join(row.sources), is_text=True),
    Column("status", lambda row: row.status, is_text=True),
    Column("detail", lambda row: row.cause or row.detail, is_text=True),
]


def _describe_verdict(text: str, *, is_known: bool = True) -> str:
    outcome = "differs" if is_known else "is not known to be equal"
    return f"The port {outcome}: {text}"


def _format_limit(limit: float) -> str:
    return f"{limit:.0e}".replace("e-0", "e-")


def _format_versions(environment: Environment) -> str:
    return ", ".join(f"{name} {version}" for name, version in environment.versions.items())


def _wrap(line: str) -> str:
    return textwrap.fill(line, line_width(), subsequent_indent="  ", break_on_hyphens=False)


def _format_table(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> str:
    return Table.of(drop_empty_columns(columns, rows), rows).as_markdown().rstrip()
