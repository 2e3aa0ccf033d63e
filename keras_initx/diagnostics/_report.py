"""The report of `diagnose`: as text, for a terminal and a notebook, as a dict and as CSV."""

import dataclasses
import html
import io
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from keras_initx._checks import check_choice
from keras_initx._extras import import_optional
from keras_initx._typing import Array
from keras_initx.diagnostics._measure import LayerReport
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import LEVELS, Level, Thresholds, Verdict, named_in
from keras_initx.rendering._export import as_csv, as_json, finite
from keras_initx.rendering._table import GAP, Column, Table, text_width
from keras_initx.rendering._terminal import is_rich

if TYPE_CHECKING:
    from rich.console import Group


_STATISTICS = ("size", "mean", "std", "min", "max", "zeros", "nonfinite")
# The nested dicts of a layer become separate columns.
_CSV_COLUMNS = {**dict.fromkeys(("first_inputs", "before", "after"), _STATISTICS), "gate_bias": ("gate", "min", "max")}


def as_dict(report: "Report") -> dict[str, Any]:
    """Return a report as JSON types, without values of single units, and with `None` for infinities and NaN."""
    levels = {level: named_in(one for one in report.verdicts if one.level == level) for level in LEVELS}
    content: dict[str, Any] = finite(
        {
            "ok": report.ok,
            "verdicts": [dataclasses.asdict(verdict) for verdict in report.verdicts],
            "inputs": _signal(report.inputs),
            "layers": [
                # The most serious level of the verdicts on this layer.
                _layer(layer, next((level for level, names in levels.items() if layer.name in names), None))
                for layer in report.layers
            ],
        }
    )
    return content


def _layer(layer: LayerReport, level: str | None) -> dict[str, Any]:
    gate, bias = layer.gate_bias or (None, None)
    return {
        "name": layer.name,
        "level": level,
        "kind": layer.kind,
        "activation": layer.activation,
        "shape": layer.shape,
        "first_inputs": _signal(layer.first_inputs),
        "before": _signal(layer.before),
        "after": _signal(layer.after),
        "saturated": layer.saturated,
        "dead": layer.dead,
        "certain": layer.certain,
        "normalized_by": layer.normalized_by,
        "loses_signal": layer.loses_signal,
        "is_starved": layer.is_starved,
        "is_output": layer.is_output,
        "gain": layer.gain,
        "gradient_norm": layer.gradient_norm,
        "gradient_ratio": layer.gradient_ratio,
        "gate_bias": bias if bias is None else {"gate": gate, "min": float(bias.min()), "max": float(bias.max())},
        "weights": [dataclasses.asdict(weight) for weight in layer.weights],
    }


def _signal(signal: Signal | None) -> dict[str, Any] | None:
    if signal is None:
        return None
    histogram = {"edges": signal.edges.tolist(), "counts": signal.counts.tolist()}
    return {**{name: getattr(signal, name) for name in _STATISTICS}, "histogram": histogram}


def csv_of_layers(report: "Report") -> str:
    """Return a table with a row for each layer."""
    return as_csv(map(_row, as_dict(report)["layers"]))


def _row(layer: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in layer.items():
        if name in _CSV_COLUMNS:
            row |= {f"{name}_{part}": (value or {}).get(part) for part in _CSV_COLUMNS[name]}
        elif name == "shape":
            row[name] = "x".join(map(str, value or ()))
        elif name != "weights":
            row[name] = value
    return row


Value = TypeVar("Value")
_LEAST_NAME = 16


def number(value: float) -> str:
    """Format a number with two digits in the shortest form: `1.2e-5`."""
    if not math.isfinite(value):
        return str(value)
    mantissa, mark, exponent = f"{value:.2g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def _share(value: float) -> str:
    """Format a percentage that is 0% or 100% only if that is exact."""
    return f"{value:.0%}" if value in (0, 1) or 0.01 <= value <= 0.99 else "<1%" if value < 0.5 else ">99%"


def _gate(value: tuple[str, Array]) -> str:
    name, bias = value
    low, high = number(bias.min()), number(bias.max())
    return f"{name} {low}" if low == high else f"{name} {low}...{high}"


def _column(
    header: str, value: Callable[[LayerReport], Value | None], write: Callable[[Value], str]
) -> Column[LayerReport]:
    """Return a column that formats `value` with `write`, and is empty for `None`."""

    def cell(layer: LayerReport) -> str:
        found = value(layer)
        return "" if found is None else write(found)

    return Column(header, cell)


_COLUMNS = (
    _column("activation", lambda layer: layer.activation, str),
    _column("before", lambda layer: layer.before.std if layer.before else None, number),
    _column("mean", lambda layer: layer.after.mean if layer.after else None, number),
    _column("std", lambda layer: layer.after.std if layer.after else None, number),
    _column("zeros", lambda layer: layer.after.zeros if layer.after else None, _share),
    _column("sat.", lambda layer: layer.saturated, _share),
    _column("dead", lambda layer: layer.dead, _share),
    _column("gain", lambda layer: layer.gain, number),
    _column("gate bias", lambda layer: layer.gate_bias, _gate),
    _column("gradient", lambda layer: layer.gradient_norm, number),
    _column("ratio", lambda layer: layer.gradient_ratio, number),
)
# Columns to drop, in this order, if a terminal is too narrow.
_DISPENSABLE = ("activation", "ratio", "gain", "before", "zeros", "gate bias", "mean")


def table(report: "Report", width: int | None = None) -> Table:
    """Return the table with a row for each layer, without empty columns.

    Args:
        report: A `Report`.
        width: Maximum number of characters per line, or `None` for no limit.
    """
    named = named_in(report.problems)
    columns = [column for column in _COLUMNS if any(map(column.cell, report.layers))]
    names = Column[LayerReport](
        "  layer", lambda layer: f"{'!' if layer.name in named else ' '} {layer.name}", is_text=True
    )
    if width is None:
        return Table.of([names, *columns], report.layers)
    needed = _width([names], report.layers) - GAP
    for header in _DISPENSABLE:
        if width - _width(columns, report.layers) >= min(_LEAST_NAME, needed):
            break
        columns = [column for column in columns if column.header != header]
    room = max(width - _width(columns, report.layers), _LEAST_NAME)
    short_names = Column[LayerReport](
        names.header, lambda layer: _shortened(str(names.cell(layer)), room), is_text=True
    )
    return Table.of([short_names, *columns], report.layers)


def _width(columns: Sequence[Column[LayerReport]], layers: Sequence[LayerReport]) -> int:
    """Return the width of `columns` in characters, including gaps."""
    texts = ([column.header, *(str(column.cell(layer)) for layer in layers)] for column in columns)
    return sum(GAP + max(map(text_width, column)) for column in texts)


def _shortened(name: str, room: int) -> str:
    """Truncate the start of a name, after its mark, if it is longer than `room`."""
    return name if len(name) <= room else f"{name[:2]}…{name[3 - room :]}"


def shown(report: "Report") -> str:
    """Return the report for standard output, in color on a terminal if rich is installed."""
    width = shutil.get_terminal_size().columns
    if not is_rich(sys.stdout):
        return plain(report, width)
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=width, force_terminal=True, highlight=False).print(rich(report, width))
    return text.getvalue().rstrip("\n")


def plain(report: "Report", width: int | None = None) -> str:
    """Return the table and the verdicts as plain text with lines of at most `width` characters."""
    return f"{table(report, width).as_text(rule=True)}\n{_sentences(report, width)}"


def _sentences(report: "Report", width: int | None) -> str:
    """Return the verdicts as lines of at most `width` characters."""
    lines = [headline(report)]
    for verdict in report.verdicts:
        lines.append("")
        for text in (f"{_title(verdict)}: {verdict.evidence}.", f"Remedy: {verdict.remedy}."):
            lines += textwrap.wrap(text, width or sys.maxsize, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines)


def _title(verdict: Verdict) -> str:
    return f"{verdict.problem} ({verdict.level})"


def headline(report: "Report") -> str:
    """Return the number of problems, not counting notes, as a sentence."""
    count = len(report.problems)
    return "No problem found." if not count else f"{count} problem{'s' if count > 1 else ''} found."


def rich(report: "Report", width: int) -> "Group":
    """Return the report as rich renderables."""
    from rich.console import Group, RenderableType
    from rich.text import Text

    grid = table(report, width).as_rich(padding=(0, GAP - 1, 0, 0), show_edge=False, pad_edge=False)
    for column in grid.columns:
        column.no_wrap = True
    named = named_in(report.problems)
    for row, layer in zip(grid.rows, report.layers, strict=True):
        row.style = "bold red" if layer.name in named else ""
    parts: list[RenderableType] = [grid, Text(), Text(headline(report), "bold green" if report.ok else "bold red")]
    for verdict in report.verdicts:
        parts += [
            Text(),
            Text().append(f"{_title(verdict)}: ", "bold").append(f"{verdict.evidence}."),
            Text().append("Remedy: ", "bold").append(f"{verdict.remedy}."),
        ]
    return Group(*parts)


def as_html(report: "Report") -> str:
    """Return the report as HTML for notebooks."""
    verdicts = "".join(
        f"<li><b>{html.escape(_title(verdict))}</b>: {html.escape(verdict.evidence)}.<br>"
        f"Remedy: {html.escape(verdict.remedy)}.</li>"
        for verdict in report.verdicts
    )
    return f"<p><b>{headline(report)}</b></p><ul>{verdicts}</ul>{table(report).as_html()}"


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """The result of `diagnose`, shown as a table by `print` and in notebooks.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of their outputs.
        inputs: `Signal` of the inputs, or `None` if they are integers.
        verdicts: A list of `Verdict`, causes before effects, with those of level `"note"` last.
        thresholds: The `Thresholds` of the rules. Plots show those in the range of the values.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    verdicts: list[Verdict]
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def problems(self) -> list[Verdict]:
        """The verdicts that are errors or warnings."""
        return [verdict for verdict in self.verdicts if verdict.level != "note"]

    @property
    def ok(self) -> bool:
        """Whether there are no errors and no warnings."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """0 if there are no errors and no warnings, otherwise 1."""
        return 0 if self.ok else 1

    def fails_on(self, level: Level) -> bool:
        """Return whether there is a verdict of `level` or higher.

        Args:
            level: `"error"`, `"warning"` or `"note"`.

        Raises:
            ValueError: If `level` is none of these.
        """
        serious = LEVELS[: LEVELS.index(check_choice("level", level, LEVELS)) + 1]
        return any(verdict.level in serious for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts, lists, strings and numbers, with `None` for values that are not finite."""
        return as_dict(self)

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return as_json(self.to_dict(), indent=1)

    def to_csv(self) -> str:
        """Return a CSV table with a row for each layer: the data of `to_dict` without histograms and weights."""
        return csv_of_layers(self)

    def plot(self, path: str | Path) -> None:
        """Plot mean and standard deviation by layer, gradient norms if measured, and a histogram of each layer.

        Requires matplotlib, which the extra `plot` installs.

        Args:
            path: Path of the output file. The suffix sets the format.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written.
            ValueError: If the suffix is not that of a supported format.
        """
        import_optional("matplotlib", "plot")
        from keras_initx.diagnostics._plot import plot_report

        plot_report(self, path)

    def __str__(self) -> str:
        return shown(self)

    def __repr__(self) -> str:
        return f"<Report of {len(self.layers)} layers: {headline(self)[:-1].lower()}>"

    def __rich__(self) -> "Group":
        return rich(self, shutil.get_terminal_size().columns)

    def _repr_html_(self) -> str:
        return as_html(self)
