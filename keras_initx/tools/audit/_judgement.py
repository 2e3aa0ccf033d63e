"""The expectation of a weight, tests of weights beside others, and the judgement of all at once.

    Expectation   what a weight should be; `test` makes a Comparison of a weight
    Comparison    a weight with the Outcomes of its tests
    JudgedWeight  a Comparison with those Outcomes that failed

A test fails if its p-value, corrected for the number of all tests of all weights, is at most
`alpha`, and if its deviation matters. So the probability of any false alarm is at most `alpha`, for
a model of any size.
"""

import abc
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from keras_initx._typing import DType
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.tools.audit._contract_lines import WeightContract
from keras_initx.tools.audit._equal_values import (
    CHANCE,
    are_opposite,
    estimate_chance_of_equal_weights,
)
from keras_initx.tools.audit._probabilities import holm
from keras_initx.tools.audit._profile import Profile, Scale, estimate_scale
from keras_initx.tools.audit._property_test import (
    ONCE,
    SMALL,
    Outcome,
    smallest_effect,
)
from keras_initx.tools.audit._subjects import Subject


class Expectation(abc.ABC):
    """The expected values of a weight.

    Attributes:
        text: The expectation in words, or `None` if nothing is known.
        path: The path of the weight in a contract, if it may differ from the tested path.
        dtype: The dtype of the weight in a contract.
        initializer: The initializer that the weight should come from, if it is known.
        is_measured: Whether it was measured from draws, and is only as exact as these.
        has_guessed_fans: Whether its scale follows from fans that are guessed from the shape.
    """

    text: str | None = None
    path: str | None = None
    dtype: DType | None = None
    initializer: LayerInitializer | None = None
    is_measured: bool = False
    has_guessed_fans: bool = False

    @abc.abstractmethod
    def test(self, weight: Any) -> "Comparison":
        """Measure a weight, and test whether it meets the expectation."""


@dataclass(frozen=True)
class Comparison:
    """A weight that was tested.

    Attributes:
        weight: The weight.
        expectation: Its expectation.
        actual: Its values.
        expected: The expected values, or `None` if nothing is known of them.
        outcomes: The outcomes of the tests.
        reason: Why it was not compared.
        declared: The initializer of its layer, if a rule has another and the values come from the
            layer's own.
        is_unchanged: Whether it has the expected bits, or `None` if these are not known.
        rows_unchanged: The number of slices along the first axis that have their bits.
        sample: A digest of some of its values, if they are random and an initializer was expected.
    """

    weight: Subject | WeightContract
    expectation: Expectation
    actual: Profile
    expected: Profile | None = None
    outcomes: tuple[Outcome, ...] = ()
    reason: str = ""
    declared: str = ""
    is_unchanged: bool | None = None
    rows_unchanged: int | None = None
    sample: bytes = b""

    @property
    def path(self) -> str:
        """The path of the weight."""
        return self.weight.path

    @property
    def expected_path(self) -> str:
        """The path of the expected weight."""
        return self.expectation.path or self.path

    @property
    def dtypes(self) -> list[DType]:
        """Its dtype, and the expected dtype if there is one."""
        return [self.weight.dtype, self.expectation.dtype or self.weight.dtype]

    @property
    def text(self) -> str | None:
        """The expectation in words, or `None` if nothing is known of it."""
        if self.expectation.text is None and self.is_proven:
            return "fixed"
        return self.expectation.text

    @property
    def is_proven(self) -> bool:
        """Whether the values are exactly the expected values, and not only of the same law."""
        return any(outcome.proof for outcome in self.outcomes)

    @property
    def are_random(self) -> bool:
        """Whether values are drawn that should be."""
        return self.expected is not None and self.expected.kind == self.actual.kind == "random"

    @property
    def least_p_value(self) -> float:
        """The smallest probability of a deviation that matters, 1 if there is none."""
        return min(
            (outcome.p for outcome in self.outcomes if outcome.deviation > SMALL), default=1.0
        )

    @functools.cached_property
    def scale(self) -> Scale | None:
        """The scale of a random weight, relative to the expected scale."""
        if self.expected is None or not self.are_random or self.reason:
            return None
        if not self.expected.std or not self.actual.std:
            return None
        return estimate_scale(self.expected, self.actual)


@dataclass(frozen=True)
class JudgedWeight:
    """A weight with the tests that failed.

    Attributes:
        comparison: The weight.
        failed: The outcomes of the tests that failed.
        resolution: The smallest factor of the scale that the tests would report in 95 of 100 cases,
            if the expectation was measured.
    """

    comparison: Comparison
    failed: tuple[Outcome, ...]
    resolution: float | None

    @property
    def statuses(self) -> set[str]:
        """The statuses of the tests that failed."""
        return {outcome.status for outcome in self.failed}


@dataclass(frozen=True)
class SharedValues:
    """Weights that have their values in common.

    Attributes:
        equal: Groups of paths of weights that are equal.
        one_draw: Groups of paths of weights that are one draw, see `group_one_draw`.
    """

    equal: Sequence[Sequence[str]] = ()
    one_draw: Sequence[Sequence[str]] = ()


def find_changed_equality(
    comparisons: Sequence[Comparison], actual: SharedValues, expected: SharedValues, count: int
) -> dict[str, list[Outcome]]:
    """Test weights that have values in common and should not, or the reverse, by their paths.

    Args:
        comparisons: The weights. New weights are not among them, because two buffers may be equal
            by intention.
        actual: The groups of weights that have values in common.
        expected: The groups of weights that should have values in common.
        count: The number of all weights. Each could have the values by chance.
    """
    outcomes: dict[str, list[Outcome]] = {}
    equal = set()
    for weight, other, are_together in _find_regrouped(comparisons, actual.equal, expected.equal):
        assert weight.expected is not None
        detail = f"no longer equal to {other.path!r}"
        chance = count * estimate_chance_of_equal_weights(weight.expected) ** ONCE
        if are_together:
            equal.add(weight.path)
            detail = f"equal to {other.path!r}"
            if other.weight.shape != weight.weight.shape:
                detail = f"the values of {other.path!r} in another shape"
            chance = count * estimate_chance_of_equal_weights(weight.actual)
        outcomes.setdefault(weight.path, []).append(_equality_outcome(detail, chance))
    regrouped = _find_regrouped(comparisons, actual.one_draw, expected.one_draw)
    for weight, other, are_together in regrouped:
        if weight.path in equal:
            continue
        detail = f"no longer one draw with {other.path!r}"
        if are_together:
            detail = _describe_one_draw(weight, other)
        outcome = _equality_outcome(detail, count * CHANCE)
        outcomes.setdefault(weight.path, []).append(outcome)
    return outcomes


class _Regrouped(NamedTuple):
    """A weight that has got into a group with another, or out of it.

    Attributes:
        weight: The weight.
        other: The first weight of the group.
        are_together: Whether both are in one group now.
    """

    weight: Comparison
    other: Comparison
    are_together: bool


def _find_regrouped(
    comparisons: Sequence[Comparison],
    actual: Sequence[Sequence[str]],
    expected: Sequence[Sequence[str]],
) -> Iterator[_Regrouped]:
    """Find weights that share a group with another weight and should not, or the reverse."""
    groups_now, groups_before = _index_groups(actual), _index_groups(expected)
    first_now: dict[int, Comparison] = {}
    first_before: dict[int, Comparison] = {}
    for weight in comparisons:
        if not weight.are_random:
            continue
        now, before = groups_now.get(weight.path), groups_before.get(weight.expected_path)
        if now is not None:
            other = first_now.setdefault(now, weight)
            were_apart = before is None or before != groups_before.get(other.expected_path)
            if weight.expected_path != other.expected_path and were_apart:
                yield _Regrouped(weight, other, are_together=True)
        if before is not None:
            other = first_before.setdefault(before, weight)
            if weight is not other and (now is None or now != groups_now.get(other.path)):
                yield _Regrouped(weight, other, are_together=False)


def _index_groups(groups: Sequence[Sequence[str]]) -> dict[str, int]:
    # The index of its group, by the path of each weight.
    indices: dict[str, int] = {}
    for index, paths in enumerate(groups):
        indices |= dict.fromkeys(paths, index)
    return indices


def _describe_one_draw(weight: Comparison, other: Comparison) -> str:
    """Say how the values of a weight follow from the values of another."""
    text = f"one draw with {other.path!r}"
    if weight.actual.total != other.actual.total:
        text += ", and one is the beginning of the other"
    factor = _estimate_factor(weight.actual, other.actual)
    return text if abs(factor - 1) < SMALL else f"{text}, times {factor:.3g}"


def _estimate_factor(ours: Profile, theirs: Profile) -> float:
    """Estimate the factor between values and others of one draw, 1 if it is not known."""
    if ours.total == theirs.total and theirs.std:
        factor = ours.std / theirs.std
        return -factor if are_opposite(ours, theirs) else factor
    # Of two lengths, only the first value is the same. Values around another number than 0 may
    # follow by more than a factor. Of 64 values around 0, a quarter deviation is 2 errors.
    is_shifted = any(abs(draw.mean) > 0.25 * draw.std for draw in (ours, theirs))
    if is_shifted or not (ours.spot_values and theirs.spot_values and theirs.spot_values[0]):
        return 1.0
    return ours.spot_values[0] / theirs.spot_values[0]


def _equality_outcome(detail: str, chance: float) -> Outcome:
    return Outcome("equal weights", detail, p=min(1.0, chance))


def judge(
    comparisons: Sequence[Comparison], equality: Mapping[str, Sequence[Outcome]], alpha: float
) -> list[JudgedWeight]:
    """Select the tests that failed, for all weights at once.

    Args:
        comparisons: The weights.
        equality: The outcomes of `find_changed_equality`.
        alpha: The probability of any failure by chance.
    """
    outcomes = [*itertools.chain.from_iterable(equality.values())]
    for weight in comparisons:
        outcomes += weight.outcomes
    # What is proven cannot fail by chance: proofs of one kind count as one test.
    tested = [outcome for outcome in outcomes if not outcome.proof]
    count = len(tested) + len({outcome.proof for outcome in outcomes if outcome.proof})
    improbable = _select_improbable(tested, count, alpha)
    # Of the normal distribution, a little high.
    quantile = math.sqrt(2 * math.log(max(count, 1) / alpha))
    judged = []
    for weight in comparisons:
        smallest = smallest_effect(weight.dtypes)
        failed = []
        for outcome in (*weight.outcomes, *equality.get(weight.path, [])):
            if id(outcome) in improbable and outcome.deviation > smallest:
                failed.append(outcome)
        resolution = None
        if weight.expectation.is_measured and weight.scale is not None:
            power = 1.645  # the normal quantile of 95 %
            factor = math.exp((quantile + power) * weight.scale.error)
            resolution = max(factor, 1 + smallest)
        judged.append(JudgedWeight(weight, tuple(failed), resolution))
    return judged


def _select_improbable(tested: Sequence[Outcome], count: int, alpha: float) -> set[int]:
    """Return the ids of the outcomes that are too improbable for so many tests.

    Ids are needed, because outcomes of several weights may be equal to each other.
    """
    corrected = holm([outcome.p for outcome in tested], count)
    improbable = set()
    for outcome, p in zip(tested, corrected, strict=True):
        if p <= alpha:
            improbable.add(id(outcome))
    return improbable
