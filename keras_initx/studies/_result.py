"""Base class of results: show them as text, in notebooks, as plots and as an HTML report."""

import abc
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from keras_initx._files import check_local
from keras_initx.rendering import (
    Column,
    Plot,
    Table,
    Tabular,
    as_png,
    counted,
    image,
    legend,
    narrow,
    page,
    paragraphs,
    save_plots,
    section,
)
from keras_initx.studies._records import Record, Settings, write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 79  # characters of a line


class Result(Tabular[Record]):
    """A result that can be shown as text, in notebooks, as plots and as an HTML report.

    Attributes:
        title: Its title.
        settings: Dict of its settings.
    """

    title: str
    settings: Settings
    _has_rule: ClassVar[bool] = False

    @abc.abstractmethod
    def remarks(self) -> list[str]:
        """Return the findings as sentences."""

    @abc.abstractmethod
    def _plots(self) -> list[Plot]:
        """Return the plots for which there are data."""

    def _legend(self, columns: Sequence[Column[Record]]) -> list[str]:
        """Return paragraphs that explain the columns."""
        return [text] if (text := legend(columns)) else []

    def _sections(self) -> list[str]:
        """Return further sections of the report, as HTML."""
        return []

    def _conditions(self) -> str:
        """Describe the settings in one line."""
        settings = self.settings
        what = (
            counted(settings["repeats"], "repeat")
            if "repeats" in settings
            else counted(settings["n"], "draw")
        )
        return (
            f"{what} of {counted(settings['epochs'], 'epoch')}, batches of {settings['batch_size']}, "
            f"seed {settings['seed']}, Keras {settings['keras']} on {settings['backend']}"
        )

    def _text_columns(self) -> list[Column[Record]]:
        return narrow(self._columns())

    def _below(self) -> list[str]:
        remarks = [
            textwrap.fill(remark, WIDTH, subsequent_indent="  ") for remark in self.remarks()
        ]
        legends = [f"\n{textwrap.fill(text, WIDTH)}" for text in self._legend(self._text_columns())]
        return ["", *remarks, *legends]

    def __str__(self) -> str:
        return "\n".join([self.title, self._conditions(), "", super().__str__()])

    def _repr_html_(self) -> str:
        """Return the table and the remarks for a notebook."""
        table = Table.of(self._columns(), self._rows()).as_html()
        return section(
            self.title, paragraphs([self._conditions()], "quiet"), table, paragraphs(self.remarks())
        )

    def plot(self, folder: str | Path | None = None, suffix: str = "png") -> dict[str, "Figure"]:
        """Plot the result.

        Args:
            folder: The folder for files named after the plots, or `None` to write none.
            suffix: Format of the files, e.g. `"png"` or `"svg"`.

        Returns:
            Dict from the name of each plot to its figure.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        plots = self._plots()
        if folder is not None:
            save_plots(plots, Path(check_local("folder", folder)), suffix)
        return {plot.name: plot.figure for plot in plots}

    def report(self, path: str | Path) -> None:
        """Write a self-contained HTML report with all tables and plots.

        Raises:
            ImportError: If matplotlib is not installed.
            RecordError: If the file cannot be written.
        """
        self._write_report(
            Path(path), [(as_png(plot.figure), plot.caption) for plot in self._plots()]
        )

    def _write_report(self, path: Path, pictures: Iterable[tuple[bytes, str]]) -> None:
        columns = self._columns()
        settings = tuple((name, str(value)) for name, value in self.settings.items())
        parts = [
            paragraphs([self._conditions()], "quiet"),
            paragraphs(self.remarks()),
            Table.of(columns, self._rows()).as_html(),
            paragraphs(self._legend(columns), "quiet"),
            *(image(png, caption) for png, caption in pictures),
            *self._sections(),
            section(
                "Settings", Table(("setting", "value"), settings, are_text=(True, True)).as_html()
            ),
        ]
        write_atomic(path, page(self.title, parts).encode())


def write_plots_and_report(result: Result, folder: Path) -> None:
    """Write `plots` and `report.html` to a folder, and draw each plot once.

    Raises:
        ImportError: If matplotlib is not installed.
        RecordError: If the report cannot be written.
    """
    plots = result._plots()
    paths = save_plots(plots, folder / "plots", "png")
    pictures = [(path.read_bytes(), plot.caption) for path, plot in zip(paths, plots, strict=True)]
    result._write_report(folder / "report.html", pictures)
