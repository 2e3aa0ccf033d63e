"""The comparison of values with those expected, which begins with the tests of their kind.

Whether an outcome is reported is decided for all weights at once.
"""

from dataclasses import dataclass, replace

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.audits._distribution import Extremes
from keras_initx.audits._outcome import Outcome, proven
from keras_initx.audits._probabilities import all_of_kind
from keras_initx.audits._profile import INFINITE, LOST, NOT_FINITE, SHARE_OF_ZEROS, Profile
from keras_initx.audits._properties import outcomes_of_random_values
from keras_initx.audits._property_test import ROUNDING, Known, PropertyTest
from keras_initx.audits._repeated import epsilon

# A random weight that is constant by chance has fewer values.
_FEWEST_CONSTANT = 4
# Of fewer values, those that are distributed as before may be so by chance.
_FEWEST_OF_SEED = 64
# Where frames are a single value, it is as often positive as negative.
_CHANCE_OF_SIGNS = 0.5
# With a smaller probability, values are not distributed as others.
_UNLIKE = 1e-3


def compare(expected: Profile, found: Profile, dtype: DType) -> tuple[Outcome, ...]:
    """Return the outcomes of all tests of a weight that apply, none where too little is known.

    Args:
        expected: What is known of its values.
        found: The values that it has, which are of one draw at least.
        dtype: The less exact of both dtypes.
    """
    for test in _tests_of_kinds(dtype):
        if test.applies(expected, found):
            return (test.run(expected, found),)
    if {expected.kind, found.kind} != {"random"}:
        return ()
    return outcomes_of_random_values(expected, found)


def _tests_of_kinds(dtype: DType) -> tuple[PropertyTest, ...]:
    """Return the tests of which the first that applies is the only one of a weight."""
    return (
        NotFiniteNow(),
        SameDigest(),
        SameValues(dtype),
        OtherKind(
            "fixed",
            ("random", "fixed", "constant"),
            "values",
            "another in each draw, which was fixed",
        ),
        ConstantValue(dtype),
        ConstantNow(dtype),
        OtherKind("random", ("fixed",), "constant", "the same in each draw, where it was random"),
    )


class KindTest(PropertyTest):
    """A test for which it is enough to know of which kind values are."""

    needs = Known.KIND


class NotFiniteNow(KindTest):
    """Values that are not finite and were, or must be."""

    verdict = "not finite"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        if found.reason == LOST:
            return True
        if expected.reason in (NOT_FINITE, INFINITE, LOST):
            return False
        if expected.kind == "fixed":  # perhaps a mask
            return found.reason == NOT_FINITE
        # Of a mask, there is no distribution.
        is_mask = found.kind == "fixed" and not found.has_distribution
        return found.reason in (NOT_FINITE, INFINITE) or (is_mask and expected.kind == "random")

    def run(self, expected: Profile, found: Profile) -> Outcome:
        return self.outcome("values that are not finite")


class SameDigest(KindTest):
    """The same values, bit for bit."""

    verdict = "values"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.digest is not None and expected.digest == found.digest

    def run(self, expected: Profile, found: Profile) -> Outcome:
        return proven("values")


@dataclass(frozen=True)
class SameValues(KindTest):
    """Values that are the same in all draws."""

    verdict = "values"

    dtype: DType

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.kind == "fixed" and found.digest is not None

    def run(self, expected: Profile, found: Profile) -> Outcome:
        if self._are_near(np.array(expected.places), np.array(found.places)):
            return proven("values")
        if found.kind == "constant":
            return self.outcome(f"all are {found.value:.4g} where they were not")
        cause = ""
        if expected.has_distribution and found.has_distribution:
            is_alike = (
                min((test.p for test in outcomes_of_random_values(expected, found)), default=0.0)
                > _UNLIKE
            )
            if is_alike and expected.size >= _FEWEST_OF_SEED:
                cause = "distributed as before: another seed?"
        return self.outcome("other values, which were fixed", cause=cause)

    def _are_near(self, expected: Array, found: Array) -> bool:
        """Return whether some of the values are equal, up to rounding."""
        if not len(expected) or len(expected) != len(found):
            return False
        tolerance = max(ROUNDING, 2 * epsilon(self.dtype)) * float(np.abs(expected).max())
        return bool((np.abs(expected - found) <= tolerance).all())


@dataclass(frozen=True)
class OtherKind(KindTest):
    """Values of another kind than they were.

    Attributes:
        expected: The kind that they were of.
        found: Kinds that they were not of.
        verdict: See `PropertyTest`.
        evidence: What is said.
    """

    expected: str
    found: tuple[str, ...]
    verdict: str
    evidence: str

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.kind == self.expected and found.kind in self.found

    def run(self, expected: Profile, found: Profile) -> Outcome:
        return self.outcome(self.evidence)


@dataclass(frozen=True)
class ConstantValue(KindTest):
    """The value of a constant."""

    verdict = "values"

    dtype: DType

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.kind == "constant" and found.kind != "unknown"

    def run(self, expected: Profile, found: Profile) -> Outcome:
        assert expected.value is not None
        evidence = f"not all are {expected.value:.4g} any more"
        if found.value is not None:
            if abs(found.value - expected.value) <= 2 * epsilon(self.dtype) * abs(expected.value):
                return proven("values")
            evidence = f"all are {found.value:.4g} where they were {expected.value:.4g}"
        elif found.std:
            evidence = (
                f"drawn, with a standard deviation of {found.std:.3g}, where all were "
                f"{expected.value:.4g}"
            )
        return self.outcome(evidence)


@dataclass(frozen=True)
class ConstantNow(KindTest):
    """A constant where values are drawn, which may be equal by chance."""

    verdict = "constant"

    dtype: DType

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.kind == "random" and found.kind == "constant"

    def run(self, expected: Profile, found: Profile) -> Outcome:
        assert found.value is not None
        evidence = f"all are {found.value:.4g} where they are drawn"
        if found.size < _FEWEST_CONSTANT:
            single = replace(found, lowest=found.value, highest=found.value, total=found.size)
            extremes = Extremes()
            if extremes.tells(expected):
                return extremes.run(expected, single)
            return self.outcome(evidence, p=1.0, deviation=0.0)
        chance = self._chance_of(found.value, expected)
        if expected.law is not None or expected.frames:
            p = chance ** (found.size - 1)
        else:
            p = all_of_kind(chance, expected.total, found.size - 1)
        return self.outcome(evidence, p)

    def _chance_of(self, value: float, expected: Profile) -> float:
        """Return the probability that a value is this one, once rounded."""
        if expected.frames:
            return _CHANCE_OF_SIGNS
        step = epsilon(self.dtype) * max(abs(value), 2.0**-24)
        chance = expected.zeros if value == 0 else 0.0
        if expected.law is not None:
            ends = np.array([value - step, value + step])
            below, above = expected.law.distribution_function(ends)
            chance = max(chance, above - below)
        elif expected.zeros <= SHARE_OF_ZEROS or value:
            quantiles = np.array(expected.quantiles)
            chance = max(chance, float((np.abs(quantiles - value) <= step).mean()))
        return max(chance, epsilon(self.dtype))
