"""The catalogue as a table: in Markdown, as plain text, and for a terminal."""

import importlib.util
import re
import sys

HEADERS = ("id", "class", "values", "when to use it")


def markdown(entries) -> str:
    """Return the table of the README and of the documentation."""
    rows = [HEADERS, ("---",) * len(HEADERS)]
    for entry in entries:
        ids = ", ".join(f"`{name}`" for name in entry.ids)
        rows.append((ids, f"`{entry.cls.__name__}`", _escaped(entry.formula), _escaped(entry.use)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _escaped(text):
    r"""Return `text` as Markdown that shows it as it is: a `$` or a `*` would begin something else."""
    return re.sub(r"([\\`*$|<>~\[\]]|\b_|_\b)", r"\\\1", text)


def plain(entries) -> str:
    """Return a table of aligned columns with a line for each entry, however long."""
    rows = [HEADERS, *((", ".join(entry.ids), entry.cls.__name__, entry.formula, entry.use) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def write(entries) -> None:
    """Write a table to the standard output: one that fits to a terminal, and one for other programs elsewhere."""
    if sys.stdout.isatty() and importlib.util.find_spec("rich"):
        _write_rich(entries)
    else:
        sys.stdout.write(plain(entries))


def _write_rich(entries):
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    # The class stands below its ids, so that 80 columns are enough for the others.
    names = Column(f"{HEADERS[0]}, {HEADERS[1]}", no_wrap=True)
    table = Table(names, *HEADERS[2:], box=box.SIMPLE_HEAD, leading=1)
    for entry in entries:
        name = Text().append("\n".join(entry.ids), "bold").append(f"\n{entry.cls.__name__}")
        table.add_row(name, Text(entry.formula), Text(entry.use))
    Console().print(table)
