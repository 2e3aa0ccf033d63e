"""Numbers and lists in sentences."""

import collections
import math
import re
from collections.abc import Iterable, Sequence


def format_metric(value: float) -> str:
    """Format a number with a suitable precision for accuracies and losses."""
    if math.isnan(value):
        return "-"
    value += 0.0  # removes the sign of a zero
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.2g}"


def format_number(value: float) -> str:
    """Format a number with two digits in the shortest form: `1.2e-5`, or `150` as well as `88`."""
    if not math.isfinite(value):
        return str(value)
    text = f"{value:.2g}"
    mantissa, mark, exponent = text.partition("e")
    if not mark:
        return mantissa
    if int(exponent) == 2:
        return f"{float(text):.0f}"
    return f"{mantissa}e{int(exponent)}"


def format_count(count: int, noun: str) -> str:
    """Format a count with its noun."""
    if count == 1:
        return f"{count} {noun}"
    return f"{count} {noun}s"


def choose_verb(count: int, singular: str, plural: str) -> str:
    """Choose the form of a verb for a count: `choose_verb(2, "is", "are")` returns `"are"`."""
    return singular if count == 1 else plural


def format_ranges(numbers: Iterable[int]) -> str:
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


def shorten_names(names: Sequence[str], length: int) -> list[str]:
    """Cut names longer than `length` in the middle. Names that would be equal stay longer.

    Second names in parentheses, such as `dense (dense_7)`, are left out first, if all can be.
    """
    first_names = [re.sub(r" \(\S+\)$", "", name) for name in names]
    if max(map(len, names), default=0) > length and len({*first_names}) == len({*names}):
        names = first_names
    lengths = dict.fromkeys(names, length)
    while True:
        texts = {name: _cut_middle(name, longest) for name, longest in lengths.items()}
        times = collections.Counter(texts.values())
        equal = [name for name, text in texts.items() if times[text] > 1]
        if not equal:
            return [texts[name] for name in names]
        for name in equal:
            lengths[name] += 4


def _cut_middle(name: str, length: int) -> str:
    if len(name) <= length:
        return name
    end = length // 2
    return f"{name[: length - end - 1]}…{name[-end:]}"


def join_clauses(*clauses: str) -> str:
    """Join the clauses of a sentence with semicolons, and leave out empty ones."""
    return "; ".join(filter(None, clauses))


def group_names(statements: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Group names by their statements, so that a sentence states each once.

    Args:
        statements: Pairs of a statement and the name that it is about.
    """
    names_by_statement: dict[str, list[str]] = {}
    for statement, name in statements:
        names_by_statement.setdefault(statement, []).append(name)
    return names_by_statement


def join_names(names: Sequence[str]) -> str:
    """Join names as part of a sentence."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
