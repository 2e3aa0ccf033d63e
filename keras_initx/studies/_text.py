"""Format words and numbers in the texts about a run."""

import math
from collections.abc import Iterable, Sequence

from keras_initx.studies._statistics import MAX_REPEATS
from keras_initx.studies._types import Record, Settings


def number(value: float) -> str:
    """Format a number with a suitable precision for accuracies and losses."""
    if math.isnan(value):
        return "-"
    value += 0.0  # removes the sign of a zero
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:.2g}"


def counted(count: int, noun: str) -> str:
    """Format a count with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def needed_repeats(count: float) -> str:
    """Format the result of `repeats_needed` in words."""
    return f"at least {count}" if math.isfinite(count) else f"more than {MAX_REPEATS}"


def verdict(row: Record) -> str:
    """Format the result of the comparison of two initializers."""
    if row["significant"]:
        return f"{row['first']} is better"
    if row["pairs"] < 2:
        return f"not tested with {counted(row['pairs'], 'repeat')}"
    return f"not shown with {row['pairs']} repeats, would take {needed_repeats(row['repeats_needed'])}"


def ranges(numbers: Iterable[int]) -> str:
    """Format numbers in their shortest form: `2, 4-7`."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def listed(names: Sequence[str]) -> str:
    """Join names as part of a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def conditions(settings: Settings) -> str:
    """Describe a run in one line."""
    what = counted(settings["repeats"], "repeat") if "repeats" in settings else counted(settings["n"], "draw")
    return (
        f"{what} of {counted(settings['epochs'], 'epoch')}, batches of {settings['batch_size']}, "
        f"seed {settings['seed']}, Keras {settings['keras']} on {settings['backend']}"
    )
