"""Numbers and lists in sentences."""

import itertools
import math
from collections.abc import Iterable, Sequence

__all__ = ["counted", "listed", "number", "ranges", "short_number", "shortened"]


def number(value: float) -> str:
    """Format a number with a suitable precision for accuracies and losses."""
    if math.isnan(value):
        return "-"
    value += 0.0  # removes the sign of a zero
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:.2g}"


def short_number(value: float) -> str:
    """Format a number with two digits in the shortest form: `1.2e-5`."""
    if not math.isfinite(value):
        return str(value)
    mantissa, mark, exponent = f"{value:.2g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def counted(count: int, noun: str) -> str:
    """Format a count with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def ranges(numbers: Iterable[int]) -> str:
    """Format numbers in their shortest form: `2, 4-7`."""
    # Within a run, numbers and their positions grow alike.
    groups = itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])
    runs = [[n for _, n in group] for _, group in groups]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def shortened(name: str, length: int) -> str:
    """Truncate a name at the start."""
    return name if len(name) <= length else f"…{name[1 - length :]}"


def listed(names: Sequence[str]) -> str:
    """Join names as part of a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
