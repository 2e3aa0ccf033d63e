"""The form of a test of a property: its conditions and its outcome.

A test is a function `compare_...(expected, actual)` of two profiles, with the decorator
`property_test`. It returns an `Outcome`, which is reported if it fails:

    Outcome("scale", "1.41 times the expected standard deviation", p=1e-30, deviation=0.34)

or `None` if it has nothing to say. Its p-value is the probability of such values if nothing is
wrong; `judge` corrects it for the number of tests.
"""

import enum
import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from keras_initx._typing import DType
from keras_initx.tools.audit._profile import Profile

# The rate of false alarms: the probability of any alarm if all weights are right. `python
# tests/support/right_draws.py` counts alarms.
ALPHA = 0.01
# Smaller deviations do not matter, however surely they are there; in 16 bits, where backends round
# what they draw, twice as large ones. The page "Audit weights" promises both.
SMALL = 0.01
_SMALL_IN_16_BITS = 0.02
# All statuses: of those of a weight, the first is reported.
_STATUSES = (
    "not finite",
    "reshaped",
    "constant",
    "values",
    "equal weights",
    "connections",
    "zeros",
    "equal slices",
    "copies",
    "orthonormality",
    "scale",
    "parts",
    "bounds",
    "mean",
    "shape",
    "outliers",
    "precision",
    "dtype",
    "bits",
)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a test of one property.

    Attributes:
        status: The problem if the test fails, e.g. `"scale"`.
        detail: The numbers, in words.
        p: The probability of such values; 0 if they are impossible.
        deviation: Their deviation, relative to the expectation.
        cause: The cause, if the test finds one.
        proof: The proof that the values are the expected values, otherwise empty: equal `"values"`,
            up to rounding; `"bits"`; or the `"digest"` of a plan.
    """

    status: str
    detail: str
    p: float = 0.0
    deviation: float = math.inf
    cause: str = ""
    proof: str = ""

    @property
    def rank(self) -> tuple[int, float]:
        """The rank among the outcomes of a weight. The first failed outcome is reported."""
        return _STATUSES.index(self.status), self.p


def proven(proof: str) -> Outcome:
    """Return the outcome for exactly the expected values."""
    return Outcome("values", "", p=1.0, deviation=0.0, proof=proof)


def smallest_effect(dtypes: Iterable[DType]) -> float:
    """Return the smallest reported deviation of weights with these dtypes."""
    return SMALL if {"float16", "bfloat16"}.isdisjoint(dtypes) else _SMALL_IN_16_BITS


# Whether values have a property of those expected; `None` if there is nothing to say.
PropertyTest: TypeAlias = Callable[[Profile, Profile], Outcome | None]

# A resolution: fewer values say nothing about a scale, of which the error is 27 % for 8 normal
# values, or about a shape: 32 values differ from their law by 0.28 in one of 100 cases.
FEWEST = 8
FEWEST_OF_SHAPE = 32
# Rounding of what was computed in float32 by sums and products, relative to the largest value.
ROUNDING = 1e-5
# A rate of false explanations: with a smaller probability, another law does not explain values that
# have failed a test already.
EXPLAINED = 1e-5
# A rate of false alarms that is not corrected for the number of tests: with a smaller probability,
# something counts as impossible. In one of 1,000 models with a million tests, it happens.
IMPOSSIBLE = 1e-9
# What a contract has by chance, such as ends far from bounds, it has in each audit. An alarm each
# time must be rarer than a single one, so that its probability p counts as the larger p**ONCE.
ONCE = 0.5


class Known(enum.IntEnum):
    """How many facts are known on both sides. Each level includes the levels before it."""

    KIND = 0  # perhaps of a few values only
    VALUES = 1
    SCALE = 2
    DISTRIBUTION = 3


def find_known(expected: Profile, actual: Profile) -> Known:
    """Find the level of facts that is known on both sides."""
    if min(expected.size, actual.size) < FEWEST:
        return Known.KIND
    if not (expected.std and actual.std):
        return Known.VALUES
    # Of the law of a frame, no distribution is known.
    return Known.DISTRIBUTION if expected.has_distribution else Known.SCALE


def property_test(
    needs: Known = Known.VALUES, *, unless_varying: bool = False
) -> Callable[[PropertyTest], PropertyTest]:
    """Make a decorator for a test of a property, which then returns `None` if it does not apply.

    Args:
        needs: The level of facts that both sides must have.
        unless_varying: Whether the test does not apply if the scale or the mean varies from draw to
            draw, or may vary, see `Profile.varies`.
    """

    def decorate(test: PropertyTest) -> PropertyTest:
        @functools.wraps(test)
        def apply(expected: Profile, actual: Profile) -> Outcome | None:
            may_vary = expected.varies is not False or actual.varies is not False
            if find_known(expected, actual) < needs or (unless_varying and may_vary):
                return None
            return test(expected, actual)

        return apply

    return decorate
