"""Tables as data: columns of texts, written as plain text, as HTML, as Markdown, or for a terminal by rich."""

import html
import itertools
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

GAP = 2  # characters between two columns
Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table.

    Attributes:
        header: Its name.
        cell: Function of a row that returns what the column shows of it: a text, or anything with a `str`.
        is_text: Whether it holds words, which begin at the same place. Numbers end at the same place.
        note: What it means, for the legend of a table.
        wide_only: Whether a narrow table is without it.
        max_width: Number of characters at which a narrow table breaks its texts, `None` if it does not.
    """

    header: str
    cell: Callable[[Row], object]
    is_text: bool = False
    note: str = ""
    wide_only: bool = False
    max_width: int | None = None


def narrow(columns: Iterable[Column[Row]]) -> list[Column[Row]]:
    """Return the columns of a table that fits a terminal."""
    return [_broken(column) for column in columns if not column.wide_only]


class _Wrapper(textwrap.TextWrapper):
    """Breaks `initx.sparse(gain=relu)` before the arguments rather than within a word."""

    wordsep_re = re.compile(r"(\s+)|(?=\()|(?<=,)")


def _broken(column: Column[Row]) -> Column[Row]:
    if column.max_width is None:
        return column
    wrapper = _Wrapper(column.max_width, subsequent_indent=" ")
    return replace(column, cell=lambda row: "\n".join(wrapper.wrap(str(column.cell(row)))))


def legend(columns: Iterable[Column[Row]]) -> str:
    """Return what the columns mean."""
    return " ".join(f"{column.header}: {column.note}." for column in columns if column.note)


@dataclass(frozen=True)
class Table:
    """Headers, rows of texts, and which of the columns hold words."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    are_text: tuple[bool, ...]

    @classmethod
    def of(cls, columns: Sequence[Column[Row]], rows: Iterable[Row]) -> "Table":
        """Return the table that `columns` make of `rows`."""
        return cls(
            tuple(column.header for column in columns),
            tuple(tuple(str(column.cell(row)) for column in columns) for row in rows),
            tuple(column.is_text for column in columns),
        )

    def as_text(self, *, rule: bool = False) -> str:
        """Return the table as aligned columns, with a line below the headers if `rule`."""
        headers = [self.headers] if any(self.headers) else []
        rows = (itertools.zip_longest(*(cell.split("\n") for cell in row), fillvalue="") for row in self.rows)
        lines = aligned([*headers, *itertools.chain(*rows)], self.are_text)
        if rule:
            lines.insert(1, "-" * max(map(len, lines)))
        return "".join(f"{line}\n" for line in lines)

    def as_html(self) -> str:
        """Return the table as HTML that needs no style sheet."""
        head = f"<thead>{self._html_row(self.headers, 'th')}</thead>"
        body = "".join(self._html_row(row, "td") for row in self.rows)
        return f'<div style="overflow-x: auto"><table>{head}<tbody>{body}</tbody></table></div>'

    def _html_row(self, row: tuple[str, ...], tag: str) -> str:
        cells = (
            f'<{tag} style="text-align: {"left" if is_text else "right"}">{html.escape(cell)}</{tag}>'
            for cell, is_text in zip(row, self.are_text, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    def as_markdown(self) -> str:
        """Return the table as Markdown that shows the cells as they are; between backticks they are code."""
        rule = ("---" if is_text else "---:" for is_text in self.are_text)
        rows = [self.headers, tuple(rule), *(tuple(map(_escaped, row)) for row in self.rows)]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def as_rich(self, **options: Any) -> Any:
        """Return the table as one of rich, made with these options of `rich.table.Table`."""
        from rich import box
        from rich.table import Column as RichColumn
        from rich.table import Table as RichTable
        from rich.text import Text

        columns = (
            # The first column holds names, which must not be broken.
            RichColumn(Text(header), justify="left" if is_text else "right", no_wrap=place == 0)
            for place, (header, is_text) in enumerate(zip(self.headers, self.are_text, strict=True))
        )
        table = RichTable(*columns, **{"box": box.SIMPLE_HEAD, **options})
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def aligned(rows: Sequence[Sequence[str]], are_text: Sequence[bool]) -> list[str]:
    """Return `rows` of cells as lines in which columns of words begin, and others end, at the same place."""
    widths = [max(map(text_width, column)) for column in zip(*rows, strict=True)]
    return [(" " * GAP).join(map(_padded, row, widths, are_text)).rstrip() for row in rows]


def _padded(cell: str, width: int, is_text: bool) -> str:
    space = " " * (width - text_width(cell))
    return cell + space if is_text else space + cell


def text_width(text: str) -> int:
    """Return how many characters of a terminal `text` takes."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def named_values(values: dict[str, str]) -> str:
    """Return a line for each of `values`: its name, and the value behind the longest name."""
    return "".join(f"{line}\n" for line in aligned(list(values.items()), (True, True)))


def _escaped(cell: str) -> str:
    r"""Return `cell` as Markdown that shows it as it is: a `$` or a `*` would begin something else."""
    if re.fullmatch("(`[^`]+`(, )?)+", cell):
        return cell
    return re.sub(r"([\\`*$|<>~\[\]]|\b_|_\b)", r"\\\1", cell)
