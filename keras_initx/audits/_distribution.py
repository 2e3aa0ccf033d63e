"""Tests of the distribution of values: its scale, mean, shape, bounds and outliers."""

import math

import numpy as np

from keras_initx._typing import Array
from keras_initx.audits._outcome import SMALL, Outcome
from keras_initx.audits._probabilities import (
    any_of,
    kolmogorov,
    poisson_tail,
    same_rate,
    same_variance,
    student,
)
from keras_initx.audits._profile import LEVELS, SHARE_OF_ZEROS, Profile, reach_of_values
from keras_initx.audits._property_test import (
    BITS,
    FEWEST_OF_SHAPE,
    ONCE,
    ROUNDING,
    Known,
    PropertyTest,
    known_of_both,
)
from keras_initx.audits._repeated import SAMPLE
from keras_initx.audits._scale_error import degrees, error_of_ratio, variance
from keras_initx.initializers._laws import IndependentLaw, NormalLaw, TruncatedLaw

# Equal quantiles in a row are an atom of the distribution.
_ATOM = 3
# An orthonormal weight has an exact scale, up to rounding.
_EXACT = 2e-3
# On PyTorch, Keras takes the first of four normal values that is within its truncation, and so a
# value beyond it if all four are: of those beyond, a share of 0.0455**3 is left.
_RATE = 1e-4
# How much nearer distributions of known families are for being standardized by their own moments,
# at least (simulated: normal, uniform, truncated, orthonormal).
_NEARER = 1.25
# The mean of Kolmogorov's distribution.
_MEAN_DISTANCE = 0.8687
# The share of values that tell how many are near an end, and the number of them.
_OUTER = 0.02
_FEWEST_OUTER = 20


class Precision(PropertyTest):
    """Values that were rounded to 16 bits."""

    verdict = "precision"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        bits = self._rounded_to(found)
        if bits is None:
            return False
        number = min(found.size, expected.independent)
        return expected.bits > 2 * bits and number * (expected.bits - bits) > 100

    def run(self, expected: Profile, found: Profile) -> Outcome:
        bits = self._rounded_to(found)
        assert bits is not None
        return self.outcome(f"values that were rounded to {BITS[bits]}")

    def _rounded_to(self, found: Profile) -> int | None:
        """Return the bits of the coarsest dtype that holds all values, `None` if none of these."""
        return next((bits for bits in BITS if found.bits <= bits), None)


class Orthonormality(PropertyTest):
    """Blocks that are orthonormal."""

    verdict = "orthonormality"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return (expected.frames, expected.frames_axis) != (found.frames, found.frames_axis)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        if not expected.frames:
            return self.outcome("orthonormal where it was not")
        if not found.frames:
            return self.outcome("not orthonormal, or with other singular values")
        return self.outcome(f"{self._text(found)}, expected {self._text(expected)}")

    def _text(self, profile: Profile) -> str:
        blocks = "orthonormal"
        if profile.frames > 1:
            blocks = f"{profile.frames} orthonormal blocks"
        return f"{blocks} along the {profile.frames_axis} axis"


class OutliersOfLaw(PropertyTest):
    """Outliers, where a law says how many there are."""

    verdict = "outliers"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.law is not None and found.outliers > 0

    def run(self, expected: Profile, found: Profile) -> Outcome:
        assert expected.law is not None
        # Few laws have any, such as that of logarithms of numbers that may be near 0.
        low, median, high = np.interp([0.25, 0.5, 0.75], LEVELS, expected.quantiles).tolist()
        reach = reach_of_values(low, high)
        share = _tails(expected.law, median - reach, median + reach)
        return self.outcome(
            f"{found.outliers} values more than 12 deviations from the median",
            p=poisson_tail(found.outliers, found.total * share),
        )


class Outliers(PropertyTest):
    """Outliers, compared with those of other draws."""

    verdict = "outliers"
    of = ("scale", "mean")

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.law is None and bool(expected.outliers or found.outliers)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        return self.outcome(
            f"{found.outliers} values more than 12 deviations from the median, and "
            f"{expected.outliers} were",
            p=same_rate(expected.outliers, expected.total, found.outliers, found.total),
        )


class ScaleOfAll(PropertyTest):
    """The scale, which of orthonormal values is exact, because their squares have a fixed sum."""

    verdict = "scale"
    of = ("scale",)

    needs = Known.SCALE

    def run(self, expected: Profile, found: Profile) -> Outcome:
        before, now = degrees(expected, found)
        if math.isinf(now):
            ratio = found.root_mean_square / expected.root_mean_square
            p = float(abs(math.log(ratio)) < max(_EXACT, 2.0**-found.bits))
        else:
            ratio = found.std / expected.std
            p = same_variance(variance(found) / variance(expected), now, before)
        # What is left without the error of both.
        deviation = abs(math.log(ratio)) - 2 * error_of_ratio(before, now)
        return self.outcome(f"{ratio:.3g} times the standard deviation", p, deviation)


class Mean(PropertyTest):
    """The mean of the values."""

    verdict = "mean"
    of = ("mean", "scale")

    needs = Known.DISTRIBUTION

    def run(self, expected: Profile, found: Profile) -> Outcome:
        shift = abs(found.mean - expected.mean)
        error = math.sqrt(
            variance(expected) / max(expected.independent, 1)
            + variance(found) / max(found.independent, 1)
        )
        return self.outcome(
            f"{found.mean:.3g} where it was {expected.mean:.3g}, with a standard deviation of "
            f"{expected.std:.3g}",
            p=student(shift / error, min(expected.independent, found.independent) - 1),
            deviation=(shift - 2 * error) / expected.std,
        )


class ShapeOfAll(PropertyTest):
    """The standardized distributions (Kolmogorov and Smirnov).

    Those of families that initializers draw from are nearer to each other for being standardized by
    their own moments. Others may be farther, as with long tails or a peak: these must differ as
    they are too.
    """

    verdict = "shape"

    of = ("scale",)

    needs = Known.DISTRIBUTION

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return min(expected.independent, found.independent) >= FEWEST_OF_SHAPE

    def run(self, expected: Profile, found: Profile) -> Outcome:
        distance = tested = self._distance(expected, found)
        if expected.families and found.families:
            tested = _NEARER * distance
        else:
            tested = min(distance, self._distance(expected, found, is_standardized=False))
        p = kolmogorov(tested, int(min(self._size(expected, found), SAMPLE / 2)))
        return self.outcome(f"distribution functions differ by {distance:.2g}", p, distance)

    def excess(self, expected: Profile, found: Profile) -> float:
        """Return how many times as far two samples differ as independent values on average."""
        distance = self._distance(expected, found)
        return distance * math.sqrt(self._size(expected, found)) / _MEAN_DISTANCE

    def _size(self, expected: Profile, found: Profile) -> float:
        """Return the number of values that tell as much of a known distribution as both samples."""
        return 1 / (1 / max(expected.independent, 1) + 1 / max(found.independent, 1))

    def _distance(
        self, expected: Profile, found: Profile, *, is_standardized: bool = True
    ) -> float:
        """Return the largest distance of two distribution functions at the quantiles of one."""
        before, now = np.array(expected.quantiles), np.array(found.quantiles)
        slack = 0.0
        if self._has_atom(before) or self._has_atom(now):
            slack = 4 / math.sqrt(self._size(expected, found))  # the error of the place of an atom
        if is_standardized:
            before = (before - expected.mean) / expected.std
            now = (now - found.mean) / found.std
        else:
            slack *= expected.std
        above = np.interp(before + slack, now, LEVELS, left=0.0, right=1.0)
        below = np.interp(before - slack, now, LEVELS, left=0.0, right=1.0)
        off = np.maximum(LEVELS - above, below - LEVELS)[1:-1]  # beyond them, little is known
        return float(max(off.max(), 0.0))

    def _has_atom(self, quantiles: Array) -> bool:
        return bool((quantiles[_ATOM - 1 :] - quantiles[: 1 - _ATOM] <= 0).any())


class Bounds(PropertyTest):
    """Many values of one draw beyond the extremes of the other.

    All orders of the values of both together are equally probable. So the numbers of values of one
    at both ends, before the first of the other, have geometric distributions.
    """

    verdict = "bounds"
    of = ("scale", "mean")

    needs = Known.DISTRIBUTION

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return not (expected.frames or found.frames)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        before, now = _number(expected), _number(found)
        probabilities = []
        for count, share in (
            (self._beyond(expected, found), before / (before + now)),
            (self._beyond(found, expected), now / (before + now)),
        ):
            # Of both ends together.
            p = math.exp(count * math.log1p(share - 1)) * (1 + count * (1 - share))
            probabilities.append(p)
        return self.outcome(
            f"from {found.lowest:.3g} to {found.highest:.3g}, and from {expected.lowest:.3g} to "
            f"{expected.highest:.3g} before",
            p=min(1.0, 2 * min(probabilities)),
        )

    def _beyond(self, profile: Profile, other: Profile) -> float:
        """Return the number of values beyond the extremes of another draw, at least."""
        # A scale that is 1 % off does not matter, nor does rounding.
        slack = SMALL * (other.highest - other.lowest) / 2
        slack += 2.0 ** -min(profile.bits, other.bits) * max(other.highest, -other.lowest)
        low, high = other.lowest - slack, other.highest + slack
        if profile.law is not None:
            # JAX draws no more levels than the mantissa has: the tails beyond the last are missing.
            share = max(_tails(profile.law, low, high) - 2.0 ** (1 - other.bits), 0.0)
        else:
            quantiles = np.array(profile.quantiles)
            above = LEVELS[quantiles > high]
            below = LEVELS[quantiles < low]
            share = 1 - above[0] if above.size else 0.0
            share += below[-1] if below.size else 0.0
        return float(share) * _number(profile)


class Extremes(PropertyTest):
    """Single values that are farther out than the laws that are possible allow."""

    verdict = "bounds"
    of = ("scale", "mean")

    needs = Known.KIND

    def concerns(self, expected: Profile, found: Profile) -> bool:
        known = known_of_both(expected, found)
        is_known = known == Known.DISTRIBUTION and not (expected.frames or found.frames)
        are_few = known == Known.KIND and expected.law is not None
        return (is_known or are_few) and self.tells(expected)

    def tells(self, expected: Profile) -> bool:
        """Return whether laws are possible, and none has outliers."""
        return bool(expected.laws) and not expected.outliers

    def run(self, expected: Profile, found: Profile) -> Outcome:
        chance_of_ends = self._chance_by_draws if expected.law is None else self._chance
        return self.outcome(
            f"from {found.lowest:.4g} to {found.highest:.4g}, with a standard deviation of "
            f"{expected.std:.3g}, {' or '.join(expected.families)}",
            p=max(chance_of_ends(law, expected, found) for law in expected.laws),
        )

    def _chance(self, law: IndependentLaw, expected: Profile, found: Profile) -> float:
        """Return the probability of a value as far out as the lowest or the highest one."""
        center = expected.mean
        # A value may have been rounded.
        slack = 2 * 2.0 ** -max(found.bits, min(BITS))
        low = center - max(center - found.lowest, 0.0) / (1 + slack) + slack * abs(center)
        high = center + max(found.highest - center, 0.0) / (1 + slack) - slack * abs(center)
        probabilities = []
        for ends in ((min(low, center), math.inf), (-math.inf, max(high, center))):
            probabilities.append(any_of(found.total, _tails(law, *ends)))
        return min(1.0, 2 * min(probabilities))

    def _chance_by_draws(self, law: IndependentLaw, expected: Profile, found: Profile) -> float:
        """Return that probability where mean, deviation and bounds of a symmetric law are of draws.

        Draws may have ended far from a bound, and new values do not: all orders of both are equally
        probable, and gaps between values have exponential distributions.
        """
        rounding = max(2 * 2.0 ** -max(min(expected.bits, found.bits), min(BITS)), ROUNDING)
        rounding *= max(abs(end) for end in (found.lowest, found.highest))
        before, now = _number(expected), _number(found)
        # The mean of the draws and a new value have independent errors.
        error = math.sqrt(variance(expected) * (1 + 1 / expected.independent))
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
                gap = _tails(law, law.bounds[0] + beyond, math.inf)
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


def _tails(law: IndependentLaw, low: float, high: float) -> float:
    """Return the probability of a value below `low` or above `high`."""
    below, up_to = law.distribution_function(np.array([low, high]))
    share = float(below + 1 - up_to)
    if isinstance(law, TruncatedLaw) and share <= 0:
        normal = NormalLaw(law.center, law.untruncated_std)
        below, up_to = normal.distribution_function(np.array([low, high]))
        share = _RATE * float(below + 1 - up_to)
    return max(share, 0.0)
