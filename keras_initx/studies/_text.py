"""A study in words and in a table that fits a terminal."""

import math
import textwrap
import unicodedata

from keras_initx.studies._statistics import MOST_REPEATS, POWER, SIGNIFICANT

_LONGEST = 18


def number(value) -> str:
    """Return a figure with a precision that is about right for accuracies and losses."""
    if math.isnan(value):
        return "-"
    value += 0.0  # which takes the sign from a zero
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:.2g}"


def counted(count, noun) -> str:
    """Return a count and its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def needed_repeats(count) -> str:
    """Return in words what `repeats_needed` returns."""
    return f"at least {count}" if math.isfinite(count) else f"more than {MOST_REPEATS}"


def verdict_on(row) -> str:
    """Return what the comparison of two initializers came to."""
    if row["significant"]:
        return f"{row['first']} is better"
    if row["pairs"] < 2:
        return f"not tested with {counted(row['pairs'], 'repeat')}"
    return f"not shown with {row['pairs']} repeats, would take {needed_repeats(row['repeats_needed'])}"


def aligned(rows, left=(0,)) -> str:
    """Return rows of cells as aligned columns, to the right but for those in `left`."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell + " " * (width - _width(cell)) if i in left else " " * (width - _width(cell)) + cell
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _width(text):
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def ranges(numbers) -> str:
    """Return numbers in their shortest form: `2, 4-7`."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def shortened(name) -> str:
    """Return a name that is not too long for a column."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def table(study):
    """Return the rows of the table, the header first, as strings."""
    summary = study.summary()
    places = {row["initializer"]: place for place, row in enumerate(summary, 1)}
    beaten: dict[str, list[int]] = {name: [] for name in places}
    for row in study.comparisons():
        if row["significant"]:
            beaten[row["first"]].append(places[row["second"]])
    goal = "-" if study.threshold is None else number(study.threshold)
    header = ("", "initializer", study.monitor, "95 % interval", f"to {goal}", "gap", "s/epoch", "beats")
    rows = [header]
    for row in summary:
        rows.append(
            (
                str(places[row["initializer"]]),
                row["initializer"],
                f"{number(row['mean'])} ± {number(row['std'])}" if row["finished"] else "-",
                f"{number(row['low'])} to {number(row['high'])}" if row["finished"] > 1 else "-",
                _epochs(row),
                number(row["gap"]),
                f"{row['seconds_per_epoch']:.2g}" if row["finished"] else "-",
                ranges(beaten[row["initializer"]]) or "-",
            )
        )
    return rows


def _epochs(row):
    median = row["epochs_to_threshold"]
    return "-" if math.isnan(median) else "never" if math.isinf(median) else f"{median:g}"


def conditions(study) -> str:
    """Return in one line what was run."""
    settings = study.settings
    what = counted(settings["repeats"], "repeat") if "repeats" in settings else counted(settings["n"], "draw")
    return (
        f"{what} of {counted(settings['epochs'], 'epoch')}, batches of {settings['batch_size']}, "
        f"seed {settings['seed']}, Keras {settings['keras']} on {settings['backend']}"
    )


def remarks(study) -> list[str]:
    """Return what the table cannot say: what did not finish, what the tests found, and what the first batch shows."""
    lines = []
    for row in study.summary():
        total = study.settings["repeats"]
        for status in ("diverged", "failed", "unfinished"):
            if row[status]:
                why = _why(study, row["initializer"], status)
                lines.append(f"{row['initializer']}: {row[status]} of {total} trials {status}{why}.")
    comparisons = study.comparisons()
    if comparisons:
        lines += _verdicts(study, comparisons)
    else:
        lines.append("There are no two initializers to compare.")
    return lines + _problems(study)


def _why(study, name, status):
    if status == "diverged":
        return ", so it is last and not tested"
    if status == "unfinished":
        return ""
    errors = [trial.end["error"] for (own, _), trial in study.trials.items() if own == name and "error" in trial.end]
    return f": {errors[0].splitlines()[0].rstrip('.')}"


def _problems(study):
    found: dict[str, list[str]] = {}
    for row in study.problems():
        found.setdefault(row["initializer"], []).append(f"{row['problem']} in {row['trials']}")
    total = study.settings["repeats"]
    lines = [f"{name}, before training: {_list(problems)} of {total} trials." for name, problems in found.items()]
    errors = [trial.first_batch["error"] for trial in study.trials.values() if "error" in trial.first_batch]
    if errors:
        lines.append(f"The first batch could not be diagnosed in {len(errors)} trials: {errors[0].splitlines()[0]}")
    return lines


def _verdicts(study, comparisons):
    tested = [row for row in comparisons if row["pairs"] > 1]
    found = [row for row in tested if row["significant"]]
    lines = []
    if len(tested) > 1 and not found:
        clearest = min(tested, key=lambda row: row["repeats_needed"])
        lines.append(
            f"With {_repeats(tested)} no difference is shown between any two of them. The clearest, between "
            f"{clearest['first']} and {clearest['second']}, would take {needed_repeats(clearest['repeats_needed'])}."
        )
    elif tested:
        lines += _best(study, tested)
        if len(found) == len(comparisons):
            lines.append("All differences are significant.")
    if len(tested) < len(comparisons):
        lines.append("One pair is not enough for a test: repeat more often.")
    return lines


def _best(study, tested):
    """Return what the tests say of the best initializer."""
    best, *others = (row["initializer"] for row in study.summary())
    pairs = {frozenset((row["first"], row["second"])): row for row in tested}
    rows = {name: pairs[frozenset((best, name))] for name in others if frozenset((best, name)) in pairs}
    behind = [name for name, row in rows.items() if row["significant"] and row["first"] == best]
    beside = [
        f"{name} (would take {needed_repeats(row['repeats_needed'])})"
        for name, row in rows.items()
        if not row["significant"]
    ]
    lines = []
    if behind:
        lines.append(f"{best} is better than {_list(behind)}.")
    if beside:
        lines.append(f"With {_repeats(rows.values())} no difference is shown between {best} and {_list(beside)}.")
    return lines


def _repeats(comparisons):
    return f"{ranges({row['pairs'] for row in comparisons})} repeats"


def _list(names):
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def explanation(study) -> str:
    """Return what the columns mean."""
    return (
        f"{study.monitor} after the last epoch: mean ± standard deviation over the repeats, interval of Student's t. "
        "to: median epoch at which the goal is reached. gap: how much better on the training data. beats: "
        f"lines that it is better than in a paired t test, p < {SIGNIFICANT} after Holm's correction. would take: "
        f"repeats for a power of {100 * POWER:g} % at the effect seen."
    )


def study_text(study) -> str:
    """Return the study as text."""
    # Without the seconds, so that 80 columns are enough.
    rows = [(place, shortened(name), *rest[:-2], rest[-1]) for place, name, *rest in table(study)]
    parts = [study.title, conditions(study), "", aligned(rows, left=(1,))]
    parts += [textwrap.fill(remark, 79, subsequent_indent="  ") for remark in remarks(study)]
    parts += ["", textwrap.fill(explanation(study), 79)]
    return "\n".join(parts)
