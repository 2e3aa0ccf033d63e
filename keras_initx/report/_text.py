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
    """Shorten names that are longer than `length`, by leaving out the words that most names have.

    First, it drops all second names in parentheses, then the end that all names share. A word ends
    at `/`, `_` or a space. The last word that differs between names stays, and so does a word with
    digits that not all names have. Names that would become the same stay longer.
    """
    if any(len(name) > length for name in names):
        names = _drop_second_names(names)
    words_by_name = {name: words_of(name) for name in names}
    counts: collections.Counter[str] = collections.Counter()
    for words in words_by_name.values():
        counts.update(set(words))
    optional = set()
    for word, count in counts.items():
        is_in_all = count == len(words_by_name) > 1
        if word.strip("/_ ").isalpha() or (word[0].isalnum() and is_in_all):
            optional.add(word)
    shared_end = _count_shared_end(list(words_by_name.values()))
    lengths = dict.fromkeys(words_by_name, length)
    while True:
        texts = {}
        for name, words in words_by_name.items():
            last = len(words) - 1 - shared_end
            by_frequency = sorted(range(last), key=lambda index: -counts[words[index]])
            indices = [index for index in by_frequency if words[index] in optional]
            indices = [*range(len(words) - 1, last, -1), *indices]
            texts[name] = _shorten(words, indices, lengths[name])
        times = collections.Counter(texts.values())
        shared = [name for name, text in texts.items() if times[text] > 1]
        if not shared:
            return [texts[name] for name in names]
        for name in shared:
            lengths[name] += 4


def words_of(name: str) -> list[str]:
    """Return the words of a name, each with the `/`, `_` or spaces that end it."""
    return re.findall("[^/_ ]+[/_ ]*|[/_ ]+", name)


def _count_shared_end(words: Sequence[Sequence[str]]) -> int:
    """Count the words that all names end with: 0 for a single name, and never all of a name."""
    if len(words) == 1:
        return 0
    most = min(map(len, words), default=1) - 1
    for count in range(most):
        if len({words_of_name[-1 - count] for words_of_name in words}) > 1:
            return count
    return most


def _drop_second_names(names: Sequence[str]) -> list[str]:
    """Drop second names in parentheses, unless two first names would be the same."""
    first_names = [re.sub(r" \(\S+\)$", "", name) for name in names]
    counts = collections.Counter(first_names)
    distinct = []
    for name, first_name in zip(names, first_names, strict=True):
        distinct.append(first_name if counts[first_name] == 1 else name)
    return distinct


def _shorten(words: Sequence[str], optional: Iterable[int], length: int) -> str:
    """Join words, and leave out words at the indices `optional` until the text has `length`."""
    left = list(words)
    for index in optional:
        if len(_join_words(left)) <= length:
            break
        left[index] = ""
    text = _join_words(left)
    if len(text) <= length:
        return text
    end = length // 2
    return f"{text[: length - end - 1]}…{text[-end:]}"


def _join_words(words: Sequence[str]) -> str:
    """Join words, with a mark in place of words that were left out and are empty now."""
    return re.sub("\0+", "…", "".join(word or "\0" for word in words))


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
