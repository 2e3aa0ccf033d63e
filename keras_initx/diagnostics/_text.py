"""Format a report as plain text, for a terminal, and for a notebook."""

import html
import io
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from keras_initx._typing import Array
from keras_initx.diagnostics._measurements import LayerReport
from keras_initx.diagnostics._verdicts import Verdict, named_in
from keras_initx.rendering._table import GAP, Column, Table, text_width
from keras_initx.rendering._terminal import is_rich

if TYPE_CHECKING:
    from rich.console import Group

    from keras_initx.diagnostics._report import Report

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
