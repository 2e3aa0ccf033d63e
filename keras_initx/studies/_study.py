"""The result of a comparison: records, statistics of each initializer, and pairwise tests."""

import collections
import dataclasses
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_initx._extras import import_optional
from keras_initx.rendering._export import as_csv, as_json, paragraphs, section
from keras_initx.rendering._table import Column, Table, legend, narrow
from keras_initx.rendering._text import counted
from keras_initx.studies import _plots, _summary
from keras_initx.studies import _summary as _course
from keras_initx.studies import _tables as _remarks
from keras_initx.studies._metric import agreed, check_threshold, resolve_metric, sign
from keras_initx.studies._plan import plan_trials
from keras_initx.studies._records import Direction, FloatArray, Folder, Mode, Record, Settings, Trial
from keras_initx.studies._result import WIDTH, Plot, Result
from keras_initx.studies._summary import POWER
from keras_initx.studies._tables import PAIR_COLUMNS, PROBLEM_COLUMNS, course_columns, summary_columns, summary_rows


@dataclasses.dataclass(frozen=True, repr=False)
class Study(Result):
    """The result of `compare_initializers`, shown as a table by `print` and in notebooks.

    Attributes:
        title: The title of the study.
        settings: Dict of its settings.
        trials: Dict from `(initializer, repeat)` to a `Trial`.
        monitor: Name of the metric that initializers are compared by.
        mode: `"max"` or `"min"`: whether larger or smaller values are better.
        threshold: Value of the metric for "epochs to reach", or `None` while no trial is finished.
    """

    title: str
    settings: Settings
    trials: dict[tuple[str, int], Trial]
    monitor: str
    mode: Direction
    threshold: float | None

    @classmethod
    def read(
        cls, path: str | Path, *, monitor: str | None = None, mode: Mode = "auto", threshold: float | None = None
    ) -> "Study":
        """Read a study from a folder. The study may be unfinished.

        Args:
            path: Path of the folder.
            monitor: See `compare_initializers`.
            mode: See `compare_initializers`.
            threshold: See `compare_initializers`.

        Raises:
            DamagedFileError: If a file is damaged.
            FileNotFoundError: If the folder contains no study.
            TypeError: If an argument has the wrong type.
            ValueError: If the folder contains another kind of run, there is no metric named
                `monitor`, or its direction is unknown and not given by `mode`.
        """
        check_threshold(threshold)
        folder = Folder(path)
        settings = folder.settings("compare")
        trials = agreed({(plan.initializer, plan.repeat): folder.trial(plan.key) for plan in plan_trials(settings)})
        monitor, direction = resolve_metric(trials.values(), monitor, mode)
        study = cls(settings["title"], settings, trials, monitor, direction, threshold)
        if threshold is None:
            threshold = _course.level(study, _course.NEARLY_ALL)
        return dataclasses.replace(study, threshold=threshold)

    @property
    def initializers(self) -> list[str]:
        """The names of the initializers."""
        return list(self.settings["initializers"])

    @property
    def records(self) -> list[Record]:
        """A list of dicts with names, status and metrics of each epoch of each trial. Epoch 0 is before training.

        The record of epoch 0 also has the `"problems"` that `diagnose` found in the first batch.
        """
        return [
            {"initializer": name, "repeat": repeat, "status": trial.status}
            | {key: value for key, value in metrics.items() if key != "batch_losses"}
            | ({"problems": ", ".join(trial.problems)} if metrics["epoch"] == 0 else {})
            for (name, repeat), trial in self.trials.items()
            for metrics in trial.epochs
        ]

    @property
    def first_batches(self) -> list[Record]:
        """A list of dicts with names and first-batch statistics of each layer of each trial."""
        return [
            {"initializer": name, "repeat": repeat, **layer}
            for (name, repeat), trial in self.trials.items()
            for layer in trial.first_batch.get("layers", [])
        ]

    def problems(self) -> list[Record]:
        """Return a dict for each initializer and each problem that `diagnose` found in its first batches."""
        rows: dict[tuple[str, str], Record] = {}
        for (name, _), trial in self.trials.items():
            for verdict in trial.verdicts:
                row = {"initializer": name, "trials": 0, **verdict}
                rows.setdefault((name, verdict["problem"]), row)["trials"] += 1
        return list(rows.values())

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

    def trials_of(self, name: str) -> dict[int, Trial]:
        """Return the trials of an initializer, by repeat."""
        return {repeat: trial for (own, repeat), trial in self.trials.items() if own == name}

    def _finished(self, name: str) -> dict[int, Trial]:
        return {repeat: trial for repeat, trial in self.trials_of(name).items() if trial.status == "finished"}

    def curves(self, name: str, metric: str) -> FloatArray:
        """Return a metric of all finished trials of an initializer as an array of shape `(trials, epochs + 1)`.

        Values that do not exist before training, such as the training loss, are NaN.
        """
        trials = self._finished(name).values()
        values = [[metrics.get(metric, math.nan) for metrics in trial.epochs] for trial in trials]
        return np.array(values, "float64").reshape(len(trials), self.settings["epochs"] + 1)

    def final_values(self, name: str) -> dict[int, float]:
        """Return the last value of `monitor` of each finished trial of an initializer, by repeat."""
        return {repeat: trial.epochs[-1][self.monitor] for repeat, trial in self._finished(name).items()}

    def gaps(self, name: str) -> list[float]:
        """Return the generalization gap of each finished trial: how much better it ended on the training data."""
        validation = self.curves(name, self.monitor)
        training = self.curves(name, self.monitor.removeprefix("val_"))
        return [float(gap) for gap in sign(self.mode) * (training - validation)[:, -1]]

    def jumps(self, name: str) -> list[float]:
        """Return how much `monitor` fluctuates between epochs in the second half of training, for each finished trial.

        This is the mean absolute change between consecutive epochs minus the absolute mean change.
        It is 0 for a monotonic curve.
        """
        return _course.jumps(self.curves(name, self.monitor))

    def epochs_to_threshold(self, name: str) -> list[float]:
        """Return the first epoch at which each finished trial was as good as `threshold`, or infinity if never."""
        if self.threshold is None:
            return []
        return _course.first_epochs(self.curves(name, self.monitor), self.threshold, sign(self.mode))

    def summary(self) -> list[Record]:
        """Return a dict of statistics for each initializer, best first. Initializers with diverged trials are last."""
        return _summary.summarize(self)

    def comparisons(self) -> list[Record]:
        """Return a dict for each pair of initializers: the paired difference of their final values, and its test.

        The p-value is that of the paired t test, corrected by Holm's method for the number of
        comparisons. Initializers with a diverged trial are left out, because that trial has no
        final value. If a difference is not significant, `"repeats_needed"` is the number of repeats
        that would show it with a power of 80 %, assuming the observed effect.
        """
        return _summary.compare_pairs(self)

    def remarks(self) -> list[str]:
        """Return sentences on unfinished trials, the results of the tests, and the first batch."""
        return _remarks.remarks(self)

    def _columns(self) -> list[Column[Record]]:
        return summary_columns(self)

    def _rows(self) -> list[Record]:
        return summary_rows(self)

    def _legend(self, columns: Sequence[Column[Record]]) -> list[str]:
        (text,) = super()._legend(columns)
        return [f"{text} would take: repeats for a power of {100 * POWER:g} % at the effect seen."]

    def __str__(self) -> str:
        columns = narrow(course_columns(self))
        table = Table.of(columns, self._rows()).as_text()
        return f"{super().__str__()}\n\n{table}\n{textwrap.fill(legend(columns), WIDTH)}"

    def _plots(self) -> list[Plot]:
        return _plots.study_plots(self)

    def _sections(self) -> list[str]:
        columns = course_columns(self)
        table = Table.of(columns, self._rows()).as_html()
        sections = [section("The course of training", table, paragraphs([legend(columns)], "quiet"))]
        if problems := self.problems():
            sections.append(section("Problems in the first batch", Table.of(PROBLEM_COLUMNS, problems).as_html()))
        return [*sections, section("All pairs", Table.of(PAIR_COLUMNS, self.comparisons()).as_html())]

    def __repr__(self) -> str:
        status = collections.Counter(trial.status for trial in self.trials.values())
        counts = ", ".join(f"{count} {name}" for name, count in status.items())
        total = f"{counted(len(self.initializers), 'initializer')}, {counted(len(self.trials), 'trial')}"
        return f"<Study of {total}: {counts}>"
