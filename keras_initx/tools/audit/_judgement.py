"""Tests of several weights together, and the judgement of all at once."""

import abc
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_initx._alike import group_similar
from keras_initx._typing import DType
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.tools.audit._contract_lines import WeightContract
from keras_initx.tools.audit._equal_values import CHANCE, are_opposite, chance_of_equality
from keras_initx.tools.audit._probabilities import holm, same_variance
from keras_initx.tools.audit._profile import Profile, Scale, scale_of
from keras_initx.tools.audit._property_test import ONCE, Outcome, least, smallest_effect
from keras_initx.tools.audit._subjects import Subject

# Expectations of weights, and what comes of testing one.


class Expectation(abc.ABC):
    """What a weight should be.

    Attributes:
        text: It in words, or `None` if nothing is known of it.
        path: The path of the weight that says so, if it is another than the one tested.
        dtype: The dtype there.
        initializer: The initializer that the weight should come from, if that is known.
        is_measured: Whether it was measured from draws, and is no more exact than these.
        has_parts: Whether parts have scales of their own, so that the whole has none to explain.
        has_guessed_fans: Whether its scale follows from fans that are guessed by the shape.
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
        """Return what is found of a weight, and the outcomes of tests whether it is as expected."""


@dataclass(frozen=True)
class Comparison:
    """A weight that was tested.

    Attributes:
        weight: The weight.
        expectation: What it should be.
        found: Its values.
        expected: What they should be, or `None` if nothing is known of it.
        outcomes: What the tests say.
        reason: Why it was not compared.
        declared: The initializer of its layer, if a rule has another and the values are those of
            the layer.
        is_unchanged: Whether it has the bits that are expected, or `None` if these are not known.
        rows_unchanged: The number of slices along the first axis that have.
        sample: A digest of some of its values, if they are random and an initializer was expected.
    """

    weight: Subject | WeightContract
    expectation: Expectation
    found: Profile
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
    def path_of_expected(self) -> str:
        """The path of the weight that is expected."""
        return self.expectation.path or self.path

    @property
    def dtypes(self) -> list[DType]:
        """Its dtype, and the one expected if that is known."""
        return [self.weight.dtype, self.expectation.dtype or self.weight.dtype]

    @property
    def text(self) -> str | None:
        """What is expected, in words, or `None` if nothing is known of it."""
        if self.expectation.text is None and self.is_proven:
            return "fixed"
        return self.expectation.text

    @property
    def is_proven(self) -> bool:
        """Whether the values are those expected, not only of the same law."""
        return any(outcome.proof for outcome in self.outcomes)

    @property
    def are_random(self) -> bool:
        """Whether values are drawn that should be."""
        return self.expected is not None and self.expected.kind == self.found.kind == "random"

    @property
    def least(self) -> float:
        """The smallest probability of a deviation that matters."""
        return least(self.outcomes)

    @functools.cached_property
    def scale(self) -> Scale | None:
        """The scale of a random weight, relative to the one expected."""
        if self.expected is None or not self.are_random or self.reason:
            return None
        if self.expectation.has_parts:
            return None
        if not self.expected.std or not self.found.std:
            return None
        return scale_of(self.expected, self.found)


# The normal quantile of the probability with which a deviation is found that "would be seen".
_POWER = 1.645
# Weights of one name whose scales differ from their mean by so many errors are not of one.
_APART = 4
# They are all charged if the others show it too without the one that is farthest, with a smaller
# probability.
_OF_OTHERS = 1e-3
# Of factors that are nearer to 1, none is named.
_ONE = 0.01
# Values with a larger mean, in deviations, may follow from others by more than a factor.
_SHIFTED = 0.25


@dataclass(frozen=True)
class Joint:
    """A test of several weights.

    Attributes:
        paths: Those that are not as expected if it fails.
        outcome: What it says.
        scale: Their common scale, if that is what was tested.
    """

    paths: tuple[str, ...]
    outcome: Outcome
    scale: Scale | None = None


@dataclass(frozen=True)
class Judged:
    """What is said of a weight.

    Attributes:
        comparison: The weight.
        failed: What the tests say that failed.
        together: The scale of this weight and of those of its name in other layers, if it has one.
        resolution: The smallest factor of the scale that would be seen, in 95 of 100 cases, if what
            is expected was measured.
    """

    comparison: Comparison
    failed: tuple[Outcome, ...]
    together: Scale | None
    resolution: float | None

    @property
    def verdicts(self) -> set[str]:
        """The verdicts of the tests that failed."""
        return {outcome.verdict for outcome in self.failed}


@dataclass(frozen=True)
class Together:
    """Weights that have their values in common.

    Attributes:
        equal: Sets of the paths of those that are equal.
        one_draw: Sets of the paths of those that are one draw, see `sets_of_one_draw`.
    """

    equal: Sequence[Sequence[str]] = ()
    one_draw: Sequence[Sequence[str]] = ()


def weights_with_equal_values(
    comparisons: Sequence[Comparison], found: Together, expected: Together, number: int
) -> Iterator[Joint]:
    """Yield tests of weights that have values in common and should not, or the reverse.

    Args:
        comparisons: The weights. Those that are new are not among them: two buffers may be equal by
            intention.
        found: What they have in common.
        expected: What they should have.
        number: The number of all weights, of each of which the values could be by chance.
    """
    equal = set()
    for this, other, is_now in _unlike(comparisons, found.equal, expected.equal):
        assert this.expected is not None
        evidence = f"no longer equal to {other.path!r}"
        chance = number * chance_of_equality(this.expected) ** ONCE
        if is_now:
            equal.add(this.path)
            evidence = f"equal to {other.path!r}"
            if other.weight.shape != this.weight.shape:
                evidence = f"the values of {other.path!r} in another shape"
            chance = number * chance_of_equality(this.found)
        yield _of_equality(this, evidence, chance)
    for this, other, is_now in _unlike(comparisons, found.one_draw, expected.one_draw):
        if this.path in equal:
            continue
        evidence = f"no longer one draw with {other.path!r}"
        if is_now:
            evidence = _one_draw_text(this, other)
        yield _of_equality(this, evidence, number * CHANCE)


def _unlike(
    comparisons: Sequence[Comparison],
    found: Sequence[Sequence[str]],
    expected: Sequence[Sequence[str]],
) -> Iterator[tuple[Comparison, Comparison, bool]]:
    """Yield weights that are in one set with another and should not be, or the reverse.

    Yields:
        The weight, the other, and whether they are in one set now.
    """
    set_now, set_before = _sets_by_path(found), _sets_by_path(expected)
    first_now: dict[int, Comparison] = {}
    first_before: dict[int, Comparison] = {}
    for this in comparisons:
        if not this.are_random:
            continue
        now, before = set_now.get(this.path), set_before.get(this.path_of_expected)
        if now is not None:
            other = first_now.setdefault(now, this)
            are_free = before is None or before != set_before.get(other.path_of_expected)
            if this.path_of_expected != other.path_of_expected and are_free:
                yield this, other, True
        if before is not None:
            other = first_before.setdefault(before, this)
            if this is not other and (now is None or now != set_now.get(other.path)):
                yield this, other, False


def _sets_by_path(sets: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the number of the set that each path is in."""
    numbers: dict[str, int] = {}
    for number, paths in enumerate(sets):
        numbers |= dict.fromkeys(paths, number)
    return numbers


def _one_draw_text(this: Comparison, other: Comparison) -> str:
    """Return in words how the values of a weight follow from those of another."""
    text = f"one draw with {other.path!r}"
    if this.found.total != other.found.total:
        text += ", of which one is the beginning of the other"
    factor = _factor(this.found, other.found)
    return text if abs(factor - 1) < _ONE else f"{text}, times {factor:.3g}"


def _factor(mine: Profile, theirs: Profile) -> float:
    """Return by which factor values follow from others of the same draw, 1 if it is not known."""
    if mine.total == theirs.total and theirs.std:
        factor = mine.std / theirs.std
        return -factor if are_opposite(mine, theirs) else factor
    # Of two lengths, only the first value is the same.
    is_shifted = any(abs(one.mean) > _SHIFTED * one.std for one in (mine, theirs))
    if is_shifted or not (mine.places and theirs.places and theirs.places[0]):
        return 1.0
    return mine.places[0] / theirs.places[0]


def _of_equality(this: Comparison, evidence: str, chance: float) -> Joint:
    return Joint((this.path,), Outcome("equal weights", evidence, p=min(1.0, chance)))


def groups_of_one_name(
    comparisons: Sequence[Comparison], found: Together, expected: Together
) -> list[list[Comparison]]:
    """Return weights whose scales are known, in groups that have one name in several layers.

    Args:
        comparisons: The weights.
        found: Which are equal now, or one draw.
        expected: Which were before, by the paths that they had then.
    """
    again_now, again_before = _repeated(found), _repeated(expected)
    tested = []
    for this in comparisons:
        is_again = this.path in again_now or this.path_of_expected in again_before
        # Frames have an exact scale.
        if this.scale is not None and this.scale.error and not (this.is_proven or is_again):
            tested.append(this)
    groups = group_similar(
        tested, lambda this: this.path, lambda this: (this.weight.shape, this.weight.dtype)
    )
    return [group for group in groups if len(group) > 1]


def _repeated(sets: Together) -> set[str]:
    """Return the paths of weights that say nothing new beside another of the same draw."""
    again: set[str] = set()
    for paths in (*sets.equal, *sets.one_draw):
        again.update(paths[1:])
    return again


def _test_together(group: Sequence[Comparison]) -> Joint | None:
    """Return the test of the scale of several weights, `None` if they have none in common."""
    scales = [this.scale for this in group if this.scale is not None]
    if len(scales) < 2:
        return None
    common = _common_scale(scales)
    if any(abs(scale.log - common.log) > _APART * scale.error for scale in scales):
        return None
    outcome = Outcome(
        "scale",
        f"{math.exp(common.log):.3g} times the standard deviation, in {len(group)} layers together",
        p=_chance_of_scale(common),
        deviation=abs(common.log) - 2 * common.error,
    )
    return Joint(tuple(this.path for this in group), outcome, common)


def _common_scale(scales: Sequence[Scale]) -> Scale:
    mean = np.average(
        [scale.log for scale in scales], weights=[scale.error**-2 for scale in scales]
    )
    # The logarithm of a variance is a little less exact than the variance.
    return Scale(
        float(mean),
        sum(max(scale.expected_degrees - 1, 1) for scale in scales),
        sum(max(scale.found_degrees - 1, 1) for scale in scales),
    )


def _chance_of_scale(scale: Scale) -> float:
    return same_variance(math.exp(2 * scale.log), scale.found_degrees, scale.expected_degrees)


def _is_of_all(group: Sequence[Comparison], common: Scale) -> bool:
    """Return whether the others are not as expected either, without the weight that is farthest."""
    _, *others = sorted(
        (this.scale for this in group if this.scale is not None),
        key=lambda scale: -math.copysign(scale.log / scale.error, scale.log * common.log),
    )
    return _chance_of_scale(_common_scale(others)) < _OF_OTHERS


def judge(
    comparisons: Sequence[Comparison],
    joint: Sequence[Joint],
    groups: Sequence[Sequence[Comparison]],
    alpha: float,
) -> list[Judged]:
    """Decide which tests failed, for all weights at once.

    Args:
        comparisons: The weights.
        joint: The tests of several of them.
        groups: Weights whose scales are tested together. Those whose scale fails alone are no
            evidence against the others.
        alpha: The probability of any failure by chance.
    """
    outcomes = [of_several.outcome for of_several in joint]
    for this in comparisons:
        outcomes += this.outcomes
    # What is proven cannot fail by chance: proofs of one kind count as one test.
    tested = [outcome for outcome in outcomes if not outcome.proof]
    number = len(tested) + len({outcome.proof for outcome in outcomes if outcome.proof})
    alone = _improbable(tested, number + len(groups), alpha)
    known: set[int] = set()
    joint = [*joint]
    for group in groups:
        off = [this for this in group if _has_other_scale(this, alone)]
        others = [this for this in group if not _has_other_scale(this, alone)]
        of_off = _test_together(off)
        if of_off is not None:  # each of them is off already, and this is its best estimate
            known.add(id(of_off.outcome))
            joint.append(of_off)
        of_others = _test_together(others)
        if of_others is not None and of_others.scale is not None:
            number += 1
            if _is_of_all(others, of_others.scale):
                tested.append(of_others.outcome)
                joint.append(of_others)
    improbable = _improbable(tested, number, alpha) | known
    # Of the normal distribution, a little high.
    quantile = math.sqrt(2 * math.log(max(number, 1) / alpha))
    of_path: dict[str, list[Joint]] = {}
    for of_several in joint:
        for path in of_several.paths:
            of_path.setdefault(path, []).append(of_several)
    judged = []
    for this in comparisons:
        smallest = smallest_effect(this.dtypes)
        shared = of_path.get(this.path, [])
        failed = []
        for outcome in (*this.outcomes, *(of_several.outcome for of_several in shared)):
            if id(outcome) in improbable and outcome.deviation > smallest:
                failed.append(outcome)
        together = next((of_several.scale for of_several in shared if of_several.scale), None)
        resolution = None
        if this.expectation.is_measured and this.scale is not None:
            factor = math.exp((quantile + _POWER) * this.scale.error)
            resolution = max(factor, 1 + smallest)
        judged.append(Judged(this, tuple(failed), together, resolution))
    return judged


def _has_other_scale(this: Comparison, improbable: set[int]) -> bool:
    """Return whether the scale of a weight fails by itself."""
    smallest = smallest_effect(this.dtypes)
    return any(
        outcome.verdict == "scale" and id(outcome) in improbable and outcome.deviation > smallest
        for outcome in this.outcomes
    )


def _improbable(tested: Sequence[Outcome], number: int, alpha: float) -> set[int]:
    """Return the ids of the outcomes that are too improbable for so many tests.

    A test of several weights is one of each, so there may be others that are equal to it.
    """
    corrected = holm([outcome.p for outcome in tested], number)
    found = set()
    for outcome, p in zip(tested, corrected, strict=True):
        if p <= alpha:
            found.add(id(outcome))
    return found
