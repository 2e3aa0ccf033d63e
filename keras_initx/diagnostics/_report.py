"""The report of `diagnose`, and its views: data, text, and HTML for a notebook."""

import dataclasses
import html
import io
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_initx._checks import check_choice
from keras_initx._extras import import_optional
from keras_initx._typing import Array
from keras_initx.diagnostics._measure import LayerReport
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import LEVELS, Level, Thresholds, Verdict, problems_among
from keras_initx.rendering._export import as_csv, as_json, finite
from keras_initx.rendering._table import GAP, Column, Table, text_width
from keras_initx.rendering._terminal import is_rich
from keras_initx.rendering._text import counted, short_number

_STATISTICS = ("size", "mean", "std", "min", "max", "zeros", "nonfinite")
# The nested dicts of a layer become separate columns.
_CSV_COLUMNS = {**dict.fromkeys(("first_inputs", "before", "after"), _STATISTICS), "gate_bias": ("gate", "min", "max")}


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
        return problems_among(self.verdicts)

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
        return _as_dict(self.layers, self.inputs, self.verdicts)

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return as_json(self.to_dict(), indent=1)

    def to_csv(self) -> str:
        """Return a CSV table with a row for each layer: the data of `to_dict` without histograms and weights."""
        return as_csv(map(_csv_row, self.to_dict()["layers"]))

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
        from keras_initx.diagnostics._plot import plot_layers

        plot_layers(self.layers, _marked(self.verdicts), self.thresholds, path)

    def __str__(self) -> str:
        width = shutil.get_terminal_size().columns
        if not is_rich(sys.stdout):
            return _as_text(self.layers, self.verdicts, width)
        from rich.console import Console

        text = io.StringIO()
        console = Console(file=text, width=width, force_terminal=True, highlight=False)
        console.print(_as_rich(self.layers, self.verdicts, width))
        return text.getvalue().rstrip("\n")

    def __repr__(self) -> str:
        return f"<Report of {len(self.layers)} layers: {_headline(self.verdicts)[:-1].lower()}>"

    def __rich__(self) -> Any:
        return _as_rich(self.layers, self.verdicts, shutil.get_terminal_size().columns)

    def _repr_html_(self) -> str:
        return _as_html(self.layers, self.verdicts)


def _as_dict(layers: Sequence[LayerReport], inputs: Signal | None, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return a report as JSON types, without values of single units, and with `None` for infinities and NaN."""
    content: dict[str, Any] = finite(
        {
            "ok": not problems_among(verdicts),
            "verdicts": [dataclasses.asdict(verdict) for verdict in verdicts],
            "inputs": _as_data(inputs),
            "layers": [_layer_as_dict(layer, verdicts) for layer in layers],
        }
    )
    return content


def _layer_as_dict(layer: LayerReport, verdicts: Iterable[Verdict]) -> dict[str, Any]:
    levels = [verdict.level for verdict in verdicts if layer.name in verdict.layers]
    gate, bias = layer.gate_bias or (None, None)
    content = {
        "name": layer.name,
        "level": min(levels, key=LEVELS.index, default=None),
        **{measured.name: _as_data(getattr(layer, measured.name)) for measured in dataclasses.fields(layer)},
        "gate_bias": None if bias is None else {"gate": gate, "min": float(bias.min()), "max": float(bias.max())},
        "weights": [dataclasses.asdict(weight) for weight in layer.weights],
    }
    del content["forget_bias_overwritten"]  # which a verdict tells
    return content


def _as_data(value: Any) -> Any:
    """Return a dict for a signal, and other values as they are."""
    if not isinstance(value, Signal):
        return value
    histogram = {"edges": value.edges.tolist(), "counts": value.counts.tolist()}
    return {**{name: getattr(value, name) for name in _STATISTICS}, "histogram": histogram}


def _csv_row(layer: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in layer.items():
        if name in _CSV_COLUMNS:
            row |= {f"{name}_{part}": (value or {}).get(part) for part in _CSV_COLUMNS[name]}
        elif name == "shape":
            row[name] = "x".join(map(str, value or ()))
        elif name != "weights":
            row[name] = value
    return row


def _marked(verdicts: Iterable[Verdict]) -> set[str]:
    """Return the names of the layers with problems."""
    return {name for verdict in problems_among(verdicts) for name in verdict.layers}


def _headline(verdicts: Iterable[Verdict]) -> str:
    """Return the number of problems as a sentence."""
    count = len(problems_among(verdicts))
    return f"{counted(count, 'problem')} found." if count else "No problem found."


def _title(verdict: Verdict) -> str:
    return f"{verdict.problem} ({verdict.level})"


def _as_text(layers: Sequence[LayerReport], verdicts: Sequence[Verdict], width: int) -> str:
    """Return the table and the verdicts as plain text with lines of at most `width` characters."""
    lines = [_table(layers, verdicts, width).as_text(rule=True), _headline(verdicts)]
    for verdict in verdicts:
        lines.append("")
        for text in (f"{_title(verdict)}: {verdict.evidence}.", f"Remedy: {verdict.remedy}."):
            lines += textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines)


def _as_rich(layers: Sequence[LayerReport], verdicts: Sequence[Verdict], width: int) -> Any:
    """Return the report as rich renderables."""
    from rich.console import Group, RenderableType
    from rich.text import Text

    grid = _table(layers, verdicts, width).as_rich(padding=(0, GAP - 1, 0, 0), show_edge=False, pad_edge=False)
    for column in grid.columns:
        column.no_wrap = True
    marked = _marked(verdicts)
    for row, layer in zip(grid.rows, layers, strict=True):
        row.style = "bold red" if layer.name in marked else ""
    headline_style = "bold red" if problems_among(verdicts) else "bold green"
    parts: list[RenderableType] = [grid, Text(), Text(_headline(verdicts), headline_style)]
    for verdict in verdicts:
        parts += [
            Text(),
            Text().append(f"{_title(verdict)}: ", "bold").append(f"{verdict.evidence}."),
            Text().append("Remedy: ", "bold").append(f"{verdict.remedy}."),
        ]
    return Group(*parts)


def _as_html(layers: Sequence[LayerReport], verdicts: Sequence[Verdict]) -> str:
    """Return the report as HTML for notebooks."""
    items = "".join(
        f"<li><b>{html.escape(_title(verdict))}</b>: {html.escape(verdict.evidence)}.<br>"
        f"Remedy: {html.escape(verdict.remedy)}.</li>"
        for verdict in verdicts
    )
    return f"<p><b>{_headline(verdicts)}</b></p><ul>{items}</ul>{_table(layers, verdicts).as_html()}"


def _share(value: float) -> str:
    """Format a percentage that is 0% or 100% only if that is exact."""
    return f"{value:.0%}" if value in (0, 1) or 0.01 <= value <= 0.99 else "<1%" if value < 0.5 else ">99%"


def _gate(value: tuple[str, Array]) -> str:
    name, bias = value
    low, high = short_number(bias.min()), short_number(bias.max())
    return f"{name} {low}" if low == high else f"{name} {low}...{high}"


def _column(
    header: str, value: Callable[[LayerReport], Any], write: Callable[[Any], str] = short_number
) -> Column[LayerReport]:
    """Return a column that formats `value` with `write`, and is empty for `None`."""
    return Column(header, lambda layer: "" if (found := value(layer)) is None else write(found))


_COLUMNS = (
    _column("activation", lambda layer: layer.activation, str),
    _column("before", lambda layer: layer.before.std if layer.before else None),
    _column("mean", lambda layer: layer.after.mean if layer.after else None),
    _column("std", lambda layer: layer.after.std if layer.after else None),
    _column("zeros", lambda layer: layer.after.zeros if layer.after else None, _share),
    _column("sat.", lambda layer: layer.saturated, _share),
    _column("dead", lambda layer: layer.dead, _share),
    _column("gain", lambda layer: layer.gain),
    _column("gate bias", lambda layer: layer.gate_bias, _gate),
    _column("gradient", lambda layer: layer.gradient_norm),
    _column("ratio", lambda layer: layer.gradient_ratio),
)
# Columns to drop, in this order, if a terminal is too narrow.
_DISPENSABLE = ("activation", "ratio", "gain", "before", "zeros", "gate bias", "mean")
_LEAST_NAME = 16


def _table(layers: Sequence[LayerReport], verdicts: Iterable[Verdict], width: int = sys.maxsize) -> Table:
    """Return the table with a row for each layer, without empty columns.

    Where it is wider than `width` characters, columns are dropped, and names are truncated at the start, after the mark
    of a problem.
    """
    marked = _marked(verdicts)

    def name(layer: LayerReport) -> str:
        return f"{'!' if layer.name in marked else ' '} {layer.name}"

    def short_name(layer: LayerReport) -> str:
        whole = name(layer)
        return whole if len(whole) <= room else f"{whole[:2]}…{whole[3 - room :]}"

    columns = [column for column in _COLUMNS if any(map(column.cell, layers))]
    needed = min(_LEAST_NAME, max(map(text_width, ["  layer", *map(name, layers)])))
    for header in _DISPENSABLE:
        if width - _width(columns, layers) >= needed:
            break
        columns = [column for column in columns if column.header != header]
    room = max(width - _width(columns, layers), _LEAST_NAME)
    return Table.of([Column("  layer", short_name, is_text=True), *columns], layers)


def _width(columns: Sequence[Column[LayerReport]], layers: Sequence[LayerReport]) -> int:
    """Return the width of `columns` in characters, including gaps."""
    texts = ([column.header, *(str(column.cell(layer)) for layer in layers)] for column in columns)
    return sum(GAP + max(map(text_width, column)) for column in texts)
