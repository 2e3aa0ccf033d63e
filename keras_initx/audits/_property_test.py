"""The form of a test of a property: when it applies, and what it says."""

import abc
import enum
import math

from keras_initx.audits._outcome import Outcome
from keras_initx.audits._profile import Profile

# Fewer values say nothing about a distribution, or about its shape.
FEWEST = 8
FEWEST_OF_SHAPE = 32
# Rounding of what was computed, relative to the largest value.
ROUNDING = 1e-5
# The bits of the mantissa of bfloat16 and float16.
BITS = {7: "bfloat16", 10: "float16"}
# What a contract has by chance, such as ends far from bounds, it has in each audit. That it alarms
# each time must be rarer than an alarm: of that probability, this power counts.
ONCE = 0.5


class Known(enum.IntEnum):
    """How much is known of values on both sides: each level has those before it."""

    KIND = 0  # perhaps of a few values only
    VALUES = 1
    SCALE = 2
    DISTRIBUTION = 3


def known_of_both(expected: Profile, found: Profile) -> Known:
    """Return how much is known of both."""
    if min(expected.size, found.size) < FEWEST:
        return Known.KIND
    if not (expected.std and found.std):
        return Known.VALUES
    # Of the law of a frame, no distribution is known.
    return Known.DISTRIBUTION if expected.has_distribution else Known.SCALE


class PropertyTest(abc.ABC):
    """A test whether the values found have a property of those expected.

    Attributes:
        verdict: What is wrong if it fails.
        needs: How much must be known of both.
        of: What it is about, if that may be another in each draw, see `Profile.varies`. Then there
            is nothing to test.
    """

    verdict: str
    needs = Known.VALUES
    of: tuple[str, ...] = ()

    def applies(self, expected: Profile, found: Profile) -> bool:
        """Return whether the test has something to say."""
        if not {*expected.varies, *found.varies}.isdisjoint(self.of):
            return False
        return known_of_both(expected, found) >= self.needs and self.concerns(expected, found)

    def concerns(self, expected: Profile, found: Profile) -> bool:
        """Return whether it has, where as much is known as it needs."""
        return True

    @abc.abstractmethod
    def run(self, expected: Profile, found: Profile) -> Outcome:
        """Return what the test says, where it applies."""

    def outcome(
        self, evidence: str, p: float = 0.0, deviation: float = math.inf, cause: str = ""
    ) -> Outcome:
        """Return an outcome of this test, by default of what is impossible."""
        return Outcome(self.verdict, evidence, p, deviation, cause)
