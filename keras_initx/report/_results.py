"""The form of all results: text, notebooks, pages, Markdown, CSV, JSON, data frames, figures."""

import abc
import contextlib
import dataclasses
import datetime
import functools
import html
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import keras

from keras_initx._checks import suggest_matches
from keras_initx._extras import import_optional
from keras_initx._received import show
from keras_initx._similar_paths import describe_paths, group_similar
from keras_initx._suggestions import did_you_mean
from keras_initx._version import __version__
from keras_initx.files import _local
from keras_initx.report._export import as_csv, as_json, finite, image, page, paragraphs
from keras_initx.report._figures import as_png, save_figure
from keras_initx.report._markdown import format_line, format_small
from keras_initx.report._markdown import paragraphs as markdown_paragraphs
from keras_initx.report._table import Column, Row, Table, cell_text, drop_empty_columns, legend
from keras_initx.report._terminal import line_width, unlimited_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_TITLE = 70  # characters of a title of a page, at most


def written_to(text: str, path: str | Path | None) -> str:
    """Write `text` to a file, unless `path` is `None`, and return it.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If `path` is a URL.
    """
    if path is not None:
        _local.write_file(_local.check_local("path", path), text)
    return text


# The methods that write other files than `save`.
_METHODS = {".csv": "to_csv", ".htm": "to_html", ".html": "to_html", ".md": "to_markdown"}


def check_other_formats(path: str | Path) -> None:
    """Raise `ValueError` if the name of a file that `save` writes is for another method."""
    method = _METHODS.get(Path(path).suffix.lower())
    if method:
        raise ValueError(
            f"`path` must be the path of a JSON file; `{method}` writes such a file. "
            f"Received: path={show(str(path))}"
        )


# What you may call a method by that has another name here.
_MEANT = {
    "data_frame": "to_pandas()",
    "dataframe": "to_pandas()",
    "df": "to_pandas()",
    "save": "to_json(path)",
    "show": "print(result)",
    "to_dataframe": "to_pandas()",
    "to_df": "to_pandas()",
    "to_frame": "to_pandas()",
}


class NoPlotError(TypeError):
    """The error of `plot` if a result has no figure."""


class Result(abc.ABC):
    """The result of a public function, for you to look at and for your programs to read.

    A result has `rows`, and is a collection of them: `len(result)`, `for row in result`,
    `result["dense/kernel"]`, `"dense/kernel" in result`. Two results are equal if they are of one
    kind and have equal contents. A subclass provides its contents in the methods that begin with
    `_`. The methods that you call use these, so they are the same for all results.
    """

    if TYPE_CHECKING:  # a field of a dataclass, which cannot take the place of a property

        @property
        def rows(self) -> Sequence[Any]: ...

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __contains__(self, path: object) -> bool:
        """Return whether there is a row of a weight or a layer.

        Args:
            path: Its path.
        """
        return any(row.path == path for row in self.rows)

    def __getitem__(self, path: str) -> Any:
        """Return the row of a weight or a layer.

        Args:
            path: Its path.

        Raises:
            KeyError: If there is no such row.
            TypeError: If `path` is no text. A number or a slice is for `rows`.
        """
        _check_path(path)
        paths = [row.path for row in self.rows]
        if path not in paths:
            raise KeyError(f"no row for {path!r}{suggest_matches(path, paths)}")
        return self.rows[paths.index(path)]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return other is self or self._json() == other._json()

    @property
    @abc.abstractmethod
    def summary(self) -> str:
        """The result in one sentence."""

    @abc.abstractmethod
    def __str__(self) -> str:
        """Return the text for `print`."""

    @abc.abstractmethod
    def _repr_html_(self) -> str:
        """Return the HTML for a notebook."""

    @abc.abstractmethod
    def _markdown_blocks(self) -> list[str]:
        """Make the blocks of the Markdown below its first line."""

    def _records(self) -> Sequence[dict[str, Any]]:
        """Make the rows of the CSV: dicts of values by column, not rounded."""
        return [dataclasses.asdict(row) for row in self.rows]

    def _json_rows(self) -> Sequence[dict[str, Any]]:
        """Make the rows of the JSON. By default, they are those of the CSV."""
        return self._records()

    def _own_content(self) -> dict[str, Any]:
        """Return what the JSON of this kind of result has after the keys that all have."""
        return {}

    def _judgement(self) -> dict[str, Any]:
        """Return what the JSON of a judgement has more."""
        return {}

    def _content(self) -> dict[str, Any]:
        """Collect the contents of the JSON, as dicts, lists, strings and numbers."""
        content = {
            "result": type(self).__name__,
            "keras_initx": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            **self._judgement(),
            "summary": self.summary,
            "rows": self._json_rows(),
            **self._own_content(),
        }
        return {key: finite(value) for key, value in content.items()}

    def _json(self) -> str:
        """Write the text of the JSON."""
        return f"{as_json(self._content(), indent=1)}\n"

    def _headline(self) -> str:
        """Write the text after the name of the class in `repr` and in the title of a page."""
        return f": {self.summary.removesuffix('.')}"

    def _legend(self) -> list[str]:
        """Write paragraphs on the meaning of the columns of the table."""
        return []

    def _figure(self) -> "Figure":
        """Draw the figure of `plot`. A subclass that has none does not define this method."""
        raise NoPlotError(
            f"a `{type(self).__name__}` has no plot: `print` shows its table, `to_html` makes a "
            "page, and `to_csv` and `to_pandas` give you its numbers"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{self._headline()}>"

    if not TYPE_CHECKING:  # which would take it for a name of any kind

        def __getattr__(self, name: str) -> Any:
            kind = type(self).__name__
            hint = did_you_mean([_MEANT[name]] if name in _MEANT else [])
            raise AttributeError(f"{kind!r} object has no attribute {name!r}{hint}", name=name)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return the result as CSV.

        Args:
            path: Path of a file to write it to as well, or `None` to write none.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `path` is a URL.
        """
        return written_to(as_csv(self._cells()), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the result as JSON, with `null` for infinities and NaN.

        Args:
            path: Path of a file to write it to as well, or `None` to write none.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `path` is a URL.
        """
        return written_to(self._json(), path)

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """Return the result as a self-contained page.

        The page also shows the plot, if the result has one and matplotlib is installed.

        Args:
            path: Path of a file to write it to as well, or `None` to write none.
            title: The title of the page. If you pass none, it is the result in a few words.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `path` is a URL.

        Example:
            >>> import keras_initx
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
            >>> plan = keras_initx.initialize(model, seed=0)
            >>> page = plan.to_html("plan.html", title="A small model")
            >>> "<h1>A small model</h1>" in page
            True
        """
        return written_to(page(title or self._title(), self._page_parts()), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return the result as Markdown, for a pull request, an issue or the summary of a CI job.

        Args:
            path: Path of a file to write it to as well, or `None` to write none.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `path` is a URL.

        Example:
            >>> import keras_initx
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
            >>> report = keras_initx.audit(model, {"logits/kernel": "glorot_uniform"})
            >>> print(report.to_markdown().splitlines()[0])
            **Audit report: 2 of 2 weights are as the rules say**
        """
        with unlimited_width():
            blocks = [f"**{format_line(self._title())}**", *self._markdown_blocks()]
        return written_to("\n\n".join([*blocks, format_small(self._made())]) + "\n", path)

    def to_pandas(self) -> Any:
        """Return the rows and columns of `to_csv` as a `pandas.DataFrame`.

        Raises:
            ImportError: If pandas is not installed.
        """
        return import_optional("pandas", "pandas").DataFrame(self._cells())

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Plot the result.

        Requires matplotlib, which the extra `plot` installs. Plans, contracts, recorded outputs,
        and the reports of loading, saving and ports have no plot.

        Args:
            path: Path of a file to write the figure to, or `None` to write none. The suffix sets
                the format.

        Returns:
            The figure, which a notebook shows.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written.
            TypeError: If this result has no plot.
            ValueError: If `path` is a URL, or its suffix is not a supported format.
        """
        return save_figure(self._figure(), path)

    def _title(self) -> str:
        """Write the title of the page, in words that fit a line. Longer texts are shown below."""
        words = re.sub("(?<=[a-z])(?=[A-Z])", " ", type(self).__name__).capitalize()
        first, *_ = re.split(r"[.;] ", self._headline(), maxsplit=1)
        return f"{words}{first}" if len(words + first) <= _TITLE else words

    def _body(self) -> str:
        """Make the HTML of the contents, without a title."""
        return self._repr_html_()

    def _made(self) -> str:
        """Name the time and the versions with which the result was made."""
        return f"{datetime.date.today().isoformat()}, keras_initx {__version__}, {self._versions()}"

    def _versions(self) -> str:
        """Name the versions of Keras and the backend with which the result was made."""
        return f"Keras {keras.__version__} on {keras.backend.backend()}"

    def _page_parts(self) -> list[str]:
        """Make the HTML of the page below its title."""
        parts = [
            paragraphs([self._made()], "quiet"),
            self._body(),
            paragraphs(self._legend(), "quiet"),
        ]
        with contextlib.suppress(ImportError, NoPlotError):
            parts.append(image(as_png(self.plot()), "Plot"))
        return parts

    def _cells(self) -> list[dict[str, Any]]:
        """Make the rows of the CSV, with a number or a text in each cell."""
        rows = []
        for record in self._records():
            rows.append({name: _cell(value) for name, value in record.items()})
        return rows


def describe_versions(result: Result) -> str:
    """Name the versions of Keras and the backend with which a result was made."""
    return result._versions()


def _check_path(path: object) -> None:
    if not isinstance(path, str):
        shown = _format_index(path)
        raise TypeError(
            f"`path` must be the path of a row. Received: {shown}. "
            f"If you mean the place of a row, use `result.rows[{shown}]`"
        )


def _format_index(index: object) -> str:
    # slice(1, None) -> "1:"
    if not isinstance(index, slice):
        return repr(index)
    ends = ["" if end is None else str(end) for end in (index.start, index.stop)]
    if index.step is not None:
        ends.append(str(index.step))
    return ":".join(ends)


def _cell(value: Any) -> Any:
    """Format a shape as text, `"3x4"`, and several names, `"a + b"`. Other values stay."""
    if not isinstance(value, list | tuple):
        return value
    separator = "x"
    if any(isinstance(part, str) for part in value):
        separator = " + "
    return separator.join(map(str, value))


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem with a weight or a layer.

    Attributes:
        path: The path of the weight or the layer.
        text: The problem in words.
    """

    path: str
    text: str

    def __str__(self) -> str:
        return self.text


class Judgement(Result):
    """A result that reports problems.

    Check `result.ok`. If you use the result itself in `assert` or `if`, it raises an error, because
    it would be true whether there are problems or not.
    """

    @property
    @abc.abstractmethod
    def problems(self) -> Sequence[Any]:
        """The problems: objects with a `path` and a `text`."""

    @property
    def ok(self) -> bool:
        """Whether there are no `problems`."""
        return not self.problems

    def _judgement(self) -> dict[str, Any]:
        with unlimited_width():
            problems = [{"path": problem.path, "text": problem.text} for problem in self.problems]
        return {"ok": self.ok, "problems": problems}

    def __bool__(self) -> bool:
        name = type(self).__name__
        raise TypeError(f"`{name}` has no truth value: use `.ok`, or `len(...)`")


class Tabular(Result, Generic[Row]):
    """A result that is a table: a dataclass with a row for each weight or layer.

    It provides its rows, its columns, a headline and perhaps a figure. Other lines are above and
    below the table.
    """

    # Whether the headers of the text are underlined.
    _has_rule: ClassVar[bool] = True

    def _rows(self) -> Sequence[Row]:
        """List the rows of the table, which may be groups of `rows`."""
        return self.rows

    @abc.abstractmethod
    def _columns(self) -> Sequence[Column[Row]]:
        """List the columns of the table."""

    def _above(self) -> list[str]:
        """Write the lines above the table."""
        return []

    def _below(self) -> list[str]:
        """Write the lines below the table."""
        return []

    def _legend(self) -> list[str]:
        text = legend(drop_empty_columns(self._columns(), self._rows()))
        return [text] if text else []

    def __str__(self) -> str:
        rows = self._rows()
        lines = self._above()
        if rows:
            table = Table.fitted(self._columns(), rows, line_width())
            lines.append(table.as_text(rule=self._has_rule).removesuffix("\n"))
        return "\n".join([*lines, *self._below()]).strip("\n")

    def _markdown_blocks(self) -> list[str]:
        rows = self._rows()
        blocks = markdown_paragraphs(line for line in self._above() if line != self._title())
        if rows:
            blocks.append(
                Table.of(drop_empty_columns(self._columns(), rows), rows).as_markdown().rstrip()
            )
        return [*blocks, *markdown_paragraphs(self._below())]

    def _repr_html_(self) -> str:
        rows = self._rows()
        parts = (
            [Table.of(drop_empty_columns(self._columns(), rows), rows).as_html()] if rows else []
        )
        for line in self._below():
            if line:
                parts.append(f"<p>{html.escape(line)}</p>")
        return "".join(parts)


class WeightTable(Tabular[Sequence[Row]]):
    """A table of weights, perhaps with a summary below it.

    Weights whose paths differ in numbers only share a row, if their cells are equal in all columns
    that require it. CSV and JSON have a row for each weight.
    """

    def _weights(self) -> Sequence[Row]:
        """List the weights of the table, by default `rows`."""
        return self.rows

    @abc.abstractmethod
    def _weight_columns(self) -> Sequence[Column[Row]]:
        """List the columns of a table with a row for each weight, the path first."""

    def _rows(self) -> Sequence[Sequence[Row]]:
        path, *others = self._weight_columns()
        exact = [column for column in others if column.alike == "equal"]
        return group_similar(
            self._weights(),
            lambda weight: cell_text(path.cell(weight)),
            lambda weight: tuple(cell_text(column.cell(weight)) for column in exact),
        )

    def _columns(self) -> Sequence[Column[Sequence[Row]]]:
        path, *others = self._weight_columns()

        def name(rows: Sequence[Row]) -> str:
            return describe_paths([cell_text(path.cell(row)) for row in rows])

        columns = [_make_group_column(path, name)]
        for column in others:
            columns.append(_make_group_column(column, functools.partial(_merge_cells, column)))
        return columns

    def _below(self) -> list[str]:
        return ["", self.summary]


def _make_group_column(
    column: Column[Row], cell: Callable[[Sequence[Row]], object]
) -> Column[Sequence[Row]]:
    return Column(
        column.header, cell, column.is_text, column.note, column.is_optional, column.is_name
    )


def _merge_cells(column: Column[Row], rows: Sequence[Row]) -> str:
    """Merge the cells of rows: the cell that all have, or the least and the greatest number."""
    cells = list(dict.fromkeys(cell_text(column.cell(row)) for row in rows))
    if column.alike != "range":
        return cells[0] if len(cells) == 1 else ""
    numbers = sorted(filter(None, cells), key=float)
    # If one is not finite, neither the least nor the greatest is known.
    if not all(math.isfinite(float(number)) for number in numbers):
        return "not finite"
    return "...".join(dict.fromkeys([*numbers[:1], *numbers[-1:]]))
