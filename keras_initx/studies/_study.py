"""The result of a comparison: its trials and their summary, shown in tables and in sentences."""

import collections
import dataclasses
import math
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from keras_initx import _files
from keras_initx._extras import import_optional
from keras_initx.rendering import (
    Column,
    Plot,
    Table,
    as_csv,
    as_json,
    counted,
    format_metric,
    legend,
    listed,
    narrow,
    paragraphs,
    ranges,
    section,
)
from keras_initx.studies._plots import study_plots
from keras_initx.studies._records import Record
from keras_initx.studies._result import WIDTH, Result
from keras_initx.studies._statistics import POWER, SIGNIFICANT, needed_repeats
from keras_initx.studies._trials import BEYOND_CHANCE, Trials

__all__ = ["Study"]

_NAMES: list[Column[Record]] = [
    Column("", lambda row: row["place"]),
    # Of a length that leaves room for the other columns in 80 characters.
    Column("initializer", lambda row: row["initializer"], is_text=True, max_width=18),
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

    def to_csv(self, path: str | Path) -> None:
        """Write the records to a CSV file."""
        _files.write(path, as_csv(self.records))

    def to_jsonl(self, path: str | Path) -> None:
        """Write the records to a file with one JSON object per line, and `null` for infinities and NaN."""
        _files.write(path, "".join(f"{as_json(record)}\n" for record in self.records))

    def to_pandas(self) -> Any:
        """Return the records as a `pandas.DataFrame`.

        Raises:
            ImportError: If pandas is not installed.
        """
        return import_optional("pandas", None).DataFrame(self.records)

    def remarks(self) -> list[str]:
        """Return sentences on unfinished trials, missing seeds, the results of the tests, and the first batch."""
        return [*_unfinished(self), *_unseeded(self), *_tests(self), *_problems(self)]

    def _columns(self) -> list[Column[Record]]:
        goal = "-" if self.threshold is None else format_metric(self.threshold)
        return [
            *_NAMES,
            Column(
                self.monitor,
                lambda row: (
                    f"{format_metric(row['mean'])} ± {format_metric(row['std'])}"
                    if row["finished"]
                    else "-"
                ),
                note="after the last epoch, mean ± standard deviation over the repeats",
            ),
            Column(
                "95 % interval",
                lambda row: (
                    f"{format_metric(row['ci_low'])} to {format_metric(row['ci_high'])}"
                    if row["finished"] > 1
                    else "-"
                ),
                note="Student's t interval of the mean",
            ),
            _epochs(
                f"to {goal}", "epochs_to_threshold", "median number of epochs to reach this value"
            ),
            Column(
                "gap",
                lambda row: format_metric(row["gap"]),
                note="how much better on the training data",
            ),
            Column(
                "s/epoch",
                lambda row: f"{row['seconds_per_epoch']:.2g}" if row["finished"] else "-",
                note="median of the seconds of an epoch",
                wide_only=True,
            ),
            Column(
                "beats",
                lambda row: ranges(row["beats"]) or "-",
                note=f"lines that it is better than in a paired t test, p < {SIGNIFICANT} after Holm's correction",
            ),
        ]

    def _curve_columns(self) -> list[Column[Record]]:
        """Return the columns of the table on the course of training."""
        goal = "-" if self.threshold is None else format_metric(self.threshold)
        return [
            *_NAMES,
            _epochs(
                "start",
                "epochs_to_start",
                f"median of the epoch from which on it stays beyond chance: {100 * BEYOND_CHANCE:g} % of the way from "
                "the mean before training to the best mean at the end",
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
                note="mean absolute change from epoch to epoch over the second half of training, without what rises or "
                "falls steadily",
            ),
            Column(
                f"s to {goal}",
                lambda row: _or_never(row["seconds_to_threshold"], ".2g"),
                note="median of the seconds to reach this value, without compiling",
            ),
        ]

    def _rows(self) -> list[Record]:
        """Return the statistics of each initializer, with its `"place"` and the places of those it `"beats"`."""
        rows = [{**row, "place": place, "beats": []} for place, row in enumerate(self.summary(), 1)]
        named = {row["initializer"]: row for row in rows}
        for pair in self.comparisons():
            if pair["significant"]:
                named[pair["first"]]["beats"].append(named[pair["second"]]["place"])
        return rows

    def _plots(self) -> list[Plot]:
        return study_plots(self)

    def _legend(self, columns: Sequence[Column[Record]]) -> list[str]:
        return [
            f"{legend(columns)} would take: repeats for a power of {100 * POWER:g} % at the effect seen."
        ]

    def _below(self) -> list[str]:
        columns = narrow(self._curve_columns())
        table = Table.of(columns, self._rows()).as_text()
        return [*super()._below(), "", table, textwrap.fill(legend(columns), WIDTH)]

    def _sections(self) -> list[str]:
        columns = self._curve_columns()
        table = Table.of(columns, self._rows()).as_html()
        sections = [
            section("The course of training", table, paragraphs([legend(columns)], "quiet"))
        ]
        if problems := self.problems():
            sections.append(
                section(
                    "Problems in the first batch", Table.of(_PROBLEM_COLUMNS, problems).as_html()
                )
            )
        return [
            *sections,
            section("All pairs", Table.of(_PAIR_COLUMNS, self.comparisons()).as_html()),
        ]

    def _headline(self) -> str:
        status = collections.Counter(trial.status for trial in self.trials.values())
        counts = ", ".join(f"{count} {name}" for name, count in status.items())
        total = f"{counted(len(self.initializers), 'initializer')}, {counted(len(self.trials), 'trial')}"
        return f" of {total}: {counts}"


def _epochs(header: str, key: str, note: str) -> Column[Record]:
    return Column(header, lambda row: _or_never(row[key]), note=note)


def _or_never(median: float, precision: str = "g") -> str:
    return (
        "-" if math.isnan(median) else "never" if math.isinf(median) else format(median, precision)
    )


def _unfinished(trials: Trials) -> list[str]:
    lines = []
    for row in trials.summary():
        own = trials.trials_of(row["initializer"]).values()
        errors = [
            trial.end["error"].splitlines()[0].rstrip(".") for trial in own if "error" in trial.end
        ]
        error = f": {errors[0]}" if errors else ""
        reasons = {"diverged": ", so it is last and not tested", "failed": error, "unfinished": ""}
        lines += [
            f"{row['initializer']}: {row[status]} of {trials.settings['repeats']} trials {status}{reason}."
            for status, reason in reasons.items()
            if row[status]
        ]
    return lines


def _unseeded(trials: Trials) -> list[str]:
    names = trials.settings.get("unseeded")
    if not names:
        return []
    return [
        f"No seed is taken by {listed(names)}: what draws random numbers there forms no pairs with the others, and "
        "the same study again may give other values. An initializer takes a seed if it has an argument `seed`, which "
        "its `get_config` returns."
    ]


def _tests(trials: Trials) -> list[str]:
    pairs = trials.comparisons()
    if not pairs:
        return ["There are no two initializers to compare."]
    tested = [row for row in pairs if row["pairs"] > 1]
    significant = [row for row in tested if row["significant"]]
    lines = []
    if len(tested) > 1 and not significant:
        clearest = min(tested, key=lambda row: row["repeats_needed"])
        lines.append(
            f"With {_repeats(tested)} no difference is shown between any two of them. The clearest, between "
            f"{clearest['first']} and {clearest['second']}, would take {needed_repeats(clearest['repeats_needed'])}."
        )
    elif tested:
        lines += _tests_of_the_best(trials, tested)
        if len(significant) == len(pairs):
            lines.append("All differences are significant.")
    if len(tested) < len(pairs):
        lines.append("One pair is not enough for a test: repeat more often.")
    return lines


def _tests_of_the_best(trials: Trials, tested: list[Record]) -> list[str]:
    best, *others = (row["initializer"] for row in trials.summary())
    rows = {
        name: row
        for name in others
        for row in tested
        if {row["first"], row["second"]} == {best, name}
    }
    worse = [name for name, row in rows.items() if row["significant"] and row["first"] == best]
    not_shown = [
        f"{name} (would take {needed_repeats(row['repeats_needed'])})"
        for name, row in rows.items()
        if not row["significant"]
    ]
    lines = []
    if worse:
        lines.append(f"{best} is better than {listed(worse)}.")
    if not_shown:
        lines.append(
            f"With {_repeats(rows.values())} no difference is shown between {best} and {listed(not_shown)}."
        )
    return lines


def _repeats(pairs: Collection[Record]) -> str:
    return f"{ranges({row['pairs'] for row in pairs})} repeats"


def _problems(trials: Trials) -> list[str]:
    problems: dict[str, list[str]] = {}
    for row in trials.problems():
        problems.setdefault(row["initializer"], []).append(f"{row['problem']} in {row['trials']}")
    total = trials.settings["repeats"]
    lines = [
        f"{name}, before training: {listed(found)} of {total} trials."
        for name, found in problems.items()
    ]
    errors = [
        trial.first_batch["error"]
        for trial in trials.trials.values()
        if "error" in trial.first_batch
    ]
    if errors:
        lines.append(
            f"The first batch could not be diagnosed in {len(errors)} trials: {errors[0].splitlines()[0]}"
        )
    return lines
