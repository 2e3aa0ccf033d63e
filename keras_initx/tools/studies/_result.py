"""The form of the results of studies, as text and in a notebook."""

import abc
import textwrap
from typing import Any

from keras_initx.report._export import paragraphs, section
from keras_initx.report._results import Tabular
from keras_initx.report._table import Table
from keras_initx.report._terminal import line_width
from keras_initx.report._text import format_count, join_names
from keras_initx.tools.studies._types import Record


class StudyResult(Tabular[Record]):
    """A result of repeated training: a table, and its findings in sentences.

    Attributes:
        title: Its title.
        settings: Dict of its settings.
    """

    _has_rule = False

    title: str
    settings: Record

    @abc.abstractmethod
    def remarks(self) -> list[str]:
        """Return the findings as sentences."""

    @property
    @abc.abstractmethod
    def rows(self) -> list[Record]:
        """A dict for each epoch of each trial."""

    @abc.abstractmethod
    def __getitem__(self, key: Any) -> Record:
        """Return the record of a trial."""

    @abc.abstractmethod
    def __contains__(self, key: object) -> bool:
        """Return whether there is a trial."""

    @property
    def summary(self) -> str:
        """The trained models and trials, in one sentence."""
        return f"{self._headline().removeprefix(' of ').capitalize()}."

    @abc.abstractmethod
    def _headline(self) -> str: ...

    def _records(self) -> list[Record]:
        return self.rows

    def _title(self) -> str:
        return self.title

    def _above(self) -> list[str]:
        return [self.title, self._conditions(), ""]

    def _below(self) -> list[str]:
        width = line_width()
        lines = [""]
        for remark in self.remarks():
            lines.append(textwrap.fill(remark, width, subsequent_indent="  "))
        for text in self._legend():
            lines += ["", textwrap.fill(text, width)]
        return lines

    def _repr_html_(self) -> str:
        return section(self.title, self._body())

    def _body(self) -> str:
        """Return the conditions, the table and the remarks."""
        table = Table.of(self._columns(), self._rows()).as_html()
        conditions = paragraphs([self._conditions()], "quiet")
        return f"{conditions}{table}{paragraphs(self.remarks())}"

    def _conditions(self) -> str:
        """Describe the settings in one line."""
        settings = self.settings
        if "repeats" in settings:
            runs = format_count(settings["repeats"], "repeat")
        else:
            runs = format_count(settings["n"], "draw")
        epochs = format_count(settings["epochs"], "epoch")
        return (
            f"{runs} of {epochs}, batches of {settings['batch_size']}, seed {settings['seed']}, "
            f"Keras {settings['keras']} on {settings['backend']}"
        )


def records_of(known: Record, trial: Record) -> list[Record]:
    """Make a row for each epoch of a trial. Each begins with the facts about the trial."""
    epochs = trial.get("epochs", [])
    return [{**known, "status": trial["status"], **metrics} for metrics in epochs]


def remarks_on_not_compared(settings: Record) -> list[str]:
    """Write the remark on possible changes since the trials in the folder were run."""
    parts = settings.get("not_compared")
    if not parts:
        return []
    return [f"Not compared with the trials in `out`: {join_names(parts)}."]
