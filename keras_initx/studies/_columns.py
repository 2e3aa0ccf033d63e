"""The columns of the tables of a comparison."""

import math
from typing import TYPE_CHECKING

from keras_initx.rendering._table import Column
from keras_initx.studies._course import BEYOND_CHANCE
from keras_initx.studies._statistics import SIGNIFICANT
from keras_initx.studies._text import number, ranges
from keras_initx.studies._types import Record

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
