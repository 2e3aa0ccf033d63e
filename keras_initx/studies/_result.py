"""A result of a run: how its tables, remarks and plots become text, a notebook and a page."""

import abc
import contextlib
import dataclasses
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_initx._files import check_local
from keras_initx.rendering import (
    Column,
    Plot,
    Result,
    Table,
    as_png,
    counted,
    image,
    legend,
    line_width,
    new_figure,
    paragraphs,
    save_plots,
    section,
)
from keras_initx.studies._records import Record, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class ResultTable:
    """A table of a result.

    Attributes:
        columns: Its columns, with notes for the legend.
        rows: Its rows.
        title: Its title in the page, which the first table of a result does not need.
        note: A sentence at the end of the legend.
        is_printed: Whether it is part of the text, or only of the page.
    """

    columns: Sequence[Column[Record]]
    rows: Sequence[Record]
    title: str = ""
    note: str = ""
    is_printed: bool = True

    def as_text(self, width: int) -> str:
        """Return the table as aligned columns, with a line break at the end."""
        return Table.fitted(self.columns, self.rows, width).as_text()

    def as_html(self) -> str:
        """Return the table as HTML."""
        return Table.of(self.columns, self.rows).as_html()

    def legend(self) -> list[str]:
        """Return a paragraph on the columns, or none if there is nothing to explain."""
        text = " ".join([legend(self.columns), self.note]).strip()
        return [text] if text else []


class RunResult(Result):
    """A result of repeated training, which also has several plots, all of them on its page.

    A subclass says what there is to show: a headline, tables, remarks, plots and data.

    Attributes:
        title: Its title.
        settings: Dict of its settings.
    """

    title: str
    settings: Settings

    @abc.abstractmethod
    def _tables(self) -> list[ResultTable]:
        """Return the tables. The first one is shown everywhere, the others after it."""

    @abc.abstractmethod
    def remarks(self) -> list[str]:
        """Return the findings as sentences."""

    @abc.abstractmethod
    def _plots(self) -> Iterator[Plot]:
        """Yield the plots for which there are data, the main one first."""

    def __str__(self) -> str:
        width = line_width()
        first, *others = self._tables()
        lines = [self.title, self._conditions(), "", first.as_text(width)]
        for remark in self.remarks():
            lines.append(textwrap.fill(remark, width, subsequent_indent="  "))
        for text in first.legend():
            lines += ["", textwrap.fill(text, width)]
        for table in others:
            if table.is_printed:
                lines += ["", table.as_text(width)]
                lines += [textwrap.fill(text, width) for text in table.legend()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the first table and the remarks for a notebook."""
        table = self._tables()[0]
        conditions = paragraphs([self._conditions()], "quiet")
        return section(self.title, conditions, table.as_html(), paragraphs(self.remarks()))

    def _conditions(self) -> str:
        """Describe the settings in one line."""
        settings = self.settings
        if "repeats" in settings:
            runs = counted(settings["repeats"], "repeat")
        else:
            runs = counted(settings["n"], "draw")
        epochs = counted(settings["epochs"], "epoch")
        return (
            f"{runs} of {epochs}, batches of {settings['batch_size']}, seed {settings['seed']}, "
            f"Keras {settings['keras']} on {settings['backend']}"
        )

    def _figure(self) -> "Figure":
        """Return the first plot, or a figure that says that there is none yet."""
        for plot in self._plots():
            return plot.figure
        return new_figure(f"{self.title}: nothing to plot yet", size=(8, 1), extra="studies")

    def plots(self, folder: str | Path | None = None, suffix: str = "png") -> dict[str, "Figure"]:
        """Draw all plots, of which `plot` draws the first.

        Args:
            folder: The folder for files named after the plots, or `None` to write none.
            suffix: Format of the files, e.g. `"png"` or `"svg"`.

        Returns:
            Dict from the name of each plot to its figure.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If a file cannot be written.
            ValueError: If `folder` is a URL, or `suffix` not that of a supported format.
        """
        plots = list(self._plots())
        if folder is not None:
            save_plots(plots, Path(check_local("folder", folder)), suffix)
        return {plot.name: plot.figure for plot in plots}

    def _title(self) -> str:
        return self.title

    def _page_parts(self) -> list[str]:
        """Return all tables and plots."""
        first, *others = self._tables()
        parts = [
            paragraphs([self._conditions()], "quiet"),
            paragraphs(self.remarks()),
            first.as_html(),
            paragraphs(first.legend(), "quiet"),
        ]
        with contextlib.suppress(ImportError):
            for plot in self._plots():
                parts.append(image(as_png(plot.figure), plot.caption))
        for table in others:
            legends = [paragraphs([text], "quiet") for text in table.legend()]
            parts.append(section(table.title, table.as_html(), *legends))
        settings = tuple((name, _in_words(value)) for name, value in self.settings.items())
        table_html = Table(("setting", "value"), settings, are_text=(True, True)).as_html()
        parts.append(section("Settings", f'<div class="settings">{table_html}</div>'))
        return parts


def _in_words(setting: Any) -> str:
    """Return a setting for people: of functions and objects, their names and digests."""
    if isinstance(setting, dict | list | tuple):
        return ", ".join(part for part in setting if isinstance(part, str))
    return str(setting)
