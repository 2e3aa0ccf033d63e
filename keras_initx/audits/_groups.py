"""Rows of the table of an audit: weights that differ in the same way stand in one."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from keras_initx._alike import alike, pattern_of

# Ratios of weights with one cause differ by chance, in small weights by this factor.
_ALIKE = 1.2
# Patterns that are named in one row.
_MOST = 4


@dataclass(frozen=True)
class WeightAudit:
    """The audit of one weight.

    Attributes:
        path: Its path in the model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        initializer: The initializer that it should come from, as text, or `None` if it was not
            compared.
        expected_std: The standard deviation that it should have, or `None` if it is not known.
        std: The standard deviation that it has, or `None` if it was not read.
        ratio: `std / expected_std`, or `None`.
        verdict: What is wrong, e.g. `"scale"`; empty if it is as it should be.
        evidence: The numbers.
        cause: What explains them, if a single cause does, otherwise empty.
        reason: Why it was not compared, otherwise empty.
        resolution: The smallest factor of its scale that would be seen in 95 of 100 cases, if it
            was compared with a contract or other weights.
        is_unchanged: Whether all values are bit for bit those that are expected, or `None` if
            these are not known.
        rows_unchanged: The number of slices along the first axis of which all values are, of a
            weight with two axes or more that has changed since a plan or a seed.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    initializer: str | None
    expected_std: float | None = None
    std: float | None = None
    ratio: float | None = None
    verdict: str = ""
    evidence: str = ""
    cause: str = ""
    reason: str = ""
    resolution: float | None = None
    is_unchanged: bool | None = None
    rows_unchanged: int | None = None

    @property
    def text(self) -> str:
        """What is wrong, with the numbers and the cause; empty if it is as it should be."""
        parts = [f"{self.path}: {self.verdict}", self.evidence, self.cause]
        return ", ".join(part for part in parts if part) if self.verdict else ""


@dataclass(frozen=True)
class Group:
    """Weights that differ in the same way.

    Attributes:
        names: Their names; with `*` where the names of several differ in a number only.
        weights: The weights, the worst first.
    """

    names: Sequence[str]
    weights: Sequence[WeightAudit]

    @property
    def worst(self) -> WeightAudit:
        """The weight that differs most."""
        return self.weights[0]

    @property
    def names_text(self) -> str:
        """The names, one a line, with the number of those left out."""
        if len(self.names) <= _MOST:
            return "\n".join(self.names)
        shown = self.names[: _MOST - 1]
        return "\n".join([*shown, f"and {len(self.names) - len(shown)} more"])


def grouped(weights: Iterable[WeightAudit]) -> list[Group]:
    """Return weights in groups, the worst first.

    Those whose names differ in numbers only are a group if their verdict and its cause are equal.
    Groups with one cause, one initializer and nearly one ratio are a single one. The names of a
    group are in the order of the weights, because chance decides which of them is the worst.
    """
    by_name = alike(
        weights,
        lambda weight: weight.path,
        lambda weight: (weight.verdict, weight.cause, weight.reason),
    )
    merged: dict[tuple[str | None, ...], list[Group]] = {}
    for of_name in by_name:
        pattern = pattern_of([weight.path for weight in of_name])
        group = Group([pattern], sorted(of_name, key=_rank))
        worst = group.worst
        key_of_cause: tuple[str | None, ...]
        if worst.reason:
            key_of_cause = (worst.verdict, worst.reason)
        elif worst.cause:
            key_of_cause = (worst.verdict, worst.cause, worst.initializer)
        else:
            key_of_cause = (worst.verdict, "", *group.names)
        _add(merged.setdefault(key_of_cause, []), group)
    found = itertools.chain.from_iterable(merged.values())
    return sorted(found, key=lambda group: _rank(group.worst))


def _add(groups: list[Group], group: Group) -> None:
    """Add a group to those with the same cause, in which it may be one with another."""
    for place, other in enumerate(groups):
        together = sorted([*other.weights, *group.weights], key=_rank)
        ratios = [weight.ratio for weight in together if weight.ratio]
        if not ratios or max(ratios) <= _ALIKE * min(ratios):
            groups[place] = Group([*other.names, *group.names], together)
            return
    groups.append(group)


def _rank(weight: WeightAudit) -> tuple[int, float]:
    """Return the place in the table.

    First what is not a matter of scale, then the largest ratios, last what was not compared.
    """
    if not weight.verdict:
        return 2, 0.0
    if weight.verdict != "scale" or not weight.ratio:
        return 0, 0.0
    # Chance does not order 2 times and half.
    return 1, -round(abs(math.log(weight.ratio)), 1)
