"""The result of a comparison: its trials, their summary, and how both are shown."""

import collections
import dataclasses
import functools
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_initx._extras import import_optional
from keras_initx.rendering._export import as_csv, as_json, paragraphs, section
from keras_initx.rendering._table import Column, Table, legend, narrow
from keras_initx.rendering._text import counted
from keras_initx.studies import _tables
from keras_initx.studies._plots import study_plots
from keras_initx.studies._records import Record
from keras_initx.studies._result import WIDTH, Plot, Result
from keras_initx.studies._summary import POWER, Summary
from keras_initx.studies._trials import Trials


@dataclasses.dataclass(frozen=True, repr=False)
class Study(Trials, Result):
    """The result of `compare_initializers`, shown as a table by `print` and in notebooks.

    Attributes:
        title: The title of the study.
        settings: Dict of its settings.
        trials: Dict from `(initializer, repeat)` to a `Trial`.
        monitor: Name of the metric that initializers are compared by.
        mode: `"max"` or `"min"`: whether larger or smaller values are better.
        threshold: Value of the metric for "epochs to reach", or `None` while no trial is finished.
    """

    @functools.cached_property
    def _summary(self) -> Summary:
        return Summary(self)

    def summary(self) -> list[Record]:
        """Return a dict of statistics for each initializer, best first. Initializers with diverged trials are last."""
        return [row.copy() for row in self._summary.rows]

    def comparisons(self) -> list[Record]:
        """Return a dict for each pair of initializers: the paired difference of their final values, and its test.

        The p-value is that of the paired t test, corrected by Holm's method for the number of
        comparisons. Initializers with a diverged trial are left out, because that trial has no
        final value. If a difference is not significant, `"repeats_needed"` is the number of repeats
        that would show it with a power of 80 %, assuming the observed effect.
        """
        return [row.copy() for row in self._summary.pairs]

    def problems(self) -> list[Record]:
        """Return a dict for each initializer and each problem that `diagnose` found in its first batches."""
        return [row.copy() for row in self._summary.problems]

    def to_csv(self, path: str | Path) -> None:
        """Write the records to a CSV file."""
        Path(path).write_text(as_csv(self.records), encoding="utf-8", newline="")

    def to_jsonl(self, path: str | Path) -> None:
        """Write the records to a file with one JSON object per line, and `null` for infinities and NaN."""
        Path(path).write_text("".join(f"{as_json(record)}\n" for record in self.records), encoding="utf-8")

    def to_pandas(self) -> Any:
        """Return the records as a `pandas.DataFrame`.

        Raises:
            ImportError: If pandas is not installed.
        """
        return import_optional("pandas", None).DataFrame(self.records)

    def remarks(self) -> list[str]:
        """Return sentences on unfinished trials, the results of the tests, and the first batch."""
        return _tables.remarks(self, self._summary)

    def _columns(self) -> list[Column[Record]]:
        return _tables.summary_columns(self)

    def _rows(self) -> list[Record]:
        return _tables.summary_rows(self._summary)

    def _plots(self) -> list[Plot]:
        return study_plots(self, self._summary)

    def _legend(self, columns: Sequence[Column[Record]]) -> list[str]:
        (text,) = super()._legend(columns)
        return [f"{text} would take: repeats for a power of {100 * POWER:g} % at the effect seen."]

    def _below(self) -> list[str]:
        columns = narrow(_tables.curve_columns(self))
        table = Table.of(columns, self._rows()).as_text()
        return [*super()._below(), "", table, textwrap.fill(legend(columns), WIDTH)]

    def _sections(self) -> list[str]:
        columns = _tables.curve_columns(self)
        table = Table.of(columns, self._rows()).as_html()
        sections = [section("The course of training", table, paragraphs([legend(columns)], "quiet"))]
        if problems := self._summary.problems:
            table = Table.of(_tables.PROBLEM_COLUMNS, problems).as_html()
            sections.append(section("Problems in the first batch", table))
        return [*sections, section("All pairs", Table.of(_tables.PAIR_COLUMNS, self._summary.pairs).as_html())]

    def _headline(self) -> str:
        status = collections.Counter(trial.status for trial in self.trials.values())
        counts = ", ".join(f"{count} {name}" for name, count in status.items())
        total = f"{counted(len(self.initializers), 'initializer')}, {counted(len(self.trials), 'trial')}"
        return f" of {total}: {counts}"
