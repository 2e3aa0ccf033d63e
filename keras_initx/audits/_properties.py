"""The tests of a weight: are its values as what is expected says, of a law or of other draws?

Each test is a class, which says when it applies, what it measures, the probability of that and its
words. Whether an outcome is reported is decided for all weights at once.
"""

import abc
import enum
import math
from dataclasses import dataclass, replace

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.audits._outcome import SMALL, Outcome, impossible, proven
from keras_initx.audits._probabilities import (
    all_of_kind,
    any_of,
    as_few,
    kolmogorov,
    log_choose,
    poisson_tail,
    same_rate,
    same_variance,
    student,
)
from keras_initx.audits._profile import (
    BITS_OF_RANDOM,
    INFINITE,
    LEVELS,
    LOST,
    NOT_FINITE,
    SHARE_OF_ZEROS,
    Parts,
    Profile,
    reach_of_values,
)
from keras_initx.audits._repeated import IMPOSSIBLE, SAMPLE, epsilon
from keras_initx.audits._scale_error import degrees, error_of_ratio, kurtosis_of, variance
from keras_initx.initializers import IndependentLaw, Normal, Truncated

# Fewer values say nothing about a distribution, or about its shape.
FEWEST = 8
_FEWEST_OF_SHAPE = 32
# Of fewer values of a part, only is compared whether they vary.
_FEWEST_OF_PART = 16
# A random weight that is constant by chance has fewer values.
_FEWEST_CONSTANT = 4
# Of fewer values, those that are distributed as before may be so by chance.
_FEWEST_OF_SEED = 64
# Equal quantiles in a row are an atom of the distribution.
_ATOM = 3
# An orthonormal weight has an exact scale, up to rounding.
_EXACT = 2e-3
# Rounding of what was computed, relative to the largest value.
_ROUNDING = 1e-5
# The bits of the mantissa of bfloat16 and float16.
_BITS = {7: "bfloat16", 10: "float16"}
# The share of zeros that rounding to 16 bits may make.
_ZEROS_IN_16_BITS = 2.0**-7
# On PyTorch, Keras takes the first of four normal values that is within its truncation, and so a
# value beyond it if all four are: of those beyond, a share of 0.0455**3 is left.
_RATE = 1e-4
# How much nearer distributions of known families are for being standardized by their own moments,
# at least (simulated: normal, uniform, truncated, orthonormal).
_NEARER = 1.25
# The mean of Kolmogorov's distribution.
_MEAN_DISTANCE = 0.8687
# Where each value is there twice, half of them differ from each other.
_COPIES = 0.6
# The share of values that tell how many are near an end, and the number of them.
_OUTER = 0.02
_FEWEST_OUTER = 20
# What a contract has by chance, such as ends far from bounds, it has in each audit. That it alarms
# each time must be rarer than an alarm: of that probability, this power counts.
ONCE = 0.5
# Where frames are a single value, it is as often positive as negative.
_CHANCE_OF_SIGNS = 0.5
# With a smaller probability, values are not distributed as others.
_UNLIKE = 1e-3


class Known(enum.IntEnum):
    """How much is known of values on both sides: each level has those before it."""

    KIND = 0  # perhaps of a few values only
    VALUES = 1
    SCALE = 2
    DISTRIBUTION = 3


def _known(expected: Profile, found: Profile) -> Known:
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
    """

    verdict: str
    needs = Known.VALUES

    def applies(self, expected: Profile, found: Profile) -> bool:
        """Return whether the test has something to say."""
        return _known(expected, found) >= self.needs and self.concerns(expected, found)

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
    return _outcomes(expected, found)


def _tests_of_kinds(dtype: DType) -> tuple[PropertyTest, ...]:
    """Return the tests of which the first that applies is the only one of a weight."""
    return (
        NotFinite(),
        SameDigest(),
        FixedValues(dtype),
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


def _outcomes(expected: Profile, found: Profile) -> tuple[Outcome, ...]:
    """Return the outcomes of the tests whether values are draws of the same law as others."""
    return tuple(test.run(expected, found) for test in _TESTS if test.applies(expected, found))


# Of values that are not random, or not on both sides.


class KindTest(PropertyTest):
    """A test for which it is enough to know of which kind values are."""

    needs = Known.KIND


class NotFinite(KindTest):
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
class FixedValues(KindTest):
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
            is_alike = min((test.p for test in _outcomes(expected, found)), default=0.0) > _UNLIKE
            if is_alike and expected.size >= _FEWEST_OF_SEED:
                cause = "distributed as before: another seed?"
        return self.outcome("other values, which were fixed", cause=cause)

    def _are_near(self, expected: Array, found: Array) -> bool:
        """Return whether some of the values are equal, up to rounding."""
        if not len(expected) or len(expected) != len(found):
            return False
        tolerance = max(_ROUNDING, 2 * epsilon(self.dtype)) * float(np.abs(expected).max())
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


# Of random values.


def chance_of_equality(profile: Profile) -> float:
    """Return the probability that other draws have the same values, 0 if it is not known."""
    if not profile.has_distribution:
        return 0.0
    chance = 2.0**-profile.bits
    if profile.bits <= BITS_OF_RANDOM or profile.independent < profile.size:
        chance = _largest_atom(profile)
    return math.pow(chance, profile.total * (1 - profile.zeros))


def _largest_atom(profile: Profile) -> float:
    """Return the share of the most frequent value, of those that the quantiles are of."""
    quantiles = np.array(profile.quantiles)
    last = np.searchsorted(quantiles, quantiles, side="right") - 1
    # Of two equal values that follow each other, quantiles between them are equal.
    return (float((LEVELS[last] - LEVELS).max()) * (profile.size - 1) + 1) / profile.size


def _are_exact(expected: Profile, found: Profile) -> bool:
    """Return whether both have so many bits that no two values are equal by rounding."""
    return min(expected.bits, found.bits) > BITS_OF_RANDOM


class Repeats(PropertyTest):
    """Slices that are equal to each other where they were not, or no longer are."""

    needs = Known.KIND

    def concerns(self, expected: Profile, found: Profile) -> bool:
        if expected.repeated is None or found.repeated is None:
            return False
        (before, _), (now, _) = expected.repeated, found.repeated
        if _are_exact(expected, found):
            return bool(before or now) and (expected.repeated != found.repeated)
        return bool(now and not before)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        assert expected.repeated is not None
        assert found.repeated is not None
        if found.repeated[0]:
            return impossible(*found.repeated)
        verdict, where = expected.repeated
        return impossible(verdict, f"no longer {where}")


class Copies(PropertyTest):
    """Single values that are there several times, in any places."""

    verdict = "copies"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        if Repeats().applies(expected, found) or not _are_exact(expected, found):
            return False
        are_enough = min(expected.size, found.size) >= _FEWEST_OF_SHAPE
        return are_enough and self._share(found) < _COPIES * self._share(expected)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        shares = self._share(found), self._share(expected)
        evidence = "{:.2g} of the values differ from each other, and {:.2g} did".format(*shares)
        # Those of a law with one frequent value, such as a lower bound, differ in number by chance.
        counts = round(found.independent), round(expected.independent)
        p = as_few(counts[0], found.size, counts[1], expected.size)
        return self.outcome(evidence, p)

    def _share(self, profile: Profile) -> float:
        """Return which share of the values differ from each other."""
        return profile.independent / profile.size


class ZerosOfLaw(PropertyTest):
    """The number of zeros, where a law says how many there are by rounding."""

    verdict = "zeros"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.law is not None

    def run(self, expected: Profile, found: Profile) -> Outcome:
        count = found.zeros * found.total
        evidence = f"{count:.0f} of {found.total} values are 0"
        p = poisson_tail(round(count), found.total * expected.zeros)
        return self.outcome(evidence, p)


class PlacesOfZeros(PropertyTest):
    """Zeros at other places than in all draws."""

    verdict = "zeros"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.zeros_at not in (None, found.zeros_at)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        shares = f"{found.zeros:.3g}, and {expected.zeros:.3g}"
        return self.outcome(f"other values are 0 than were: {shares}")


@dataclass(frozen=True)
class Connections(PropertyTest):
    """The number of values that are not zero for each index of the first axis (0) or the last."""

    verdict = "connections"

    axis: int

    def concerns(self, expected: Profile, found: Profile) -> bool:
        differ = 0 < expected.connections[self.axis] != found.connections[self.axis]
        are_elsewhere = PlacesOfZeros().applies(expected, found)
        return differ and not are_elsewhere

    def run(self, expected: Profile, found: Profile) -> Outcome:
        name = ("first", "last")[self.axis]
        before, now = expected.connections[self.axis], found.connections[self.axis]
        number = "another number" if now < 0 else f"{now}"
        evidence = f"{number} of values that are not 0 for each index of the {name} axis"
        p = self._chance(before, expected) ** ONCE * self._chance(now, found)
        return self.outcome(f"{evidence}, expected {before}", p)

    def _chance(self, count: int, profile: Profile) -> float:
        """Return the probability that each index has so many, 1 if the number varies.

        A few indices have one number by chance where zeros are random.
        """
        if count < 1:
            return 1.0
        share = 1 - profile.zeros
        indices = profile.total * share / count
        length = round(profile.total / indices)
        log_chance = count * math.log(share) + (length - count) * math.log(profile.zeros)
        return math.exp((round(indices) - 1) * (log_choose(length, count) + log_chance))


class ShareOfZeros(PropertyTest):
    """The share of zeros, compared with that of other draws."""

    verdict = "zeros"

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return expected.law is None and not PlacesOfZeros().applies(expected, found)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        # Rounding to 16 bits makes zeros, on one backend more than on another.
        is_rounded = min(expected.bits, found.bits) <= max(_BITS)
        rounded = _ZEROS_IN_16_BITS if is_rounded else 0.0
        before, now = expected.zeros * expected.total, found.zeros * found.total
        return self.outcome(
            f"{found.zeros:.3g} of the values are 0, and {expected.zeros:.3g} were",
            p=same_rate(before, expected.total, now, found.total),
            deviation=math.inf if abs(found.zeros - expected.zeros) > rounded else 0.0,
        )


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
        return self.outcome(f"values that were rounded to {_BITS[bits]}")

    def _rounded_to(self, found: Profile) -> int | None:
        """Return the bits of the coarsest dtype that holds all values, `None` if none of these."""
        return next((bits for bits in _BITS if found.bits <= bits), None)


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


class Shape(PropertyTest):
    """The standardized distributions (Kolmogorov and Smirnov).

    Those of families that initializers draw from are nearer to each other for being standardized by
    their own moments. Others may be farther, as with long tails or a peak: these must differ as
    they are too.
    """

    verdict = "shape"

    needs = Known.DISTRIBUTION

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return min(expected.independent, found.independent) >= _FEWEST_OF_SHAPE

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

    needs = Known.KIND

    def concerns(self, expected: Profile, found: Profile) -> bool:
        known = _known(expected, found)
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
        slack = 2 * 2.0 ** -max(found.bits, min(_BITS))
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
        rounding = max(2 * 2.0 ** -max(min(expected.bits, found.bits), min(_BITS)), _ROUNDING)
        rounding *= max(abs(end) for end in (found.lowest, found.highest))
        before, now = _number(expected), _number(found)
        # The mean of the draws and a new value have independent errors.
        error = math.sqrt(variance(expected) * (1 + 1 / expected.independent))
        if isinstance(law, Truncated):
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
                if isinstance(law, Truncated):
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
    if isinstance(law, Truncated) and share <= 0:
        normal = Normal(law.center, law.untruncated_std)
        below, up_to = normal.distribution_function(np.array([low, high]))
        share = _RATE * float(below + 1 - up_to)
    return max(share, 0.0)


@dataclass(frozen=True)
class _PartsOfBoth:
    """Equal parts of a weight along one axis, found and expected.

    Attributes:
        expected: Those expected.
        found: Those found.
        expected_size: The number of independent values of a part.
        found_size: That of those found.
        zeros: The larger share of zeros, which are among the values of a part.
    """

    expected: Parts
    found: Parts
    expected_size: float
    found_size: float
    zeros: float

    @property
    def fewest(self) -> float:
        """The smaller number of values of a part that are not zero."""
        return min(self.expected_size, self.found_size) * (1 - self.zeros)

    def name(self, number: int) -> str:
        """Return a part in words."""
        return f"part {number + 1} of {len(self.expected.stds)} along axis {self.expected.axis}"


def _parts_of_both(expected: Profile, found: Profile, place: int) -> _PartsOfBoth | None:
    """Return the parts along an axis, `None` if they are not known of both or have few values."""
    if place >= min(len(expected.parts), len(found.parts)):
        return None
    before, now = expected.parts[place], found.parts[place]
    if (before.axis, len(before.stds)) != (now.axis, len(now.stds)):
        return None
    parts = _PartsOfBoth(
        before,
        now,
        before.size * expected.independent / expected.size,
        now.size * found.independent / found.size,
        max(expected.zeros, found.zeros),
    )
    return parts if parts.fewest >= FEWEST else None


@dataclass(frozen=True)
class ConstantParts(PropertyTest):
    """Parts that are constant now, or no longer are, or have another value."""

    verdict = "parts"

    place: int

    needs = Known.DISTRIBUTION

    def concerns(self, expected: Profile, found: Profile) -> bool:
        return bool(self._evidence(expected, found))

    def run(self, expected: Profile, found: Profile) -> Outcome:
        return self.outcome(self._evidence(expected, found))

    def _evidence(self, expected: Profile, found: Profile) -> str:
        """Return which part it is, in words, empty if there is none."""
        parts = _parts_of_both(expected, found, self.place)
        if parts is None or self._may_be_chance(parts, expected, found):
            return ""
        stds = zip(parts.expected.stds, parts.found.stds, strict=True)
        for number, (std_before, std_now) in enumerate(stds):
            if bool(std_before) != bool(std_now):
                return f"{parts.name(number)} {'varies' if std_now else 'is constant'} now"
            before, now = parts.expected.means[number], parts.found.means[number]
            is_other = abs(now - before) > 1e-6 * abs(before) + 1e-6 * expected.std
            if not std_before and is_other:
                return f"{parts.name(number)} is {now:.4g}, and was {before:.4g}"
        return ""

    def _may_be_chance(self, parts: _PartsOfBoth, expected: Profile, found: Profile) -> bool:
        """Return whether no part is constant, or one may be by chance."""
        stds = (*parts.expected.stds, *parts.found.stds)
        if all(stds):
            return True
        frequent = max(parts.zeros, _largest_atom(expected), _largest_atom(found))
        size = min(parts.expected.size, parts.found.size)
        chance = all_of_kind(frequent, expected.total + found.total, size - 1)
        return len(parts.expected.stds) * chance > IMPOSSIBLE


@dataclass(frozen=True)
class ScalesOfParts(PropertyTest):
    """The scale or the mean of one part, relative to how the whole differs."""

    verdict = "parts"

    place: int

    needs = Known.DISTRIBUTION

    def concerns(self, expected: Profile, found: Profile) -> bool:
        parts = _parts_of_both(expected, found, self.place)
        if parts is None:
            return False
        # Parts of which hardly any value is not zero vary more than the whole.
        is_irregular = parts.zeros > SHARE_OF_ZEROS and max(expected.connections) < 0
        if parts.fewest < _FEWEST_OF_PART or is_irregular:
            return False
        vary = any(map(min, parts.expected.stds, parts.found.stds))
        return vary and not ConstantParts(self.place).applies(expected, found)

    def run(self, expected: Profile, found: Profile) -> Outcome:
        parts = _parts_of_both(expected, found, self.place)
        assert parts is not None
        outcomes = []
        for number, stds in enumerate(zip(parts.expected.stds, parts.found.stds, strict=True)):
            if all(stds):
                outcomes.append(self._scale(number, parts, expected, found))
                outcomes.append(self._mean(number, parts, expected, found))
        worst = min(outcomes, key=lambda outcome: outcome.p)
        return replace(worst, p=min(1.0, len(outcomes) * worst.p))  # Bonferroni

    def _scale(
        self, number: int, parts: _PartsOfBoth, expected: Profile, found: Profile
    ) -> Outcome:
        kurtosis = kurtosis_of(expected, found) / (1 - parts.zeros)
        before = max(2 * parts.expected_size / (kurtosis - 1), 2.0)
        now = max(2 * parts.found_size / (kurtosis - 1), 2.0)
        of_all = np.linalg.norm(parts.found.stds) / np.linalg.norm(parts.expected.stds)
        ratio = parts.found.stds[number] / parts.expected.stds[number] / float(of_all)
        return self.outcome(
            f"{parts.name(number)} has {ratio:.3g} times its share of the scale",
            p=same_variance(ratio**2, now, before),
            deviation=abs(math.log(ratio)) - 2 * error_of_ratio(before, now),
        )

    def _mean(self, number: int, parts: _PartsOfBoth, expected: Profile, found: Profile) -> Outcome:
        of_all = float(np.mean(parts.found.means) - np.mean(parts.expected.means))
        shift = abs(parts.found.means[number] - parts.expected.means[number] - of_all)
        # Parts of sorted values vary as the whole does.
        error = math.hypot(
            max(parts.expected.stds[number], expected.std) / math.sqrt(parts.expected_size),
            max(parts.found.stds[number], found.std) / math.sqrt(parts.found_size),
        )
        return self.outcome(
            f"{parts.name(number)} has another mean",
            p=student(shift / error, min(parts.expected_size, parts.found_size) - 1),
            deviation=(shift - 2 * error) / expected.std,
        )


_TESTS: tuple[PropertyTest, ...] = (
    Repeats(),
    Copies(),
    ZerosOfLaw(),
    PlacesOfZeros(),
    Connections(0),
    Connections(1),
    ShareOfZeros(),
    Precision(),
    Orthonormality(),
    OutliersOfLaw(),
    Outliers(),
    ScaleOfAll(),
    Mean(),
    Shape(),
    Bounds(),
    Extremes(),
    ConstantParts(0),
    ScalesOfParts(0),
    ConstantParts(1),
    ScalesOfParts(1),
)
