"""Weights, each with what is expected of it, and the judgement of all together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from keras_initx._typing import DType, Shape
from keras_initx.audits._contract import Contract, WeightContract
from keras_initx.audits._groups import without_numbers
from keras_initx.audits._profile import Profile
from keras_initx.audits._repeated import epsilon
from keras_initx.audits._subjects import TIED
from keras_initx.audits._tests import (
    FEWEST,
    ONCE,
    SAME,
    Test,
    chance_of_equality,
    compare,
    degrees,
    error_of_ratio,
    holm,
    impossible,
    log_of_ratio,
    same_variance,
    smallest_effect,
)
from keras_initx.structure import LayerInitializer

# The normal quantile of the probability with which a deviation is found that "would be seen".
_POWER = 1.645


@dataclass(frozen=True)
class Scale:
    """The ratio of a standard deviation to the expected one.

    Attributes:
        log: Its logarithm.
        expected_degrees: The degrees of freedom of the variance that is expected.
        found_degrees: Those of the variance found.
    """

    log: float
    expected_degrees: float
    found_degrees: float

    @property
    def error(self) -> float:
        """The standard error of the logarithm, 0 for frames."""
        return error_of_ratio(self.expected_degrees, self.found_degrees)


@dataclass
class Pair:
    """A weight, and what is expected of it.

    Attributes:
        path: Its path in the model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        found: Its values.
        expected: What they should be, or `None` if the weight is new.
        text: What is expected in words, or `None` if nothing is.
        name: The path of what is expected.
        expected_dtype: The dtype there.
        initializer: The initializer that it should come from, if that is known.
        fans: The fans of a kernel, if its layer is known.
        declared: The initializer of its layer, if a rule has another and the values are those of
            the layer.
        tests: The tests.
        failed: Those that failed.
        reason: Why it was not compared.
        together: The scale of this weight and of those of its name in other layers, if it has one.
        resolution: The smallest factor of the scale that would be seen, in 95 of 100 cases.
        is_unchanged: Whether it has the bits that are expected, or `None` if these are not known.
        rows_unchanged: The number of slices along the first axis that have.
    """

    path: str
    shape: Shape
    dtype: DType
    found: Profile
    expected: Profile | None
    text: str | None = None
    name: str = ""
    expected_dtype: DType = ""
    initializer: LayerInitializer | None = None
    fans: tuple[float, int] | None = None
    declared: str = ""
    tests: list[Test] = field(default_factory=list)
    failed: list[Test] = field(default_factory=list)
    reason: str = ""
    together: Scale | None = None
    resolution: float | None = None
    is_unchanged: bool | None = None
    rows_unchanged: int | None = None

    @property
    def dtypes(self) -> list[DType]:
        """Its dtype, and the one expected if that is known."""
        return [dtype for dtype in (self.dtype, self.expected_dtype) if dtype]

    @property
    def coarsest(self) -> DType:
        """The less exact of its dtypes."""
        return max(self.dtypes, key=epsilon)

    @property
    def scale(self) -> Scale | None:
        """The scale of a random weight, relative to the one expected."""
        if self.expected is None or {self.expected.kind, self.found.kind} != {"random"}:
            return None
        if self.reason or not self.expected.std or not self.found.std:
            return None
        log = log_of_ratio(self.expected, self.found)
        return Scale(log, *degrees(self.expected, self.found))


def paired(found: Contract, expected: Contract) -> list[Pair]:
    """Return each weight with the one of its name, with the tests of both."""
    by_path = {weight.path: weight for weight in expected.weights}
    by_slashes = {weight.path.replace(".", "/"): weight for weight in expected.weights}
    pairs = []
    for weight in found.weights:
        # Some packages join names by dots.
        other = by_path.get(weight.path) or by_slashes.get(weight.path.replace(".", "/"))
        pair = Pair(weight.path, weight.shape, weight.dtype, weight.profile, None)
        pair.name = weight.path
        if other is not None:
            pair.expected = other.profile
            pair.name = other.path
            pair.expected_dtype = other.dtype
            if other.profile.kind != "unknown":
                pair.text = other.profile.text
            _test(pair, other, found.draws, expected.draws)
            if pair.text is None and SAME in pair.tests:
                pair.text = "fixed"
            are_single = expected.draws == 1 and weight.profile.digest is not None
            if are_single and other.profile.digest is not None:
                pair.is_unchanged = weight.profile.digest == other.profile.digest
        pairs.append(pair)
    return pairs


def _test(pair: Pair, other: WeightContract, found_draws: int, expected_draws: int) -> None:
    """Add the tests of a weight that is compared with another."""
    found, expected = pair.found, other.profile
    if pair.shape != other.shape:
        cause = ""
        if sorted(pair.shape) == sorted(other.shape):
            cause = "an axis exchanged"
        evidence = f"{pair.shape}, and {other.shape} before"
        pair.tests.append(Test("reshaped", evidence, 0.0, math.inf, cause))
        return
    if pair.dtype != other.dtype:
        pair.tests.append(impossible("dtype", f"{pair.dtype}, and {other.dtype} before"))
    if found.reason.startswith(TIED) != expected.reason.startswith(TIED):
        evidence = f"no longer {expected.reason}"
        if found.reason:
            evidence = f"{found.reason}, and was not"
        pair.tests.append(impossible("equal weights", evidence))
        return
    are_random = expected.kind == "random" and found.has_distribution
    if found.kind == "fixed" and are_random and min(found_draws, expected_draws) == 1:
        # One draw of either does not tell fixed values from random ones.
        found = pair.found = replace(found, kind="random")
    if expected_draws == 1:
        expected = replace(expected, zeros_at=None)  # they may be others in each draw
    is_one = expected_draws == 1 and math.prod(pair.shape) == 1
    if is_one and found.value != expected.value and expected.kind == found.kind == "constant":
        pair.reason = "one value, of one draw"
        return
    tests = compare(expected, found, pair.coarsest)
    for test in tests:
        if test.verdict != "precision" or pair.dtype == other.dtype:
            pair.tests.append(test)
    if not tests and "unknown" in (expected.kind, found.kind):
        pair.reason = expected.reason or found.reason
        return
    are_few = min(expected.size, found.size) < FEWEST and SAME not in tests
    if are_few and {found.kind, expected.kind} == {"random"}:
        pair.reason = f"fewer than {FEWEST} values"


def test_equal(
    pairs: Sequence[Pair], found: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]
) -> None:
    """Add tests of weights that are equal and should not be, or the reverse.

    Args:
        pairs: The weights.
        found: Sets of those that are equal.
        expected: Sets of those that should be.
    """
    set_now = {path: number for number, paths in enumerate(found) for path in paths}
    set_before = {path: number for number, paths in enumerate(expected) for path in paths}
    first_now: dict[int, Pair] = {}
    first_before: dict[int, Pair] = {}
    for pair in pairs:
        # New weights are not compared: two buffers may be equal by intention.
        if pair.expected is None or {pair.expected.kind, pair.found.kind} != {"random"}:
            continue
        now = set_now.get(pair.path)
        before = set_before.get(pair.name)
        if now is not None:
            other = first_now.setdefault(now, pair)
            are_free = before is None or before != set_before.get(other.name)
            if pair.name != other.name and are_free:
                evidence = f"equal to {other.path!r}"
                if other.shape != pair.shape:
                    evidence = f"the values of {other.path!r} in another shape"
                chance = chance_of_equality(pair.found)
                pair.tests.append(_equal_by_chance(evidence, chance, len(pairs)))
        if before is not None:
            other = first_before.setdefault(before, pair)
            if pair is not other and (now is None or now != set_now.get(other.path)):
                evidence = f"no longer equal to {other.path!r}"
                chance = chance_of_equality(pair.expected) ** ONCE
                pair.tests.append(_equal_by_chance(evidence, chance, len(pairs)))


def _equal_by_chance(evidence: str, chance: float, number: int) -> Test:
    """Return a test that values are not those of one of so many other weights by chance."""
    return Test("equal weights", evidence, min(1.0, number * chance), deviation=math.inf)


def test_together(pairs: Sequence[Pair], equal: Sequence[Sequence[str]]) -> None:
    """Add tests of the scale of weights that have one name in several layers.

    Args:
        pairs: The weights.
        equal: Sets of the paths of equal weights, which are one draw.
    """
    again = {path for paths in equal for path in paths[1:]}
    groups: dict[Any, list[tuple[Pair, Scale]]] = {}
    for pair in pairs:
        scale = pair.scale
        is_again = pair.path in again or pair.name in again
        # Frames have an exact scale.
        if scale is not None and scale.error and SAME not in pair.tests and not is_again:
            key = (without_numbers(pair.path), pair.shape, pair.dtype)
            groups.setdefault(key, []).append((pair, scale))
    for alike in groups.values():
        if len(alike) < 2:
            continue
        weights = [scale.error**-2 for _, scale in alike]
        mean = float(np.average([scale.log for _, scale in alike], weights=weights))
        if any(abs(scale.log - mean) > 4 * scale.error for _, scale in alike):
            continue  # they differ in different ways
        # The logarithm of a variance is a little less exact than the variance.
        together = Scale(
            mean,
            sum(max(scale.expected_degrees - 1, 1) for _, scale in alike),
            sum(max(scale.found_degrees - 1, 1) for _, scale in alike),
        )
        test = Test(
            "scale",
            f"{math.exp(mean):.3g} times the standard deviation, in {len(alike)} layers together",
            p=same_variance(math.exp(2 * mean), together.found_degrees, together.expected_degrees),
            deviation=abs(mean) - 2 * together.error,
        )
        for pair, _ in alike:
            pair.tests.append(test)
            pair.together = together


def judge(pairs: Sequence[Pair], alpha: float) -> None:
    """Decide which tests failed, for all weights at once."""
    tests = {id(test): test for pair in pairs for test in pair.tests}
    failed = {id(test) for test in holm(tests.values(), alpha)}
    for pair in pairs:
        least_effect = max(map(smallest_effect, pair.dtypes))
        for test in pair.tests:
            if id(test) in failed and test.deviation > least_effect:
                pair.failed.append(test)
        scale = pair.scale
        if scale is not None:
            # Of the normal distribution, a little high.
            quantile = math.sqrt(2 * math.log(max(len(tests), 1) / alpha))
            factor = math.exp((quantile + _POWER) * scale.error)
            pair.resolution = max(factor, 1 + least_effect)
