"""A report as a table and sentences: as plain text, for a terminal and for a notebook."""

import html
import importlib.util
import io
import math
import shutil
import sys
import textwrap

_NAMES = "  layer"
_LEAST_NAME = 16
_GAP = 2


def _number(value):
    """Return a few digits, as short as they go: `1.2e-5`."""
    text = f"{value:.2g}"
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def _share(value):
    """Return a percentage that says 0 and 100 only where it is meant."""
    return f"{value:.0%}" if value in (0, 1) or 0.01 <= value <= 0.99 else "<1%" if value < 0.5 else ">99%"


def _gate(value):
    name, bias = value
    low, high = _number(bias.min()), _number(bias.max())
    return f"{name} {low}" if low == high else f"{name} {low}...{high}"


# Header, what it shows, how it is written.
_COLUMNS = (
    ("activation", lambda layer: layer.activation, str),
    ("before", lambda layer: layer.before and layer.before.std, _number),
    ("mean", lambda layer: layer.after and layer.after.mean, _number),
    ("std", lambda layer: layer.after and layer.after.std, _number),
    ("zeros", lambda layer: layer.after and layer.after.zeros, _share),
    ("sat.", lambda layer: layer.saturated, _share),
    ("dead", lambda layer: layer.dead, _share),
    ("gain", lambda layer: layer.gain, _number),
    ("gate bias", lambda layer: layer.gate_bias, _gate),
    ("gradient", lambda layer: layer.gradient_norm, _number),
    ("ratio", lambda layer: layer.gradient_ratio, _number),
)
# Where a terminal is too narrow, columns are left out in this order.
_DISPENSABLE = ("activation", "ratio", "gain", "before", "zeros", "gate bias", "mean")


def table(report, width=None):
    """Return the headers and the rows of a table with a line for each layer, as two lists.

    Args:
        report: A `Report`.
        width: Number of characters that a line may have, or `None` for any.
    """
    named = {name for verdict in report.problems for name in verdict.layers}
    names = [f"{'!' if layer.name in named else ' '} {layer.name}" for layer in report.layers]
    columns = {}
    for header, value, write in _COLUMNS:
        values = list(map(value, report.layers))
        if any(cell is not None for cell in values):
            columns[header] = ["" if cell is None else _written(write, cell) for cell in values]
    if width:
        for header in _DISPENSABLE:
            if width - _width(columns) >= min(_LEAST_NAME, max(map(len, [_NAMES, *names]))):
                break
            columns.pop(header, None)
        room = max(width - _width(columns), _LEAST_NAME)
        names = [name if len(name) <= room else f"{name[:2]}…{name[3 - room :]}" for name in names]
    return [_NAMES, *columns], [list(row) for row in zip(names, *columns.values(), strict=True)]


def _written(write, cell):
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else write(cell)


def _width(columns):
    return sum(_GAP + max(len(header), *map(len, cells)) for header, cells in columns.items())


def shown(report) -> str:
    """Return the report for the standard output: in colours on a terminal where rich is installed."""
    width = shutil.get_terminal_size().columns
    if not (sys.stdout.isatty() and importlib.util.find_spec("rich")):
        return plain(report, width)
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=width, force_terminal=True, highlight=False).print(rich(report, width))
    return text.getvalue().rstrip("\n")


def plain(report, width=None) -> str:
    """Return the table and the verdicts as plain text of lines of at most `width` characters."""
    headers, rows = table(report, width)
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    lines = []
    for row in (headers, *rows):
        numbers = (cell.rjust(size) for cell, size in zip(row[1:], widths[1:], strict=True))
        lines.append((" " * _GAP).join([row[0].ljust(widths[0]), *numbers]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join([*lines, "", *sentences(report, width)])


def sentences(report, width=None) -> list[str]:
    """Return the verdicts as lines of at most `width` characters."""
    lines = [headline(report)]
    for verdict in report.verdicts:
        lines.append("")
        for text in (f"{_title(verdict)}: {verdict.evidence}.", f"Instead: {verdict.remedy}."):
            lines += textwrap.wrap(text, width or sys.maxsize, subsequent_indent="  ", break_on_hyphens=False)
    return lines


def _title(verdict):
    return f"{verdict.problem} ({verdict.level})"


def headline(report) -> str:
    """Return how many problems there are, without the notes."""
    count = len(report.problems)
    return "No problem found." if not count else f"{count} problem{'s' if count > 1 else ''} found."


def rich(report, width):
    """Return what rich shows."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    headers, rows = table(report, width)
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), show_edge=False, pad_edge=False)
    for header in headers:
        grid.add_column(Text(header), justify="left" if header == headers[0] else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*map(Text, row), style="bold red" if row[0].startswith("!") else "")
    parts: list = [grid, Text(), Text(headline(report), "bold green" if report.ok else "bold red")]
    for verdict in report.verdicts:
        parts += [
            Text(),
            Text().append(f"{_title(verdict)}: ", "bold").append(f"{verdict.evidence}."),
            Text().append("Instead: ", "bold").append(f"{verdict.remedy}."),
        ]
    return Group(*parts)


def as_html(report) -> str:
    """Return what a notebook shows."""
    headers, rows = table(report)
    head = "".join(f"<th>{html.escape(header.strip())}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    verdicts = "".join(
        f"<li><b>{html.escape(_title(verdict))}</b>: {html.escape(verdict.evidence)}.<br>"
        f"Instead: {html.escape(verdict.remedy)}.</li>"
        for verdict in report.verdicts
    )
    return (
        f"<p><b>{headline(report)}</b></p><ul>{verdicts}</ul>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
