"""Numbers and lists in sentences."""

import math
from collections.abc import Iterable, Sequence

__all__ = ["counted", "format_metric", "listed", "ranges", "short_number", "shortened"]


def format_metric(value: float) -> str:
    """Format a number with a suitable precision for accuracies and losses."""
    if math.isnan(value):
        return "-"
    value += 0.0  # removes the sign of a zero
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.2g}"


def short_number(value: float) -> str:
    """Format a number with two digits in the shortest form: `1.2e-5`."""
    if not math.isfinite(value):
        return str(value)
    mantissa, mark, exponent = f"{value:.2g}".partition("e")
    if not mark:
        return mantissa
    return f"{mantissa}e{int(exponent)}"


def counted(count: int, noun: str) -> str:
    """Format a count with its noun."""
    if count == 1:
        return f"{count} {noun}"
    return f"{count} {noun}s"


def ranges(numbers: Iterable[int]) -> str:
    """Format numbers in their shortest form: `2, 4-7`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = []
    for run in runs:
        if len(run) == 1:
            texts.append(f"{run[0]}")
        else:
            texts.append(f"{run[0]}-{run[-1]}")
    return ", ".join(texts)


def shortened(name: str, length: int) -> str:
    """Truncate a name at the start."""
    if len(name) <= length:
        return name
    return f"…{name[1 - length :]}"


def listed(names: Sequence[str]) -> str:
    """Join names as part of a sentence."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
