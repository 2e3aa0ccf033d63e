"""Sentences about a comparison that complement its table."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from keras_initx.studies._text import listed, needed_repeats, ranges
from keras_initx.studies._types import Record

if TYPE_CHECKING:
    from keras_initx.studies._study import Study


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
