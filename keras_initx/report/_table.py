"""Tables of text cells, rendered as plain text, HTML or Markdown."""

import dataclasses
import html
import itertools
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar

from keras_initx.report._markdown import escape
from keras_initx.report._text import format_number, shorten_names

_GAP = 2  # characters between two columns
# If a column of texts must be narrower than this, optional columns are left out first.
_NARROW = 22
# No column of texts is made narrower than this.
_LEAST = 16
# Where a narrow screen may break a name: "encoder/|self_|attention" and "Dense|(units=3)".
_HTML_BREAKS = re.compile(r"(?<=[a-z\d*][/_])(?=[\w*])|(?<=\w)(?=\([^)])")
Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table.

    Attributes:
        header: Its name.
        cell: Function that maps a row to the cell: a text, any object to convert with `str`, or
            `None` for an empty cell.
        is_text: Whether it is left-aligned. Columns of numbers are right-aligned.
        note: Its meaning, for the legend of the table.
        is_optional: Whether a table that would be too wide drops it.
        is_name: Whether it has a name in each row. A name is shortened, other texts are wrapped.
        alike: The rule for rows that share a line, see `WeightTable` in `_results.py`. `"equal"`:
            their cells must be equal. `"range"`: the line shows the range of their numbers.
            `"any"`: the cell is empty if they differ.
    """

    header: str
    cell: Callable[[Row], object]
    is_text: bool = False
    note: str = ""
    is_optional: bool = False
    is_name: bool = False
    alike: Literal["equal", "range", "any"] = "equal"


class Table(NamedTuple):
    """A table: headers, if any, rows of texts, and the columns that are left-aligned."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    are_text: tuple[bool, ...]

    @classmethod
    def of(cls, columns: Sequence[Column[Row]], rows: Iterable[Row]) -> "Table":
        """Make the table of `rows` with these `columns`."""
        texts = []
        for row in rows:
            texts.append(tuple(cell_text(column.cell(row)) for column in columns))
        headers = tuple(column.header for column in columns)
        are_text = tuple(column.is_text for column in columns)
        return cls(headers, tuple(texts), are_text)

    @classmethod
    def fitted(cls, columns: Iterable[Column[Row]], rows: Sequence[Row], width: int) -> "Table":
        """Fit the table of `rows` into lines of at most `width` characters, if possible.

        It drops empty columns. If it is too wide, it wraps texts, the longest most. If texts would
        be very narrow, it drops optional columns, the last first.
        """
        shown = drop_empty_columns(columns, rows)
        table = cls.of(shown, rows)
        optional = [column for column in shown if column.is_optional]
        while optional and not table._has_room(width):
            shown.remove(optional.pop())
            table = cls.of(shown, rows)
        return table.wrapped(width, [column.is_name for column in shown])

    def _has_room(self, width: int) -> bool:
        """Return whether lines of `width` characters are enough if long texts are wrapped."""
        needed = 0
        for column_width, is_text in zip(self._measure_columns(), self.are_text, strict=True):
            needed += _GAP + (min(column_width, _NARROW) if is_text else column_width)
        return needed - _GAP <= width

    def wrapped(self, width: int, are_names: Sequence[bool] = ()) -> "Table":
        """Wrap the texts of the table, so that it has this width, the longest most.

        Names are shortened before other texts are wrapped.
        """
        widths = self._measure_columns()
        text_widths = list(itertools.compress(widths, self.are_text))
        gaps = _GAP * (len(widths) - 1)
        width_of_numbers = sum(widths) - sum(text_widths)
        room = width - gaps - width_of_numbers  # for all columns of texts
        limit = max(text_widths, default=_LEAST)
        while limit > _LEAST and sum(min(each, limit) for each in text_widths) > room:
            limit -= 1
        wrapper = _Wrapper(limit, subsequent_indent="  ")

        def wrap_cell(cell: str, is_text: bool) -> str:
            if not is_text:
                return cell
            lines = []
            for line in cell.split("\n"):
                lines += wrapper.wrap(line)
            return "\n".join(lines)

        columns = [list(column) for column in zip(*self.rows, strict=True)]
        for index, is_name in enumerate(are_names):
            if is_name and columns:  # without rows there are none
                columns[index] = shorten_names(columns[index], limit)
        rows = [tuple(map(wrap_cell, row, self.are_text)) for row in zip(*columns, strict=True)]
        return self._replace(rows=tuple(rows))

    def _list_lines(self) -> list[tuple[str, ...]]:
        """List the cells of each line of the text. A wrapped cell has several lines."""
        lines: list[tuple[str, ...]] = []
        if self.headers:
            lines.append(self.headers)
        for row in self.rows:
            cells = [cell.split("\n") for cell in row]
            lines.extend(itertools.zip_longest(*cells, fillvalue=""))
        return lines

    def _measure_columns(self) -> list[int]:
        """Measure the width of each column."""
        columns = zip(*self._list_lines(), strict=True)
        return [max(map(_text_width, column)) for column in columns]

    def as_text(self, *, rule: bool = False) -> str:
        """Format the table as aligned columns, with a line below the headers if `rule`."""
        widths = self._measure_columns()
        lines = []
        for row in self._list_lines():
            padded = map(_padded, row, widths, self.are_text)
            lines.append((" " * _GAP).join(padded).rstrip())
        if rule:
            longest = max(len(line) for line in lines)
            lines.insert(1, "-" * longest)
        return "".join(f"{line}\n" for line in lines)

    def as_html(self) -> str:
        """Format the table as HTML with inline styles."""
        head = f"<thead>{self._html_row(self.headers, 'th')}</thead>"
        body = "".join(self._html_row(row, "td") for row in self.rows)
        table = f"<table>{head}<tbody>{body}</tbody></table>"
        return f'<div class="table" style="overflow-x: auto">{table}</div>'

    def _html_row(self, row: tuple[str, ...], tag: str) -> str:
        cells = []
        for cell, is_text in zip(row, self.are_text, strict=True):
            alignment = "left" if is_text else "right"
            text = _HTML_BREAKS.sub("<wbr>", html.escape(cell))
            text = text.replace("\n", "<br>")
            cells.append(f'<{tag} style="text-align: {alignment}">{text}</{tag}>')
        return f"<tr>{''.join(cells)}</tr>"

    def as_markdown(self) -> str:
        """Format the table as Markdown with escaped cells. Cells in backticks are code."""
        rule = ["---" if is_text else "---:" for is_text in self.are_text]
        lines = [_markdown_row(self.headers), _markdown_row(rule)]
        for row in self.rows:
            lines.append(_markdown_row([_markdown_cell(cell) for cell in row]))
        return "".join(lines)


def cell_text(value: object) -> str:
    """Convert the value of a cell to text; `None` is an empty cell."""
    return "" if value is None else str(value)


def format_cell(value: float | None, write: Callable[[float], str] = format_number) -> str:
    """Format a number for a cell, which is empty if the number is not known."""
    return "" if value is None else write(value)


def _padded(cell: str, width: int, is_text: bool) -> str:
    space = " " * (width - _text_width(cell))
    if is_text:
        return cell + space
    return space + cell


def _text_width(text: str) -> int:
    """Measure the width of `text` in terminal characters."""
    width = 0
    for character in text:
        is_wide = unicodedata.east_asian_width(character) in "WF"
        width += 2 if is_wide else 1
    return width


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _markdown_cell(cell: str) -> str:
    # Code stays as it is: "`a`, `b`".
    if re.fullmatch("(`[^`]+`(, )?)+", cell):
        return cell
    return escape(cell.strip()).replace("\n", "<br>")


class _Wrapper(textwrap.TextWrapper):
    """A wrapper that breaks lines at spaces and after commas.

    A word that is longer than a line is broken before arguments, such as in
    `initx.sparse(gain=relu)`, after the name of one, such as in `distribution='uniform'`, or after
    a slash or an underscore, such as in `encoder/self_attention/kernel`. `1/sqrt(2)` is not broken.
    """

    # `wordsep_re` and `_split` are those of `textwrap.TextWrapper`, which wraps between parts.
    wordsep_re = re.compile(r"(\s+)|(?<=,)")
    _breaks_in_long_words = re.compile(r"(?<!sqrt)(?=\()|(?<=[a-z][/_=])")

    def _split(self, text: str) -> list[str]:
        parts: list[str] = []
        for word in super()._split(text):
            if len(word) > self.width - len(self.subsequent_indent):
                parts += filter(None, self._breaks_in_long_words.split(word))
            else:
                parts.append(word)
        return parts


def drop_empty_columns(columns: Iterable[Column[Row]], rows: Sequence[Row]) -> list[Column[Row]]:
    """Leave out the columns without a value in any row; keep all if there are no rows."""
    if not rows:
        return list(columns)
    return [column for column in columns if any(cell_text(column.cell(row)) for row in rows)]


def legend(columns: Iterable[Column[Row]]) -> str:
    """Join the notes of the columns to a text."""
    notes = [f"{column.header}: {column.note}." for column in columns if column.note]
    return " ".join(notes)
