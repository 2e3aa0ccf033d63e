"""The form of a test of a property: when it applies, and what it says."""

import enum
import functools
from collections.abc import Callable
from typing import TypeAlias

from keras_initx.audits._outcome import Outcome
from keras_initx.audits._profile import Profile

# Whether the values found have a property of those expected; `None` where there is nothing to say.
PropertyTest: TypeAlias = Callable[[Profile, Profile], Outcome | None]

# Fewer values say nothing about a distribution, or about its shape.
FEWEST = 8
FEWEST_OF_SHAPE = 32
# Rounding of what was computed, relative to the largest value.
ROUNDING = 1e-5
# With a smaller probability, something counts as impossible.
IMPOSSIBLE = 1e-9
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


def property_test(
    needs: Known = Known.VALUES, of: tuple[str, ...] = ()
) -> Callable[[PropertyTest], PropertyTest]:
    """Return a decorator for a test of a property.

    Args:
        needs: How much must be known of both.
        of: What it is about, if that may be another in each draw, see `Profile.varies`. Then there
            is nothing to test.
    """

    def decorated(test: PropertyTest) -> PropertyTest:
        @functools.wraps(test)
        def applied(expected: Profile, found: Profile) -> Outcome | None:
            varies = {*expected.varies, *found.varies}
            if known_of_both(expected, found) < needs or not varies.isdisjoint(of):
                return None
            return test(expected, found)

        return applied

    return decorated
