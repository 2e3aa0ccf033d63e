"""The tables of a comparison, and sentences that complement them."""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from keras_initx.rendering._table import Column
from keras_initx.rendering._text import listed, number, ranges
from keras_initx.studies._records import Record
from keras_initx.studies._summary import BEYOND_CHANCE, SIGNIFICANT, needed_repeats

if TYPE_CHECKING:
    from keras_initx.studies._study import Study


_LONGEST_NAME = 18  # leaves room for the other columns in 80 characters
_START = (
    f"median of the epoch from which on it stays beyond chance: {100 * BEYOND_CHANCE:g} % of the way from the mean "
    "before training to the best mean at the end"
)
_JUMP = (
    "mean absolute change from epoch to epoch over the second half of training, without what rises or falls steadily"
)


def summary_columns(study: "Study") -> list[Column[Record]]:
    """Return the columns of the main table of `study`, with rows from `summary_rows`."""
    goal = "-" if study.threshold is None else number(study.threshold)
    return [
        Column("", lambda row: row["place"]),
        Column("initializer", lambda row: row["initializer"], is_text=True, max_width=_LONGEST_NAME),
        Column(study.monitor, _mean, note="after the last epoch, mean ± standard deviation over the repeats"),
        Column("95 % interval", _interval, note="Student's t interval of the mean"),
        Column(
            f"to {goal}",
            lambda row: _epochs(row["epochs_to_threshold"]),
            note="median number of epochs to reach this value",
        ),
        Column("gap", lambda row: number(row["gap"]), note="how much better on the training data"),
        Column("s/epoch", _seconds, note="median of the seconds of an epoch", wide_only=True),
        Column(
            "beats",
            lambda row: ranges(row["beats"]) or "-",
            note=f"lines that it is better than in a paired t test, p < {SIGNIFICANT} after Holm's correction",
        ),
    ]


def course_columns(study: "Study") -> list[Column[Record]]:
    """Return the columns of the training-course table of `study`, with rows from `summary_rows`."""
    goal = "-" if study.threshold is None else number(study.threshold)
    return [
        *summary_columns(study)[:2],
        Column("start", lambda row: _epochs(row["epochs_to_start"]), note=_START),
        Column("best", lambda row: number(row["best"]), note=f"mean of the best {study.monitor} of each trial"),
        Column("at", lambda row: _epochs(row["best_epoch"]), note="median of the epochs of these"),
        Column("stop", lambda row: _epochs(row["stop_epoch"]), note="epoch at which the mean over the repeats is best"),
        Column("jump", lambda row: number(row["jump"]), note=_JUMP),
        Column(f"s to {goal}", _seconds_to_goal, note="median of the seconds to reach this value, without compiling"),
    ]


def summary_rows(study: "Study") -> list[Record]:
    """Return the summary of each initializer, with its `"place"` and the places of those it `"beats"`."""
    summary = study.summary()
    places = {row["initializer"]: place for place, row in enumerate(summary, 1)}
    beats: dict[str, list[int]] = {name: [] for name in places}
    for row in study.comparisons():
        if row["significant"]:
            beats[row["first"]].append(places[row["second"]])
    return [{**row, "place": place, "beats": beats[row["initializer"]]} for place, row in enumerate(summary, 1)]


def _mean(row: Record) -> str:
    return f"{number(row['mean'])} ± {number(row['std'])}" if row["finished"] else "-"


def _interval(row: Record) -> str:
    return f"{number(row['ci_low'])} to {number(row['ci_high'])}" if row["finished"] > 1 else "-"


def _epochs(median: float) -> str:
    return "-" if math.isnan(median) else "never" if math.isinf(median) else f"{median:g}"


def _seconds(row: Record) -> str:
    return f"{row['seconds_per_epoch']:.2g}" if row["finished"] else "-"


def _seconds_to_goal(row: Record) -> str:
    seconds = row["seconds_to_threshold"]
    return f"{seconds:.2g}" if math.isfinite(seconds) else _epochs(seconds)


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


def remarks(study: "Study") -> list[str]:
    """Return sentences on unfinished trials, the results of the tests, and the first batch."""
    return [*_unfinished(study), *_tests(study), *_problems(study)]


def _unfinished(study: "Study") -> list[str]:
    total = study.settings["repeats"]
    return [
        f"{row['initializer']}: {row[status]} of {total} trials {status}{_reason(study, row['initializer'], status)}."
        for row in study.summary()
        for status in ("diverged", "failed", "unfinished")
        if row[status]
    ]


def _reason(study: "Study", name: str, status: str) -> str:
    if status == "diverged":
        return ", so it is last and not tested"
    if status == "unfinished":
        return ""
    errors = [trial.end["error"] for trial in study.trials_of(name).values() if "error" in trial.end]
    return f": {errors[0].splitlines()[0].rstrip('.')}"


def _tests(study: "Study") -> list[str]:
    comparisons = study.comparisons()
    if not comparisons:
        return ["There are no two initializers to compare."]
    tested = [row for row in comparisons if row["pairs"] > 1]
    significant = [row for row in tested if row["significant"]]
    lines = []
    if len(tested) > 1 and not significant:
        clearest = min(tested, key=lambda row: row["repeats_needed"])
        lines.append(
            f"With {_repeats(tested)} no difference is shown between any two of them. The clearest, between "
            f"{clearest['first']} and {clearest['second']}, would take {needed_repeats(clearest['repeats_needed'])}."
        )
    elif tested:
        lines += _best(study, tested)
        if len(significant) == len(comparisons):
            lines.append("All differences are significant.")
    if len(tested) < len(comparisons):
        lines.append("One pair is not enough for a test: repeat more often.")
    return lines


def _best(study: "Study", tested: list[Record]) -> list[str]:
    """Return sentences on the tests of the best initializer."""
    best, *others = (row["initializer"] for row in study.summary())
    pairs = {frozenset((row["first"], row["second"])): row for row in tested}
    rows = {name: pairs[frozenset((best, name))] for name in others if frozenset((best, name)) in pairs}
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


def _repeats(comparisons: Collection[Record]) -> str:
    return f"{ranges({row['pairs'] for row in comparisons})} repeats"


def _problems(study: "Study") -> list[str]:
    problems: dict[str, list[str]] = {}
    for row in study.problems():
        problems.setdefault(row["initializer"], []).append(f"{row['problem']} in {row['trials']}")
    total = study.settings["repeats"]
    lines = [f"{name}, before training: {listed(found)} of {total} trials." for name, found in problems.items()]
    errors = [trial.first_batch["error"] for trial in study.trials.values() if "error" in trial.first_batch]
    if errors:
        lines.append(f"The first batch could not be diagnosed in {len(errors)} trials: {errors[0].splitlines()[0]}")
    return lines
