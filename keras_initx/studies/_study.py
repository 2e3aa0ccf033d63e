"""The result of a comparison: its trials, and the tables and sentences that show them."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from keras_initx.rendering import (
    Column,
    Plot,
    as_json,
    counted,
    format_metric,
    listed,
    ranges,
    written,
)
from keras_initx.studies._plots import study_plots
from keras_initx.studies._records import Record, Trial
from keras_initx.studies._result import ResultTable, RunResult
from keras_initx.studies._statistics import POWER, SIGNIFICANT, needed_repeats
from keras_initx.studies._trials import BEYOND_CHANCE, Trials

__all__ = ["Study"]

_NAMES: list[Column[Record]] = [
    Column("", lambda row: row["place"]),
    # Of a length that leaves room for the other columns in 80 characters.
    Column("initializer", lambda row: row["initializer"], is_text=True),
]
_PROBLEM_COLUMNS: list[Column[Record]] = [
    Column("initializer", lambda row: row["initializer"], is_text=True),
    Column("problem", lambda row: row["problem"], is_text=True),
    Column("trials", lambda row: row["trials"]),
    Column("evidence in the first of them", lambda row: row["evidence"], is_text=True),
    Column("instead", lambda row: row["remedy"], is_text=True),
]
_PAIR_COLUMNS: list[Column[Record]] = [
    Column("first", lambda row: row["first"], is_text=True),
    Column("second", lambda row: row["second"], is_text=True),
    Column("pairs", lambda row: row["pairs"]),
    Column("difference", lambda row: format_metric(row["difference"])),
    Column(
        "95 % interval",
        lambda row: f"{format_metric(row['ci_low'])} to {format_metric(row['ci_high'])}",
    ),
    Column("p, corrected", lambda row: f"{row['p_corrected']:.2g}"),
    Column("verdict", lambda row: row["verdict"], is_text=True),
]


_NOTE = (
    f"better: in a paired t test, p < {SIGNIFICANT} after Holm's correction. "
    f"would take: repeats for a power of {100 * POWER:g} % at the effect seen."
)


# `Trials` has the fields and computes the numbers, `RunResult` writes text and pages. Here is what
# they show.
@dataclasses.dataclass(frozen=True, repr=False)
class Study(Trials, RunResult):
    """The result of `compare_initializers`, in the form of all results.

    `plot` shows the learning curves. The rows of `to_csv` are `records`.

    Attributes:
        title: The title of the study.
        settings: Dict of its settings.
        trials: Dict from `(initializer, repeat)` to a `Trial`.
        monitor: Name of the metric that initializers are compared by.
        mode: `"max"` or `"min"`: whether larger or smaller values are better.
        threshold: Value of the metric for "epochs to reach", or `None` while no trial is finished.
    """

    def to_jsonl(self, path: str | Path | None = None) -> str:
        """Return the rows of `to_csv` as JSON, one object per line.

        Args:
            path: Path of a file to write it to as well, or `None` to write none.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `path` is a URL.
        """
        lines = [f"{as_json(record)}\n" for record in self.records]
        return written("".join(lines), path)

    def _records(self) -> list[Record]:
        return self.records

    def _content(self) -> Record:
        return {
            "title": self.title,
            "settings": self.settings,
            "monitor": self.monitor,
            "mode": self.mode,
            "threshold": self.threshold,
            "statistics": self.statistics(),
            "comparisons": self.comparisons(),
            "problems": self.problems,
            "first_batches": self.first_batches,
            "records": self.records,
        }

    def _headline(self) -> str:
        statuses = collections.Counter(trial.status for trial in self.trials.values())
        counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
        initializers = counted(len(self.initializers), "initializer")
        return f" of {initializers}, {counted(len(self.trials), 'trial')}: {counts}"

    def _tables(self) -> list[ResultTable]:
        ranked = self._rows()
        tables = [
            ResultTable(self._columns(), ranked, note=_NOTE),
            ResultTable(self._curve_columns(), ranked, "The course of training"),
        ]
        problems = self.problems
        if problems:
            title = "Problems in the first batch"
            tables.append(ResultTable(_PROBLEM_COLUMNS, problems, title, is_printed=False))
        pairs = self.comparisons()
        tables.append(ResultTable(_PAIR_COLUMNS, pairs, "All pairs", is_printed=False))
        return tables

    def _rows(self) -> list[Record]:
        """Return the statistics of each initializer, with its place."""
        return [{**row, "place": place} for place, row in enumerate(self.statistics(), 1)]

    def _columns(self) -> list[Column[Record]]:
        """Return the columns of the table of results."""
        return [
            *_NAMES,
            Column(
                self.monitor,
                _mean_and_deviation,
                note="after the last epoch, mean ± standard deviation over the repeats",
            ),
            Column(
                "95 % interval",
                _interval_of_mean,
                note="Student's t interval of the mean",
            ),
            _epochs(
                f"to {self._goal()}",
                "epochs_to_threshold",
                "median number of epochs to reach this value",
            ),
            Column(
                "gap",
                lambda row: format_metric(row["gap"]),
                note="how much better on the training data",
            ),
        ]

    def _curve_columns(self) -> list[Column[Record]]:
        """Return the columns of the table on the course of training."""
        return [
            *_NAMES,
            _epochs(
                "start",
                "epochs_to_start",
                "median of the epoch from which on it stays beyond chance: "
                f"{100 * BEYOND_CHANCE:g} % of the way from the mean before training to the best "
                "mean at the end",
            ),
            Column(
                "best",
                lambda row: format_metric(row["best"]),
                note=f"mean of the best {self.monitor} of each trial",
            ),
            _epochs("at", "best_epoch", "median of the epochs of these"),
            _epochs("stop", "stop_epoch", "epoch at which the mean over the repeats is best"),
            Column(
                "jump",
                lambda row: format_metric(row["jump"]),
                note="mean absolute change from epoch to epoch over the second half of training, "
                "without what rises or falls steadily",
            ),
            Column(
                f"s to {self._goal()}",
                lambda row: _or_never(row["seconds_to_threshold"], ".2g"),
                note="median of the seconds to reach this value, without compiling",
            ),
        ]

    def _goal(self) -> str:
        return "-" if self.threshold is None else format_metric(self.threshold)

    def remarks(self) -> list[str]:
        """Return the findings as sentences.

        They are on unfinished trials, missing seeds, the tests, and the first batch.
        """
        return [
            *_remarks_on_unfinished_trials(self),
            *_remarks_on_missing_seeds(self),
            *_remarks_on_tests(self),
            *_remarks_on_first_batches(self),
        ]

    def _plots(self) -> Iterator[Plot]:
        return study_plots(self)


def _mean_and_deviation(row: Record) -> str:
    if not row["finished"]:
        return "-"
    return f"{format_metric(row['mean'])} ± {format_metric(row['std'])}"


def _interval_of_mean(row: Record) -> str:
    if row["finished"] < 2:
        return "-"
    return f"{format_metric(row['ci_low'])} to {format_metric(row['ci_high'])}"


def _epochs(header: str, key: str, note: str) -> Column[Record]:
    """Return the column of a median number of epochs."""
    return Column(header, lambda row: _or_never(row[key]), note=note)


def _or_never(median: float, precision: str = "g") -> str:
    if math.isnan(median):
        return "-"
    if math.isinf(median):
        return "never"
    return format(median, precision)


def _remarks_on_unfinished_trials(trials: Trials) -> list[str]:
    remarks = []
    for row in trials.statistics():
        name = row["initializer"]
        reasons = {
            "diverged": ", so it is last and not tested",
            "failed": first_error(trials.trials_of(name).values()),
            "unfinished": "",
        }
        for status, reason in reasons.items():
            if row[status]:
                count = f"{row[status]} of {trials.settings['repeats']} trials"
                remarks.append(f"{name}: {count} {status}{reason}.")
    return remarks


def first_error(trials: Iterable[Trial]) -> str:
    """Return the end of a sentence on trials that failed: the first line of the first error."""
    for trial in trials:
        if "error" in trial.end:
            line = trial.end["error"].splitlines()[0]
            return f": {line.rstrip('.')}"
    return ""


def _remarks_on_missing_seeds(trials: Trials) -> list[str]:
    names = trials.settings.get("unseeded")
    if not names:
        return []
    return [
        f"No seed is taken by {listed(names)}: what draws random numbers there forms no pairs with "
        "the others, and the same study again may give other values. An initializer takes a seed "
        "if it has an argument `seed`, which its `get_config` returns."
    ]


def _remarks_on_tests(trials: Trials) -> list[str]:
    pairs = trials.comparisons()
    if not pairs:
        return ["There are no two initializers to compare."]
    tested = [pair for pair in pairs if pair["pairs"] > 1]
    significant = [pair for pair in tested if pair["significant"]]
    remarks = []
    if len(tested) > 1 and not significant:
        remarks.append(_remark_on_the_clearest(tested))
    elif tested:
        remarks += _remarks_on_what_is_better(significant)
        remarks += _remarks_on_the_best(trials, tested)
        if len(significant) == len(pairs):
            remarks.append("All differences are significant.")
    if len(tested) < len(pairs):
        remarks.append("One pair is not enough for a test: repeat more often.")
    return remarks


def _remark_on_the_clearest(tested: list[Record]) -> str:
    """Return the remark on pairs of which none is significant."""
    clearest = min(tested, key=lambda pair: pair["repeats_needed"])
    needed = needed_repeats(clearest["repeats_needed"])
    return (
        f"With {_repeats(tested)} no difference is shown between any two of them. The clearest, "
        f"between {clearest['first']} and {clearest['second']}, would take {needed}."
    )


def _remarks_on_what_is_better(significant: list[Record]) -> list[str]:
    """Return a sentence for the initializers that are better than the same others."""
    worse: dict[str, list[str]] = {}
    for pair in significant:
        worse.setdefault(pair["first"], []).append(pair["second"])
    better: dict[str, list[str]] = {}
    for name, others in worse.items():
        better.setdefault(listed(others), []).append(name)
    remarks = []
    for others_listed, names in better.items():
        verb = "is" if len(names) == 1 else "are each"
        remarks.append(f"{listed(names)} {verb} better than {others_listed}.")
    return remarks


def _remarks_on_the_best(trials: Trials, tested: list[Record]) -> list[str]:
    """Return the remark on the first in the table, and those that it may not be better than."""
    best, *others = [row["initializer"] for row in trials.statistics()]
    tests_of_best = []
    not_shown = []
    for name in others:
        for pair in tested:
            if {pair["first"], pair["second"]} != {best, name}:
                continue
            tests_of_best.append(pair)
            if not pair["significant"]:
                needed = needed_repeats(pair["repeats_needed"])
                not_shown.append(f"{name} (would take {needed})")
    if not not_shown:
        return []
    return [
        f"With {_repeats(tests_of_best)} no difference is shown between {best} and "
        f"{listed(not_shown)}."
    ]


def _repeats(pairs: Iterable[Record]) -> str:
    return f"{ranges({pair['pairs'] for pair in pairs})} repeats"


def _remarks_on_first_batches(trials: Trials) -> list[str]:
    problems: dict[str, list[str]] = {}
    for row in trials.problems:
        problem = f"{row['problem']} in {row['trials']}"
        problems.setdefault(row["initializer"], []).append(problem)
    remarks = []
    for name, found in problems.items():
        # Of a study that is unfinished, or was resumed with another `diagnosis`, these are not all.
        diagnosed = [trial for trial in trials.trials_of(name).values() if trial.first_batch]
        remarks.append(f"{name}, before training: {listed(found)} of {len(diagnosed)} trials.")
    errors = []
    for trial in trials.trials.values():
        if "error" in trial.first_batch:
            errors.append(trial.first_batch["error"])
    if errors:
        reason = errors[0].splitlines()[0]
        remarks.append(f"The first batch could not be diagnosed in {len(errors)} trials: {reason}")
    return remarks
