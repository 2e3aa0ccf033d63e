"""The report of `diagnose`, and its views: data, text, and HTML for a notebook."""

import dataclasses
import html
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_initx._checks import check_choice, truncate
from keras_initx._extras import import_optional
from keras_initx._received import show
from keras_initx._typing import InitializerLike
from keras_initx.initializers._as_ours import check_initializer
from keras_initx.initializers._description import description
from keras_initx.inspection._weights import ModelWeight, is_frozen
from keras_initx.recipes._weight_rules import Left, WeightRules
from keras_initx.report._export import folding
from keras_initx.report._results import Judgement, Tabular
from keras_initx.report._table import Column, Table, drop_empty_columns, legend
from keras_initx.report._text import format_count, format_number, join_names
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._layer_report import LayerReport
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, measured_layers
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import LEVELS, Level, Verdict
from keras_initx.tools.diagnose._signal import Signal
from keras_initx.tools.diagnose._signal_probe import input_signal
from keras_initx.tools.diagnose._steps import steps_taken

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DiagnosisReport(Judgement, Tabular[LayerReport]):
    """The result of `diagnose`: statistics of each layer of your model, verdicts and remedies.

    Print it to see the table and the verdicts. `plot` shows the standard deviation of each layer,
    the norm of its gradient if it was measured, and histograms of layers with a problem. `to_csv`
    has a row for each layer.

    Attributes:
        rows: A `LayerReport` for each layer that has weights or an activation, in the order of
            their outputs.
        inputs: `Signal` of the inputs, or `None` if they are integers.
        verdicts: A list of `Verdict`, causes before effects, notes last.
        losses: The loss before each of the `steps` and after the last. It is empty without steps,
            and ends with the first loss that is not finite.

    See Also:
        `diagnose` returns it, and `initialize` applies its remedies.
    """

    rows: list[LayerReport]
    inputs: Signal | None
    verdicts: list[Verdict]
    losses: Sequence[float] = ()

    @property
    def problems(self) -> list[Verdict]:
        """The verdicts that are errors or warnings."""
        return [verdict for verdict in self.verdicts if verdict.level != "note"]

    @property
    def remedies(self) -> list[Remedy]:
        """The remedies of the problems, causes before effects."""
        return [verdict.remedy for verdict in self.problems]

    def fails_on(self, level: Level) -> bool:
        """Return whether there is a verdict of `level` or higher.

        Args:
            level: `"error"`, `"warning"` or `"note"`.

        Raises:
            ValueError: If `level` is another value.
        """
        check_choice("level", level, LEVELS)
        serious = LEVELS[: LEVELS.index(level) + 1]
        return any(verdict.level in serious for verdict in self.verdicts)

    def instructions(self, weights: Sequence[ModelWeight]) -> WeightRules:
        """Return instructions for `initialize(model, report)`: the first remedy with new weights.

        Args:
            weights: All weights of your model, in the order of its layers.

        Raises:
            ValueError: If your model has other layers than the report.
        """
        _check_measured(weights, self)
        rules: dict[str, InitializerLike] = {}
        notes = []
        notes_to_apply = [
            verdict
            for verdict in self.verdicts
            if verdict.level == "note" and verdict.remedy.is_safe
        ]
        for verdict in (*self.problems, *notes_to_apply):
            remedy = verdict.remedy
            if not remedy.weights:
                notes.append(f"Left to you, for {verdict.problem!r}: {remedy}.")
            elif rules:
                notes.append(f"For the next diagnosis, if it finds {verdict.problem!r}: {remedy}.")
            else:
                rules.update(remedy.weights)
                notes.append(f"Applied, for {verdict.problem!r}: {_describe_rules(rules)}.")
        if not rules:
            reason = "no remedy has rules" if notes else "the report has no problem"
            notes.insert(0, f"Nothing is applied: {reason}.")
        by_path: dict[str, InitializerLike | Left] = {}
        for weight in weights:
            reason = "frozen" if is_frozen(weight) else "in no remedy"
            by_path[weight.path] = rules.get(weight.path, Left(reason, is_final=True))
        return WeightRules(by_path, tuple(notes))

    def _own_content(self) -> dict[str, Any]:
        verdicts = []
        for verdict in self.verdicts:
            verdicts.append({**vars(verdict), "remedy": str(verdict.remedy)})
        return {
            "verdicts": verdicts,
            "inputs": _convert_signal(self.inputs),
            "losses": list(self.losses),
        }

    def _json_rows(self) -> list[dict[str, Any]]:
        rows = []
        for layer in self.rows:
            rows.append({name: _convert_to_data(getattr(layer, name)) for name in _MEASURES})
        return rows

    def _records(self) -> list[dict[str, Any]]:
        return [_flatten_measures(row) for row in self._json_rows()]

    def _figure(self) -> "Figure":
        import_optional("matplotlib", "plot")
        from keras_initx.tools.diagnose._plot import plot_layers

        return plot_layers(self.rows)

    @property
    def _finding(self) -> str:
        """The number of problems as a sentence."""
        if self.ok:
            return "No problem found."
        return f"{format_count(len(self.problems), 'problem')} found."

    @property
    def summary(self) -> str:
        """The number of problems, and the course of the loss, as sentences."""
        if not self.losses:
            return self._finding
        first, last = (format_number(self.losses[index]) for index in (0, -1))
        steps = format_count(len(self.losses) - 1, "step")
        return f"{self._finding} The loss goes from {first} to {last} in {steps}."

    def _headline(self) -> str:
        finding = self._finding.removesuffix(".").lower()
        return f" of {len(self.rows)} layers: {finding}"

    def _title(self) -> str:
        return f"Diagnosis{self._headline()}"

    def _below(self) -> list[str]:
        lines = ["", self.summary]
        for verdict in self.verdicts:
            lines += ["", str(verdict)]
        return lines

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{self.summary}</b></p>"]
        for verdict in self.verdicts:
            (title, evidence), (_, remedy) = verdict.paragraphs()
            lines = [html.escape(evidence), f"Remedy: {html.escape(remedy)}"]
            parts.append(folding(title, "".join(f"<p>{line}</p>" for line in lines)))
        table = Table.of(drop_empty_columns(self._columns(), self.rows), self.rows).as_html()
        heading = format_count(len(self.rows), "layer")
        parts.append(folding(heading, table, is_open=len(self.rows) <= _MOST_OPEN))
        return "".join(parts)

    def _legend(self) -> list[str]:
        mark = "!: a layer with a problem."
        return [f"{mark} {legend(drop_empty_columns(self._columns(), self.rows))}"]

    def _columns(self) -> list[Column[LayerReport]]:
        def marked_title(layer: LayerReport) -> str:
            mark = "!" if layer.has_problem else " "
            return f"{mark} {layer.title}"

        return [Column("  layer", marked_title, is_text=True, is_name=True), *_COLUMNS]


def _check_measured(weights: Sequence[ModelWeight], report: DiagnosisReport) -> None:
    """Raise `ValueError` if the report is about a model with other layers."""
    measured = set()
    for layer in report.rows:
        for row in layer.weights:
            measured.add(_parent_path(row.path))
    layers = set()
    others = set()  # which a report may lack: it has no statistics of single numbers
    for weight in weights:
        if weight.shape or weight.variable.trainable:
            layers.add(_parent_path(weight.path))
        else:
            others.add(_parent_path(weight.path))
    problems = [f"the model has no {path!r}" for path in sorted(measured - layers - others)]
    problems += [f"the report has no {path!r}" for path in sorted(layers - measured)]
    if problems:
        raise ValueError(
            "`rules` must be a report of a model with the layers of `model`. "
            f"Received: rules={show(report)}; {truncate(problems, '; ')}"
        )


def _parent_path(path: str) -> str:
    layer, _, _ = path.rpartition("/")
    return layer


def _describe_rules(rules: Mapping[str, InitializerLike]) -> str:
    """Describe rules: `"HeNormal() in 3 weights"`."""
    counts: Counter[str] = Counter()
    for initializer in rules.values():
        counts[description(check_initializer("rules", initializer))] += 1
    return join_names(
        [f"{text} in {format_count(count, 'weight')}" for text, count in counts.items()]
    )


def make_report(diagnosis: Diagnosis, verdicts: list[Verdict]) -> DiagnosisReport:
    rows = [_make_layer_report(layer, verdicts) for layer in measured_layers(diagnosis)]
    taken = steps_taken(diagnosis)
    return DiagnosisReport(
        rows, input_signal(diagnosis), verdicts, [] if taken is None else list(taken.losses)
    )


def _make_layer_report(layer: MeasuredLayer, verdicts: Sequence[Verdict]) -> LayerReport:
    of_layer = [verdict for verdict in verdicts if layer.name in verdict.layers]
    levels = [verdict.level for verdict in of_layer]
    return LayerReport(
        name=layer.name,
        path=layer.path,
        status=min(levels, key=LEVELS.index, default="ok"),
        detail=", ".join(dict.fromkeys(verdict.problem for verdict in of_layer)),
        title=layer.title,
        kind=layer.kind,
        activation=layer.activation,
        shape=layer.shape,
        before=layer.before,
        after=layer.after,
        signal=layer.signal,
        saturated=layer.saturated,
        dead=layer.dead,
        gradient=layer.gradient,
        gain=layer.gain,
        weights=[weight.report for weight in layer.weights],
    )


_STATISTICS = ("size", "mean", "std", "min", "max", "zeros", "nonfinite")
# Attributes of a layer that the JSON has.
_MEASURES = (
    "path",
    "status",
    "detail",
    "name",
    "kind",
    "activation",
    "shape",
    "before",
    "after",
    "gradient",
    "weights",
    "saturated",
    "dead",
    "gain",
)
# Measures that a layer may lack. In a CSV, each of their numbers has a column: `after_std`.
_NUMBERS = {"before": _STATISTICS, "after": _STATISTICS, "gradient": ("norm", "ratio")}


def _flatten_measures(layer: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a layer in the CSV. All layers have the same columns."""
    row: dict[str, Any] = {}
    for name, value in layer.items():
        if name in _NUMBERS:
            for number in _NUMBERS[name]:
                row[f"{name}_{number}"] = (value or {}).get(number)
        elif name != "weights":
            row[name] = value
    return row


def _convert_to_data(value: Any) -> Any:
    """Convert a measurement to dicts, lists, strings and numbers."""
    if isinstance(value, Signal):
        return _convert_signal(value)
    if isinstance(value, list):
        return [_convert_to_data(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {name: _convert_to_data(field) for name, field in vars(value).items()}
    return value


def _convert_signal(signal: Signal | None) -> dict[str, Any] | None:
    if signal is None:
        return None
    data: dict[str, Any] = {name: getattr(signal, name) for name in _STATISTICS}
    data["histogram"] = {"edges": signal.edges.tolist(), "counts": signal.counts.tolist()}
    return data


def _format_share(value: float) -> str:
    """Format a percentage that is 0% or 100% only if that is exact."""
    if value in (0, 1) or 0.01 <= value <= 0.99:
        return f"{value:.0%}"
    if value < 0.5:
        return "<1%"
    return ">99%"


def _make_column(
    header: str,
    value: Callable[[LayerReport], Any],
    note: str,
    write: Callable[[Any], str] = format_number,
) -> Column[LayerReport]:
    """Return a column that formats `value` with `write`, and is empty for `None`."""

    def cell(layer: LayerReport) -> str:
        measurement = value(layer)
        if measurement is None:
            return ""
        return write(measurement)

    return Column(header, cell, note=note, is_optional=header not in _ALWAYS)


_ALWAYS = {"activation", "std", "sat.", "dead", "gradient"}  # also in a narrow table
_COLUMNS = (
    _make_column("activation", lambda layer: layer.activation, "", str),
    _make_column(
        "before",
        lambda layer: layer.before.std if layer.before else None,
        "standard deviation before the activation",
    ),
    _make_column(
        "mean", lambda layer: layer.after.mean if layer.after else None, "mean of the outputs"
    ),
    _make_column(
        "std",
        lambda layer: layer.after.std if layer.after else None,
        "standard deviation of the outputs",
    ),
    _make_column(
        "zeros",
        lambda layer: layer.after.zeros if layer.after else None,
        "share of outputs that are 0",
        _format_share,
    ),
    _make_column(
        "sat.",
        lambda layer: layer.saturated,
        "share of outputs near a limit of the activation",
        _format_share,
    ),
    _make_column(
        "dead",
        lambda layer: layer.dead,
        "share of units that are 0 for all examples",
        _format_share,
    ),
    _make_column(
        "gain",
        lambda layer: layer.gain,
        "factor by which the kernel scales its inputs, std * sqrt(fan-in)",
    ),
    _make_column(
        "gradient",
        lambda layer: layer.gradient.norm if layer.gradient else None,
        "norm of the gradient of the weights",
    ),
    _make_column(
        "ratio",
        lambda layer: layer.gradient.ratio if layer.gradient else None,
        "that norm over the norm of the weights",
    ),
)
_MOST_OPEN = 30  # layers in a table that a page shows at once
