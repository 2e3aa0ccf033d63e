"""Numbers and lists in sentences."""

import math
from collections.abc import Iterable, Sequence


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
