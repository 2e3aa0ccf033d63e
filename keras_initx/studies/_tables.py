"""The tables of a comparison, and sentences that complement them."""

import math
from collections.abc import Collection

from keras_initx.rendering._table import Column
from keras_initx.rendering._text import listed, number, ranges
from keras_initx.studies._records import Record
from keras_initx.studies._summary import SIGNIFICANT, Summary, needed_repeats
from keras_initx.studies._trials import BEYOND_CHANCE, Trials

_NAMES: list[Column[Record]] = [
    Column("", lambda row: row["place"]),
    # Of a length that leaves room for the other columns in 80 characters.
    Column("initializer", lambda row: row["initializer"], is_text=True, max_width=18),
]


def summary_columns(trials: Trials) -> list[Column[Record]]:
    """Return the columns of the main table, with rows from `summary_rows`."""
    goal = "-" if trials.threshold is None else number(trials.threshold)
    return [
        *_NAMES,
        Column(
            trials.monitor,
            lambda row: f"{number(row['mean'])} ± {number(row['std'])}" if row["finished"] else "-",
            note="after the last epoch, mean ± standard deviation over the repeats",
        ),
        Column(
            "95 % interval",
            lambda row: f"{number(row['ci_low'])} to {number(row['ci_high'])}" if row["finished"] > 1 else "-",
            note="Student's t interval of the mean",
        ),
        Column(
            f"to {goal}",
            lambda row: _or_never(row["epochs_to_threshold"]),
            note="median number of epochs to reach this value",
        ),
        Column("gap", lambda row: number(row["gap"]), note="how much better on the training data"),
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


def curve_columns(trials: Trials) -> list[Column[Record]]:
    """Return the columns of the table on the course of training, with rows from `summary_rows`."""
    goal = "-" if trials.threshold is None else number(trials.threshold)
    return [
        *_NAMES,
        Column(
            "start",
            lambda row: _or_never(row["epochs_to_start"]),
            note=f"median of the epoch from which on it stays beyond chance: {100 * BEYOND_CHANCE:g} % of the way from "
            "the mean before training to the best mean at the end",
        ),
        Column("best", lambda row: number(row["best"]), note=f"mean of the best {trials.monitor} of each trial"),
        Column("at", lambda row: _or_never(row["best_epoch"]), note="median of the epochs of these"),
        Column(
            "stop", lambda row: _or_never(row["stop_epoch"]), note="epoch at which the mean over the repeats is best"
        ),
        Column(
            "jump",
            lambda row: number(row["jump"]),
            note="mean absolute change from epoch to epoch over the second half of training, without what rises or "
            "falls steadily",
        ),
        Column(
            f"s to {goal}",
            lambda row: _or_never(row["seconds_to_threshold"], ".2g"),
            note="median of the seconds to reach this value, without compiling",
        ),
    ]


def _or_never(median: float, precision: str = "g") -> str:
    return "-" if math.isnan(median) else "never" if math.isinf(median) else format(median, precision)


def summary_rows(summary: Summary) -> list[Record]:
    """Return the statistics of each initializer, with its `"place"` and the places of those it `"beats"`."""
    places = {row["initializer"]: place for place, row in enumerate(summary.rows, 1)}
    beats: dict[str, list[int]] = {name: [] for name in places}
    for row in summary.pairs:
        if row["significant"]:
            beats[row["first"]].append(places[row["second"]])
    return [{**row, "place": place, "beats": beats[row["initializer"]]} for place, row in enumerate(summary.rows, 1)]


# For the rows of `Study.problems`.
PROBLEM_COLUMNS: list[Column[Record]] = [
    Column("initializer", lambda row: row["initializer"], is_text=True),
    Column("problem", lambda row: row["problem"], is_text=True),
    Column("trials", lambda row: row["trials"]),
    Column("evidence in the first of them", lambda row: row["evidence"], is_text=True),
    Column("instead", lambda row: row["remedy"], is_text=True),
]

# For the rows of `Study.comparisons`.
PAIR_COLUMNS: list[Column[Record]] = [
    Column("first", lambda row: row["first"], is_text=True),
    Column("second", lambda row: row["second"], is_text=True),
    Column("pairs", lambda row: row["pairs"]),
    Column("difference", lambda row: number(row["difference"])),
    Column("95 % interval", lambda row: f"{number(row['ci_low'])} to {number(row['ci_high'])}"),
    Column("p, corrected", lambda row: f"{row['p_corrected']:.2g}"),
    Column("verdict", lambda row: row["verdict"], is_text=True),
]


def remarks(trials: Trials, summary: Summary) -> list[str]:
    """Return sentences on unfinished trials, the results of the tests, and the first batch."""
    return [*_unfinished(trials, summary), *_tests(summary), *_problems(trials, summary)]


def _unfinished(trials: Trials, summary: Summary) -> list[str]:
    lines = []
    for row in summary.rows:
        own = trials.trials_of(row["initializer"]).values()
        errors = [trial.end["error"].splitlines()[0].rstrip(".") for trial in own if "error" in trial.end]
        reasons = {
            "diverged": ", so it is last and not tested",
            "failed": f": {errors[0]}" if errors else "",
            "unfinished": "",
        }
        lines += [
            f"{row['initializer']}: {row[status]} of {trials.settings['repeats']} trials {status}{reason}."
            for status, reason in reasons.items()
            if row[status]
        ]
    return lines


def _tests(summary: Summary) -> list[str]:
    if not summary.pairs:
        return ["There are no two initializers to compare."]
    tested = [row for row in summary.pairs if row["pairs"] > 1]
    significant = [row for row in tested if row["significant"]]
    lines = []
    if len(tested) > 1 and not significant:
        clearest = min(tested, key=lambda row: row["repeats_needed"])
        lines.append(
            f"With {_repeats(tested)} no difference is shown between any two of them. The clearest, between "
            f"{clearest['first']} and {clearest['second']}, would take {needed_repeats(clearest['repeats_needed'])}."
        )
    elif tested:
        lines += _tests_of_the_best(summary, tested)
        if len(significant) == len(summary.pairs):
            lines.append("All differences are significant.")
    if len(tested) < len(summary.pairs):
        lines.append("One pair is not enough for a test: repeat more often.")
    return lines


def _tests_of_the_best(summary: Summary, tested: list[Record]) -> list[str]:
    best, *others = (row["initializer"] for row in summary.rows)
    rows = {name: row for name in others for row in tested if {row["first"], row["second"]} == {best, name}}
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
        lines.append(f"With {_repeats(rows.values())} no difference is shown between {best} and {listed(not_shown)}.")
    return lines


def _repeats(pairs: Collection[Record]) -> str:
    return f"{ranges({row['pairs'] for row in pairs})} repeats"


def _problems(trials: Trials, summary: Summary) -> list[str]:
    problems: dict[str, list[str]] = {}
    for row in summary.problems:
        problems.setdefault(row["initializer"], []).append(f"{row['problem']} in {row['trials']}")
    total = trials.settings["repeats"]
    lines = [f"{name}, before training: {listed(found)} of {total} trials." for name, found in problems.items()]
    errors = [trial.first_batch["error"] for trial in trials.trials.values() if "error" in trial.first_batch]
    if errors:
        lines.append(f"The first batch could not be diagnosed in {len(errors)} trials: {errors[0].splitlines()[0]}")
    return lines
