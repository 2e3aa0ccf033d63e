"""Tables of text cells, rendered as plain text, HTML, Markdown, or by rich."""

import dataclasses
import html
import itertools
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

__all__ = [
    "GAP",
    "Column",
    "Row",
    "Table",
    "filled",
    "legend",
    "narrow",
    "text_width",
]

GAP = 2  # characters between two columns
Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table.

    Attributes:
        header: Its name.
        cell: Function that maps a row to the cell: a text, or any object to convert with `str`.
        is_text: Whether it is left-aligned. Columns of numbers are right-aligned.
        note: Its meaning, for the legend of the table.
        wide_only: Whether it is left out of narrow tables.
        max_width: Number of characters at which texts are wrapped in narrow tables, or `None` for
            no wrapping.
    """

    header: str
    cell: Callable[[Row], object]
    is_text: bool = False
    note: str = ""
    wide_only: bool = False
    max_width: int | None = None


class Table(NamedTuple):
    """A table: headers, if any, rows of texts, and which columns are left-aligned."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    are_text: tuple[bool, ...]

    @classmethod
    def of(cls, columns: Sequence[Column[Row]], rows: Iterable[Row]) -> "Table":
        """Return the table of `rows` with these `columns`."""
        texts = []
        for row in rows:
            texts.append(tuple(str(column.cell(row)) for column in columns))
        headers = tuple(column.header for column in columns)
        are_text = tuple(column.is_text for column in columns)
        return cls(headers, tuple(texts), are_text)

    def as_text(self, *, rule: bool = False) -> str:
        """Return the table as aligned columns, with a line below the headers if `rule`."""
        rows: list[tuple[str, ...]] = []
        if self.headers:
            rows.append(self.headers)
        for row in self.rows:
            # A cell may have several lines.
            cells = [cell.split("\n") for cell in row]
            rows.extend(itertools.zip_longest(*cells, fillvalue=""))
        widths = []
        for column in zip(*rows, strict=True):
            widths.append(max(text_width(cell) for cell in column))
        lines = []
        for row in rows:
            padded = map(_padded, row, widths, self.are_text)
            lines.append((" " * GAP).join(padded).rstrip())
        if rule:
            longest = max(len(line) for line in lines)
            lines.insert(1, "-" * longest)
        return "".join(f"{line}\n" for line in lines)

    def as_html(self) -> str:
        """Return the table as HTML with inline styles."""
        head = f"<thead>{self._html_row(self.headers, 'th')}</thead>"
        body = "".join(self._html_row(row, "td") for row in self.rows)
        return f'<div style="overflow-x: auto"><table>{head}<tbody>{body}</tbody></table></div>'

    def _html_row(self, row: tuple[str, ...], tag: str) -> str:
        cells = []
        for cell, is_text in zip(row, self.are_text, strict=True):
            alignment = "left" if is_text else "right"
            cells.append(f'<{tag} style="text-align: {alignment}">{html.escape(cell)}</{tag}>')
        return f"<tr>{''.join(cells)}</tr>"

    def as_markdown(self) -> str:
        """Return the table as Markdown with escaped cells. Cells in backticks are code."""
        rule = ["---" if is_text else "---:" for is_text in self.are_text]
        lines = [_markdown_row(self.headers), _markdown_row(rule)]
        for row in self.rows:
            lines.append(_markdown_row([_escaped(cell) for cell in row]))
        return "".join(lines)

    def as_rich(self, **options: Any) -> Any:
        """Return a `rich.table.Table`, created with these options."""
        from rich import box, table, text

        options.setdefault("box", box.SIMPLE_HEAD)
        grid = table.Table(**options)
        for header, is_text in zip(self.headers, self.are_text, strict=True):
            title = text.Text(header)
            # The first column holds names, which must not be wrapped.
            is_first = not grid.columns
            grid.add_column(title, justify="left" if is_text else "right", no_wrap=is_first)
        for row in self.rows:
            grid.add_row(*[text.Text(cell) for cell in row])
        return grid


def _padded(cell: str, width: int, is_text: bool) -> str:
    space = " " * (width - text_width(cell))
    if is_text:
        return cell + space
    return space + cell


def text_width(text: str) -> int:
    """Return the width of `text` in terminal characters."""
    width = 0
    for sign in text:
        is_wide = unicodedata.east_asian_width(sign) in "WF"
        width += 2 if is_wide else 1
    return width


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _escaped(cell: str) -> str:
    r"""Return `cell` with special characters such as `$` and `*` escaped for Markdown."""
    if re.fullmatch("(`[^`]+`(, )?)+", cell):
        return cell
    return re.sub(r"([\\`*$|<>~\[\]]|\b_|_\b)", r"\\\1", cell)


def narrow(columns: Iterable[Column[Row]]) -> list[Column[Row]]:
    """Return the columns for a table that fits a terminal."""
    result = []
    for column in columns:
        if column.wide_only:
            continue
        if column.max_width is not None:
            column = _wrapped(column, column.max_width)
        result.append(column)
    return result


def _wrapped(column: Column[Row], width: int) -> Column[Row]:
    wrapper = _Wrapper(width, subsequent_indent=" ")
    path_wrapper = _PathWrapper(width, subsequent_indent=" ")

    def wrapped_cell(row: Row) -> str:
        lines = []
        for line in str(column.cell(row)).split("\n"):
            if "/" in line and " " not in line:
                lines += path_wrapper.wrap(line)
            else:
                lines += wrapper.wrap(line)
        return "\n".join(lines)

    return dataclasses.replace(column, cell=wrapped_cell)


class _Wrapper(textwrap.TextWrapper):
    """A wrapper that breaks `initx.sparse(gain=relu)` before the arguments, not within a word.

    Paths are broken after a slash, but not `1/sqrt(2)`.
    """

    wordsep_re = re.compile(r"(\s+)|(?=\()|(?<=,)|(?<=[a-z]/)")


class _PathWrapper(textwrap.TextWrapper):
    """A wrapper that breaks `encoder/self_attention/kernel` after a slash or an underscore."""

    wordsep_re = re.compile(r"(?<=[/_])")


def filled(columns: Iterable[Column[Row]], rows: Sequence[Row]) -> list[Column[Row]]:
    """Return the columns that have a value in any row."""
    return [column for column in columns if any(column.cell(row) for row in rows)]


def legend(columns: Iterable[Column[Row]]) -> str:
    """Return the notes of the columns as text."""
    notes = [f"{column.header}: {column.note}." for column in columns if column.note]
    return " ".join(notes)
