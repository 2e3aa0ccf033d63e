"""The expectation of a weight, tests of several weights, and the judgement of all at once.

    Expectation   what a weight should be; `test` makes a Comparison of a weight
    Comparison    a weight with the Outcomes of its tests
    JointTest     an Outcome of several weights: they are equal, or have one scale
    JudgedWeight  a Comparison with those Outcomes that failed

A test fails if its p-value, corrected for the number of all tests of all weights, is at most
`alpha`, and if its deviation matters. So the probability of any false alarm is at most `alpha`, for
a model of any size.
"""

import abc
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_initx._similar_paths import group_similar
from keras_initx._typing import DType
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.tools.audit._contract_lines import WeightContract
from keras_initx.tools.audit._equal_values import (
    CHANCE,
    are_opposite,
    estimate_chance_of_equal_weights,
)
from keras_initx.tools.audit._probabilities import holm, variance_ratio_p_value
from keras_initx.tools.audit._profile import Profile, Scale, estimate_scale
from keras_initx.tools.audit._property_test import (
    ONCE,
    Outcome,
    find_least_p_value,
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
        has_parts: Whether parts have scales of their own. Then the scale of the whole explains
            nothing.
        has_guessed_fans: Whether its scale follows from fans that are guessed from the shape.
    """

    text: str | None = None
    path: str | None = None
    dtype: DType | None = None
    initializer: LayerInitializer | None = None
    is_measured: bool = False
    has_parts: bool = False
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
        """The smallest probability of a deviation that matters."""
        return find_least_p_value(self.outcomes)

    @functools.cached_property
    def scale(self) -> Scale | None:
        """The scale of a random weight, relative to the expected scale."""
        if self.expected is None or not self.are_random or self.reason:
            return None
        if self.expectation.has_parts:
            return None
        if not self.expected.std or not self.actual.std:
            return None
        return estimate_scale(self.expected, self.actual)


# The normal quantile of 95 %, the probability with which a factor "would be seen".
_POWER = 1.645
# Weights of one name have one scale unless one differs from their mean by so many errors.
_APART = 4
# All weights of a name fail if the others show it too, without the one that is farthest, with a
# smaller probability.
_WITHOUT_FARTHEST = 1e-3
# A factor that is nearer to 1 is not named.
_NEAR_ONE = 0.01
# Values with a larger mean, in deviations, may follow from others by more than a factor.
_SHIFTED = 0.25


@dataclass(frozen=True)
class JointTest:
    """A test of several weights.

    Attributes:
        paths: The paths of the weights that differ if the test fails.
        outcome: The outcome.
        scale: Their common scale, if it tests that.
    """

    paths: tuple[str, ...]
    outcome: Outcome
    scale: Scale | None = None


@dataclass(frozen=True)
class JudgedWeight:
    """A weight with the tests that failed.

    Attributes:
        comparison: The weight.
        failed: The outcomes of the tests that failed.
        joint_scale: The common scale of the weights of its name in several layers, if there is one.
        resolution: The smallest factor of the scale that the tests would report in 95 of 100 cases,
            if the expectation was measured.
    """

    comparison: Comparison
    failed: tuple[Outcome, ...]
    joint_scale: Scale | None
    resolution: float | None

    @property
    def verdicts(self) -> set[str]:
        """The verdicts of the tests that failed."""
        return {outcome.verdict for outcome in self.failed}


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
) -> Iterator[JointTest]:
    """Test weights that have values in common and should not, or the reverse.

    Args:
        comparisons: The weights. New weights are not among them, because two buffers may be equal
            by intention.
        actual: The groups of weights that have values in common.
        expected: The groups of weights that should have values in common.
        count: The number of all weights. Each could have the values by chance.
    """
    equal = set()
    for weight, other, are_together in _find_regrouped(comparisons, actual.equal, expected.equal):
        assert weight.expected is not None
        evidence = f"no longer equal to {other.path!r}"
        chance = count * estimate_chance_of_equal_weights(weight.expected) ** ONCE
        if are_together:
            equal.add(weight.path)
            evidence = f"equal to {other.path!r}"
            if other.weight.shape != weight.weight.shape:
                evidence = f"the values of {other.path!r} in another shape"
            chance = count * estimate_chance_of_equal_weights(weight.actual)
        yield _equality_test(weight, evidence, chance)
    regrouped = _find_regrouped(comparisons, actual.one_draw, expected.one_draw)
    for weight, other, are_together in regrouped:
        if weight.path in equal:
            continue
        evidence = f"no longer one draw with {other.path!r}"
        if are_together:
            evidence = _describe_one_draw(weight, other)
        yield _equality_test(weight, evidence, count * CHANCE)


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
    return text if abs(factor - 1) < _NEAR_ONE else f"{text}, times {factor:.3g}"


def _estimate_factor(ours: Profile, theirs: Profile) -> float:
    """Estimate the factor between values and others of one draw, 1 if it is not known."""
    if ours.total == theirs.total and theirs.std:
        factor = ours.std / theirs.std
        return -factor if are_opposite(ours, theirs) else factor
    # Of two lengths, only the first value is the same.
    is_shifted = any(abs(draw.mean) > _SHIFTED * draw.std for draw in (ours, theirs))
    if is_shifted or not (ours.spot_values and theirs.spot_values and theirs.spot_values[0]):
        return 1.0
    return ours.spot_values[0] / theirs.spot_values[0]


def _equality_test(weight: Comparison, evidence: str, chance: float) -> JointTest:
    return JointTest((weight.path,), Outcome("equal weights", evidence, p=min(1.0, chance)))


def group_by_name(
    comparisons: Sequence[Comparison], actual: SharedValues, expected: SharedValues
) -> list[list[Comparison]]:
    """Group weights with known scales that have the same name in several layers.

    Args:
        comparisons: The weights.
        actual: Which are equal, or one draw.
        expected: Which should be, by their expected paths.
    """
    repeated_now, repeated_before = _list_repeated(actual), _list_repeated(expected)
    independent = []
    for weight in comparisons:
        is_repeated = weight.path in repeated_now or weight.expected_path in repeated_before
        # Frames have an exact scale.
        has_error = weight.scale is not None and weight.scale.error
        if has_error and not (weight.is_proven or is_repeated):
            independent.append(weight)
    groups = group_similar(
        independent,
        lambda weight: weight.path,
        lambda weight: (weight.weight.shape, weight.weight.dtype),
    )
    return [group for group in groups if len(group) > 1]


def _list_repeated(shared: SharedValues) -> set[str]:
    # All but the first of a group say nothing new.
    repeated: set[str] = set()
    for paths in (*shared.equal, *shared.one_draw):
        repeated.update(paths[1:])
    return repeated


def _test_jointly(group: Sequence[Comparison]) -> JointTest | None:
    """Test the common scale of several weights, `None` if they have none."""
    scales = [weight.scale for weight in group if weight.scale is not None]
    if len(scales) < 2:
        return None
    common = _average_scales(scales)
    if any(abs(scale.log - common.log) > _APART * scale.error for scale in scales):
        return None
    outcome = Outcome(
        "scale",
        f"{math.exp(common.log):.3g} times the expected standard deviation, in {len(group)} layers "
        "together",
        p=_compute_p_value(common),
        deviation=abs(common.log) - 2 * common.error,
    )
    return JointTest(tuple(weight.path for weight in group), outcome, common)


def _average_scales(scales: Sequence[Scale]) -> Scale:
    mean = np.average(
        [scale.log for scale in scales], weights=[scale.error**-2 for scale in scales]
    )
    # The logarithm of a variance is a little less exact than the variance.
    return Scale(
        float(mean),
        sum(max(scale.expected_degrees - 1, 1) for scale in scales),
        sum(max(scale.actual_degrees - 1, 1) for scale in scales),
    )


def _compute_p_value(scale: Scale) -> float:
    return variance_ratio_p_value(
        math.exp(2 * scale.log), scale.actual_degrees, scale.expected_degrees
    )


def _is_shared_by_others(group: Sequence[Comparison], common: Scale) -> bool:
    """Return whether the other weights differ too, without the farthest weight."""
    _, *others = sorted(
        (weight.scale for weight in group if weight.scale is not None),
        key=lambda scale: -math.copysign(scale.log / scale.error, scale.log * common.log),
    )
    return _compute_p_value(_average_scales(others)) < _WITHOUT_FARTHEST


def judge(
    comparisons: Sequence[Comparison],
    joint: Sequence[JointTest],
    groups: Sequence[Sequence[Comparison]],
    alpha: float,
) -> list[JudgedWeight]:
    """Select the tests that failed, for all weights at once.

    Args:
        comparisons: The weights.
        joint: The tests of several of them.
        groups: Weights whose scales are tested together. If the scale of a weight fails alone, it
            is no evidence against the others.
        alpha: The probability of any failure by chance.
    """
    outcomes = [joint_test.outcome for joint_test in joint]
    for weight in comparisons:
        outcomes += weight.outcomes
    # What is proven cannot fail by chance: proofs of one kind count as one test.
    tested = [outcome for outcome in outcomes if not outcome.proof]
    count = len(tested) + len({outcome.proof for outcome in outcomes if outcome.proof})
    improbable_alone = _select_improbable(tested, count + len(groups), alpha)
    failed_alone: set[int] = set()
    joint = [*joint]
    for group in groups:
        off = [weight for weight in group if _fails_by_scale(weight, improbable_alone)]
        others = [weight for weight in group if not _fails_by_scale(weight, improbable_alone)]
        test_of_off = _test_jointly(off)
        if test_of_off is not None:  # each of them is off already, and this is its best estimate
            failed_alone.add(id(test_of_off.outcome))
            joint.append(test_of_off)
        test_of_others = _test_jointly(others)
        if test_of_others is not None and test_of_others.scale is not None:
            count += 1
            if _is_shared_by_others(others, test_of_others.scale):
                tested.append(test_of_others.outcome)
                joint.append(test_of_others)
    improbable = _select_improbable(tested, count, alpha) | failed_alone
    # Of the normal distribution, a little high.
    quantile = math.sqrt(2 * math.log(max(count, 1) / alpha))
    tests_by_path: dict[str, list[JointTest]] = {}
    for joint_test in joint:
        for path in joint_test.paths:
            tests_by_path.setdefault(path, []).append(joint_test)
    judged = []
    for weight in comparisons:
        smallest = smallest_effect(weight.dtypes)
        joint_tests = tests_by_path.get(weight.path, [])
        failed = []
        for outcome in (*weight.outcomes, *(joint_test.outcome for joint_test in joint_tests)):
            if id(outcome) in improbable and outcome.deviation > smallest:
                failed.append(outcome)
        scales = [joint_test.scale for joint_test in joint_tests if joint_test.scale]
        resolution = None
        if weight.expectation.is_measured and weight.scale is not None:
            factor = math.exp((quantile + _POWER) * weight.scale.error)
            resolution = max(factor, 1 + smallest)
        joint_scale = scales[0] if scales else None
        judged.append(JudgedWeight(weight, tuple(failed), joint_scale, resolution))
    return judged


def _fails_by_scale(weight: Comparison, improbable: set[int]) -> bool:
    smallest = smallest_effect(weight.dtypes)
    return any(
        outcome.verdict == "scale" and id(outcome) in improbable and outcome.deviation > smallest
        for outcome in weight.outcomes
    )


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
