"""The ends of a distribution: values beyond those of other draws, or beyond what laws allow."""

import math

import numpy as np

from keras_initx.audits._outcome import SMALL, Outcome
from keras_initx.audits._precision import BITS
from keras_initx.audits._probabilities import any_of, student
from keras_initx.audits._profile import LEVELS, Profile
from keras_initx.audits._property_test import ONCE, ROUNDING, Known, known_of_both, property_test
from keras_initx.audits._reading import SHARE_OF_ZEROS
from keras_initx.audits._scale_error import variance
from keras_initx.initializers._laws import IndependentLaw, NormalLaw, TruncatedLaw

# On PyTorch, Keras takes the first of four normal values that is within its truncation, and so a
# value beyond it if all four are: of those beyond, a share of 0.0455**3 is left.
_RATE = 1e-4
# The share of values that tell how many are near an end, and the number of them.
_OUTER = 0.02
_FEWEST_OUTER = 20


@property_test(needs=Known.DISTRIBUTION, of=("scale", "mean"))
def bounds(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether many values of one draw are beyond the extremes of the other.

    All orders of the values of both together are equally probable. So the numbers of values of one
    at both ends, before the first of the other, have geometric distributions.
    """
    if expected.frames or found.frames:
        return None
    before, now = _number(expected), _number(found)
    probabilities = []
    for count, share in (
        (_beyond(expected, found), before / (before + now)),
        (_beyond(found, expected), now / (before + now)),
    ):
        # Of both ends together.
        p = math.exp(count * math.log1p(share - 1)) * (1 + count * (1 - share))
        probabilities.append(p)
    return Outcome(
        "bounds",
        f"from {found.lowest:.3g} to {found.highest:.3g}, and from {expected.lowest:.3g} to "
        f"{expected.highest:.3g} before",
        p=min(1.0, 2 * min(probabilities)),
    )


def _beyond(profile: Profile, other: Profile) -> float:
    """Return the number of values beyond the extremes of another draw, at least."""
    # A scale that is 1 % off does not matter, nor does rounding.
    slack = SMALL * (other.highest - other.lowest) / 2
    slack += 2.0 ** -min(profile.bits, other.bits) * max(other.highest, -other.lowest)
    low, high = other.lowest - slack, other.highest + slack
    if profile.law is not None:
        # JAX draws no more levels than the mantissa has: the tails beyond the last are missing.
        share = max(share_beyond(profile.law, low, high) - 2.0 ** (1 - other.bits), 0.0)
    else:
        quantiles = np.array(profile.quantiles)
        above = LEVELS[quantiles > high]
        below = LEVELS[quantiles < low]
        share = 1 - above[0] if above.size else 0.0
        share += below[-1] if below.size else 0.0
    return float(share) * _number(profile)


@property_test(needs=Known.KIND, of=("scale", "mean"))
def extremes(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether single values are farther out than the laws that are possible allow."""
    known = known_of_both(expected, found)
    is_known = known == Known.DISTRIBUTION and not (expected.frames or found.frames)
    are_few = known == Known.KIND and expected.law is not None
    return of_extremes(expected, found) if is_known or are_few else None


def of_extremes(expected: Profile, found: Profile) -> Outcome | None:
    """Return what is said of the extremes, if laws are possible, and none has outliers."""
    if not expected.laws or expected.outliers:
        return None
    chance_of_ends = _chance_by_draws if expected.law is None else _chance
    return Outcome(
        "bounds",
        f"from {found.lowest:.4g} to {found.highest:.4g}, with a standard deviation of "
        f"{expected.std:.3g}, {' or '.join(expected.families)}",
        p=max(chance_of_ends(law, expected, found) for law in expected.laws),
    )


def _chance(law: IndependentLaw, expected: Profile, found: Profile) -> float:
    """Return the probability of a value as far out as the lowest or the highest one."""
    center = expected.mean
    # A value may have been rounded.
    slack = 2 * 2.0 ** -max(found.bits, min(BITS))
    low = center - max(center - found.lowest, 0.0) / (1 + slack) + slack * abs(center)
    high = center + max(found.highest - center, 0.0) / (1 + slack) - slack * abs(center)
    probabilities = []
    for ends in ((min(low, center), math.inf), (-math.inf, max(high, center))):
        probabilities.append(any_of(found.total, share_beyond(law, *ends)))
    return min(1.0, 2 * min(probabilities))


def _chance_by_draws(law: IndependentLaw, expected: Profile, found: Profile) -> float:
    """Return that probability where mean, deviation and bounds of a symmetric law are of draws.

    Draws may have ended far from a bound, and new values do not: all orders of both are equally
    probable, and gaps between values have exponential distributions.
    """
    rounding = max(2 * 2.0 ** -max(min(expected.bits, found.bits), min(BITS)), ROUNDING)
    rounding *= max(abs(end) for end in (found.lowest, found.highest))
    before, now = _number(expected), _number(found)
    # A law is known of so many values that their mean is exact beside a new one.
    error = math.sqrt(variance(expected))
    if isinstance(law, TruncatedLaw):
        error *= law.untruncated_std / law.std
    # Where parts have scales of their own, fewer values are near the ends than in the law.
    outer = max(_OUTER, _FEWEST_OUTER / before)
    low, high = np.interp([outer, 1 - outer], LEVELS, expected.quantiles)
    probabilities = []
    for out_before, out, width in (
        (expected.mean - expected.lowest, expected.mean - found.lowest, low - expected.lowest),
        (
            expected.highest - expected.mean,
            found.highest - expected.mean,
            expected.highest - high,
        ),
    ):
        tail = student(max(out - rounding, 0.0) / error, expected.independent - 1) / 2
        beyond = out - out_before - rounding
        if math.isinf(law.bounds[0]):
            p = any_of(now, tail)
        elif beyond <= 0:
            p = 1.0
        else:
            gap = share_beyond(law, law.bounds[0] + beyond, math.inf)
            gap = min(gap, outer * beyond / max(float(width), rounding))
            p = now / (now + before) * math.exp(-ONCE * before * gap)
            if isinstance(law, TruncatedLaw):
                p = max(p, any_of(now, _RATE * tail))
        probabilities.append(p)
    # Of the least one of both, and of both together (Fisher).
    product = math.prod(probabilities)
    together = product * (1 - math.log(product)) if product else 0.0
    return min(1.0, 2 * min(2 * min(probabilities), together))


def _number(profile: Profile) -> float:
    """Return the number of all independent values, without zeros where these do not count."""
    share = 1 - profile.zeros if profile.zeros > SHARE_OF_ZEROS else 1.0
    return max(profile.total * share * profile.independent / profile.size, 1.0)


def share_beyond(law: IndependentLaw, low: float, high: float) -> float:
    """Return the probability of a value below `low` or above `high`."""
    below, up_to = law.distribution_function(np.array([low, high]))
    share = float(below + 1 - up_to)
    if isinstance(law, TruncatedLaw) and share <= 0:
        normal = NormalLaw(law.center, law.untruncated_std)
        below, up_to = normal.distribution_function(np.array([low, high]))
        share = _RATE * float(below + 1 - up_to)
    return max(share, 0.0)
