"""The tests of a weight: are its values as what is expected says, of a law or of other draws?

Each test has a probability under that and the size of the deviation. Whether it is reported is
decided for all weights at once.
"""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.audits._profile import (
    BITS_OF_RANDOM,
    INFINITE,
    LEVELS,
    LOST,
    NOT_FINITE,
    SHARE_OF_ZEROS,
    Parts,
    Profile,
    kolmogorov,
    reach_of_values,
)
from keras_initx.audits._repeated import IMPOSSIBLE, SAMPLE, epsilon
from keras_initx.initializers import IndependentLaw, Normal, Truncated

# Smaller deviations do not matter, however surely they are there; in 16 bits, where backends round
# what they draw, twice as large ones.
SMALL = 0.01
_SMALL_IN_16_BITS = 0.02
# Fewer values say nothing about a distribution, or about its shape.
FEWEST = 8
_FEWEST_OF_SHAPE = 32
# Of fewer values of a part, only is compared whether they vary.
_FEWEST_OF_PART = 16
# A random weight that is constant by chance has fewer values.
_FEWEST_CONSTANT = 4
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
# Where each value is there twice, half of them differ from each other.
_COPIES = 0.6
# The kurtosis of few values is uncertain: so many normal ones are added.
_PRIOR = 64
# The share of values that tell how many are near an end, and the number of them.
_OUTER = 0.02
_FEWEST = 20
# Counts with a larger deviation have a normal distribution, also far out.
_NEARLY_NORMAL = 30
# What a contract has by chance, such as ends far from bounds, it has in each audit. That it alarms
# each time must be rarer than an alarm: of that probability, this power counts.
ONCE = 0.5
# Where frames are a single value, it is as often positive as negative.
_CHANCE_OF_SIGNS = 0.5
# With a smaller probability, values are not distributed as others.
_UNLIKE = 1e-3


@dataclass(frozen=True)
class Test:
    """A test of one property of a weight.

    Attributes:
        verdict: What is wrong if it fails, e.g. `"scale"`.
        evidence: The numbers.
        p: The probability of such values; 0 where they are impossible.
        deviation: How far they are off, relative to what is expected.
        cause: What explains it, if the test tells.
    """

    verdict: str
    evidence: str
    p: float
    deviation: float
    cause: str = ""


SAME = Test("values", "", p=1.0, deviation=0.0)


def holm(tests: Iterable[Test], alpha: float) -> list[Test]:
    """Return the tests that fail, where the probability of any by chance is `alpha` (Holm, 1979).

    How large the deviations are does not count.
    """
    ordered = sorted(tests, key=lambda test: test.p)
    for number, test in enumerate(ordered):
        if test.p > alpha / (len(ordered) - number):
            return ordered[:number]
    return ordered


def smallest_effect(dtype: DType) -> float:
    """Return the deviation below which nothing is reported of weights of `dtype`."""
    return _SMALL_IN_16_BITS if dtype.endswith("float16") else SMALL


def impossible(verdict: str, evidence: str) -> Test:
    return Test(verdict, evidence, p=0.0, deviation=math.inf)


def chance_of_equality(profile: Profile) -> float:
    """Return the probability that other draws have the same values, 0 if it is not known."""
    if not profile.has_distribution:
        return 0.0
    chance = 2.0**-profile.bits
    if profile.bits <= BITS_OF_RANDOM or profile.independent < profile.size:
        chance = _largest_atom(profile)
    return math.pow(chance, profile.total * (1 - profile.zeros))


def compare(expected: Profile, found: Profile, dtype: DType) -> list[Test]:
    """Return the tests of a weight, none where too little is known.

    Args:
        expected: What is known of its values.
        found: The values that it has, which are of one draw at least.
        dtype: The less exact of both dtypes.
    """
    if _is_lost(expected, found):
        return [impossible("not finite", "values that are not finite")]
    if expected.digest is not None and expected.digest == found.digest:
        return [SAME]
    if expected.kind == "fixed" and found.digest is not None:
        return [_test_fixed(expected, found, dtype)]
    if "unknown" in (expected.kind, found.kind):
        return []
    if expected.kind == "fixed":
        return [impossible("values", "another in each draw, which was fixed")]
    if expected.kind == "constant":
        return [_test_constant(expected, found, dtype)]
    if found.kind == "constant":
        return [_test_constant_now(expected, found, dtype)]
    if found.kind == "fixed":
        return [impossible("constant", "the same in each draw, where it was random")]
    return list(_tests(expected, found))


def _is_lost(expected: Profile, found: Profile) -> bool:
    """Return whether values are not finite that were, or that must be."""
    if found.reason == LOST:
        return True
    if expected.reason in (NOT_FINITE, INFINITE, LOST):
        return False
    if expected.kind == "fixed":  # perhaps a mask
        return found.reason == NOT_FINITE
    # Of a mask, there is no distribution.
    is_mask = found.kind == "fixed" and not found.has_distribution
    return found.reason in (NOT_FINITE, INFINITE) or (is_mask and expected.kind == "random")


def _test_fixed(expected: Profile, found: Profile, dtype: DType) -> Test:
    own, other = np.array(expected.places), np.array(found.places)
    if len(own) and len(own) == len(other):
        tolerance = max(_ROUNDING, 2 * epsilon(dtype)) * float(np.abs(own).max())
        if (np.abs(own - other) <= tolerance).all():
            return SAME
    if found.kind == "constant":
        return impossible("values", f"all are {found.value:.4g} where they were not")
    cause = ""
    if expected.has_distribution and found.has_distribution:
        is_alike = min((test.p for test in _tests(expected, found)), default=0.0) > _UNLIKE
        if is_alike and expected.size >= 64:
            cause = "distributed as before: another seed?"
    return Test("values", "other values, which were fixed", 0.0, math.inf, cause)


def _test_constant(expected: Profile, found: Profile, dtype: DType) -> Test:
    assert expected.value is not None
    if found.kind == "constant" and found.value is not None:
        if abs(found.value - expected.value) <= 2 * epsilon(dtype) * abs(expected.value):
            return SAME
        evidence = f"all are {found.value:.4g} where they were {expected.value:.4g}"
    elif found.std:
        evidence = (
            f"drawn, with a standard deviation of {found.std:.3g}, where all were "
            f"{expected.value:.4g}"
        )
    else:
        evidence = f"not all are {expected.value:.4g} any more"
    return impossible("values", evidence)


def _test_constant_now(expected: Profile, found: Profile, dtype: DType) -> Test:
    """Return the test of a constant where values are drawn, which may be equal by chance."""
    assert found.value is not None
    evidence = f"all are {found.value:.4g} where they are drawn"
    if found.size < _FEWEST_CONSTANT:
        single = replace(found, lowest=found.value, highest=found.value, total=found.size)
        for test in _test_extremes(expected, single):
            return test
        return Test("constant", evidence, p=1.0, deviation=0.0)
    chance = _chance_of(found.value, expected, dtype)
    if expected.law is not None or expected.frames:
        p = chance ** (found.size - 1)
    else:
        p = _chance_of_all(chance, expected.total, found.size - 1)
    return Test("constant", evidence, p, deviation=math.inf)


def _chance_of_all(share: float, before: float, now: int) -> float:
    """Return the probability that all of so many values are one that a share of others were.

    All orders of both together are equally probable.
    """
    count = share * before
    log_chance = math.lgamma(count + now + 1) - math.lgamma(count + 1)
    log_chance -= math.lgamma(before + now + 1) - math.lgamma(before + 1)
    return min(1.0, math.exp(log_chance))


def _chance_of(value: float, expected: Profile, dtype: DType) -> float:
    """Return the probability that a value is this one, once rounded."""
    if expected.frames:
        return _CHANCE_OF_SIGNS
    step = epsilon(dtype) * max(abs(value), 2.0**-24)
    chance = expected.zeros if value == 0 else 0.0
    if expected.law is not None:
        ends = np.array([value - step, value + step])
        below, above = expected.law.distribution_function(ends)
        chance = max(chance, above - below)
    elif expected.zeros <= SHARE_OF_ZEROS or value:
        quantiles = np.array(expected.quantiles)
        chance = max(chance, float((np.abs(quantiles - value) <= step).mean()))
    return max(chance, epsilon(dtype))


def _tests(expected: Profile, found: Profile) -> Iterator[Test]:
    """Yield the tests that values are draws of the same law as others."""
    yield from _test_repeated(expected, found)
    if min(expected.size, found.size) < FEWEST:
        if expected.law is not None:
            yield from _test_extremes(expected, found)
        return
    yield from _test_zeros(expected, found)
    yield from _test_bits(expected, found)
    yield from _test_frames(expected, found)
    yield from _test_outliers(expected, found)
    if not expected.std or not found.std:
        return
    yield _test_scale(expected, found)
    if not expected.quantiles:  # of a frame, which has no other law
        return
    yield _test_mean(expected, found)
    if min(expected.independent, found.independent) >= _FEWEST_OF_SHAPE:
        yield _test_shape(expected, found)
    if not (expected.frames or found.frames):
        yield _test_bounds(expected, found)
        yield from _test_extremes(expected, found)
    for own, other in zip(expected.parts, found.parts, strict=False):
        if own.axis == other.axis and len(own.stds) == len(other.stds):
            yield from _test_parts(own, other, expected, found)


def _test_repeated(expected: Profile, found: Profile) -> Iterator[Test]:
    """Yield a test that values are equal to each other where they were, and only there."""
    are_exact = min(expected.bits, found.bits) > BITS_OF_RANDOM
    if expected.repeated is not None and found.repeated is not None:
        now, before = found.repeated, expected.repeated
        if now[0] and (not before[0] or (are_exact and now != before)):
            yield impossible(*now)
            return
        if before[0] and not now[0] and are_exact:
            yield impossible(before[0], f"no longer {before[1]}")
            return
    if not are_exact or min(expected.size, found.size) < _FEWEST_OF_SHAPE:
        return
    own = expected.independent / expected.size
    other = found.independent / found.size
    if other < _COPIES * own:
        evidence = f"{other:.2g} of the values differ from each other, and {own:.2g} did"
        yield Test("copies", evidence, _chance_of_copies(expected, found), deviation=math.inf)


def _chance_of_copies(expected: Profile, found: Profile) -> float:
    """Return the probability that so few values differ, where as few would of both together.

    Those of a law with one frequent value, such as a lower bound, differ in number by chance
    (Fisher's exact test).
    """
    size, total = found.size, expected.size + found.size
    count = round(found.independent)
    both = round(expected.independent) + count
    log_chance = (
        _log_choose(both, count)
        + _log_choose(total - both, size - count)
        - _log_choose(total, size)
    )
    # The terms below are smaller by this factor, at least.
    factor = count * (total - both - size + count) / ((both - count + 1) * (size - count + 1))
    return min(1.0, math.exp(log_chance) / max(1 - factor, 0.01))


def _log_choose(number: int, count: int) -> float:
    if not 0 <= count <= number:
        return -math.inf
    return math.lgamma(number + 1) - math.lgamma(count + 1) - math.lgamma(number - count + 1)


def _test_zeros(expected: Profile, found: Profile) -> Iterator[Test]:
    if expected.law is not None:
        count = found.zeros * found.total
        evidence = f"{count:.0f} of {found.total} values are 0"
        p = poisson_tail(round(count), found.total * expected.zeros)
        yield Test("zeros", evidence, p, deviation=math.inf)
        return
    if expected.zeros_at is not None and expected.zeros_at != found.zeros_at:
        evidence = f"other values are 0 than were: {found.zeros:.3g}, and {expected.zeros:.3g}"
        yield impossible("zeros", evidence)
        return
    for axis, (own, other) in enumerate(zip(expected.connections, found.connections, strict=True)):
        if own > 0 and own != other:
            yield _test_connections(own, axis, expected, found)
    # Rounding to 16 bits makes zeros, on one backend more than on another.
    rounded = _ZEROS_IN_16_BITS if min(expected.bits, found.bits) <= max(_BITS) else 0.0
    shares = f"{found.zeros:.3g} of the values are 0, and {expected.zeros:.3g} were"
    yield Test(
        "zeros",
        shares,
        p=_same_rate(
            expected.zeros * expected.total,
            expected.total,
            found.zeros * found.total,
            found.total,
        ),
        deviation=math.inf if abs(found.zeros - expected.zeros) > rounded else 0.0,
    )


def _test_connections(own: int, axis: int, expected: Profile, found: Profile) -> Test:
    name = ("first", "last")[axis]
    other = found.connections[axis]
    number = "another number" if other < 0 else f"{other}"
    cause = ""
    if found.connections[1 - axis] == own:
        cause = "an axis exchanged"
    return Test(
        "connections",
        f"{number} of values that are not 0 for each index of the {name} axis, expected {own}",
        p=_chance_of_equal_counts(own, expected) ** ONCE * _chance_of_equal_counts(other, found),
        deviation=math.inf,
        cause=cause,
    )


def _chance_of_equal_counts(count: int, profile: Profile) -> float:
    """Return the probability of so many values that are not 0 for each index of an axis, by chance.

    It is 1 if the number varies. A few indices have one number by chance where zeros are random.
    """
    if count < 1:
        return 1.0
    share = 1 - profile.zeros
    indices = profile.total * share / count
    length = round(profile.total / indices)
    log_chance = count * math.log(share) + (length - count) * math.log(profile.zeros)
    return math.exp((round(indices) - 1) * (_log_choose(length, count) + log_chance))


def _test_outliers(expected: Profile, found: Profile) -> Iterator[Test]:
    if expected.law is not None and found.outliers:
        # Few laws have any, such as that of logarithms of numbers that may be near 0.
        low, median, high = np.interp([0.25, 0.5, 0.75], LEVELS, expected.quantiles).tolist()
        reach = reach_of_values(low, high)
        share = _tails(expected.law, median - reach, median + reach)
        yield Test(
            "outliers",
            f"{found.outliers} values more than 12 deviations from the median",
            p=poisson_tail(found.outliers, found.total * share),
            deviation=math.inf,
        )
    elif expected.outliers or found.outliers:
        yield Test(
            "outliers",
            f"{found.outliers} values more than 12 deviations from the median, and "
            f"{expected.outliers} were",
            p=_same_rate(expected.outliers, expected.total, found.outliers, found.total),
            deviation=math.inf,
        )


def _same_rate(first: float, of_first: int, second: float, of_second: int) -> float:
    """Return the probability of two counts as different, if both have one rate."""
    total = round(first + second)
    if not total:
        return 1.0
    share = of_second / (of_first + of_second)
    spread = math.sqrt(total * share * (1 - share))
    if spread > _NEARLY_NORMAL:
        z = max(abs(second - total * share) - 0.5, 0.0) / spread
        return math.erfc(z / math.sqrt(2))
    # The terms of the binomial distribution that are not more probable.
    counts = np.arange(total + 1)
    logs = _log_factorials(total + 1)
    terms = np.exp(
        logs[total]
        - logs
        - logs[::-1]
        + counts * math.log(share)
        + (total - counts) * math.log1p(-share)
    )
    return float(min(1.0, terms[terms <= terms[round(second)] * (1 + 1e-9)].sum()))


def _test_bits(expected: Profile, found: Profile) -> Iterator[Test]:
    for bits, dtype in _BITS.items():
        if found.bits <= bits:
            number = min(found.size, expected.independent)
            if expected.bits > 2 * bits and number * (expected.bits - bits) > 100:
                yield impossible("precision", f"values that were rounded to {dtype}")
            return


def _test_frames(expected: Profile, found: Profile) -> Iterator[Test]:
    own = (expected.frames, expected.frames_axis)
    other = (found.frames, found.frames_axis)
    if own == other:
        return
    cause = ""
    if not expected.frames:
        evidence = "orthonormal where it was not"
    elif not found.frames:
        evidence = "not orthonormal, or with other singular values"
    else:
        evidence = f"{_frames_text(*other)}, expected {_frames_text(*own)}"
        if expected.frames == found.frames:
            cause = "an axis exchanged"
    yield Test("orthonormality", evidence, 0.0, math.inf, cause)


def _frames_text(count: int, axis: str) -> str:
    if count == 1:
        return f"orthonormal along the {axis} axis"
    return f"{count} orthonormal blocks along the {axis} axis"


def _test_scale(expected: Profile, found: Profile) -> Test:
    is_exact = bool(expected.frames and found.frames)
    ratio = found.std / expected.std
    if is_exact:
        ratio = found.root_mean_square / expected.root_mean_square
    off = abs(math.log(ratio))
    evidence = f"{ratio:.3g} times the standard deviation"
    if is_exact:
        return Test("scale", evidence, p=float(off < max(_EXACT, 2.0**-found.bits)), deviation=off)
    expected_degrees, found_degrees = degrees(expected, found)
    return Test(
        "scale",
        evidence,
        p=same_variance(_variance(found) / _variance(expected), found_degrees, expected_degrees),
        # What is left without the error of both.
        deviation=off - 2 * error_of_ratio(expected_degrees, found_degrees),
    )


def error_of_ratio(first: float, second: float) -> float:
    """Return the standard error of the logarithm of the ratio of two standard deviations.

    Args:
        first: The degrees of freedom of one.
        second: Those of the other.
    """
    return math.sqrt(0.5 / first + 0.5 / second)


def log_of_ratio(expected: Profile, found: Profile) -> float:
    """Return the logarithm of the ratio of two standard deviations, without bias."""
    log = math.log(_variance(found) / _variance(expected))
    for sign, number in zip((-1, 1), degrees(expected, found), strict=True):
        # The mean of the logarithm of a variance is lower than that of the variance.
        log += sign * (1 / number + 1 / (3 * number**2))
    return log / 2


def _variance(profile: Profile) -> float:
    """Return the variance of the law, without bias."""
    size = profile.independent
    bias = 1 - 1 / size if size > 1 else 1.0
    return profile.std**2 / bias


def degrees(expected: Profile, found: Profile) -> tuple[float, float]:
    """Return the degrees of freedom of two variances, infinite where they are exact."""
    if expected.frames and found.frames:
        return math.inf, math.inf
    factor = 2 / (_kurtosis(expected, found) - 1)
    first = max(factor * (expected.independent - 1), 2.0)
    second = max(factor * (found.independent - 1), 2.0)
    return first, second


def _kurtosis(expected: Profile, found: Profile) -> float:
    """Return the kurtosis of both samples together."""
    size, total = float(_PRIOR), 3.0 * _PRIOR
    for profile in (expected, found):
        number = max(profile.size, 2)
        size += number
        # That of few normal values is lower than 3.
        total += number * profile.kurtosis * (number + 1) / (number - 1)
    return max(total / size, 1.1)


def same_variance(ratio: float, first: float, second: float) -> float:
    """Return the probability of a ratio of two variances as far from 1 (Paulson, 1942).

    Args:
        ratio: The ratio.
        first: The degrees of freedom of its numerator.
        second: Those of its denominator.
    """
    if ratio < 1:
        ratio, first, second = 1 / ratio, second, first
    # Cube roots are nearly normal.
    root = ratio ** (1 / 3)
    one, other = 2 / (9 * first), 2 / (9 * second)
    z = ((1 - other) * root - (1 - one)) / math.sqrt(other * root**2 + one)
    return min(1.0, math.erfc(z / math.sqrt(2)))


def _test_mean(expected: Profile, found: Profile) -> Test:
    shift = found.mean - expected.mean
    error = math.sqrt(
        _variance(expected) / max(expected.independent, 1)
        + _variance(found) / max(found.independent, 1)
    )
    return Test(
        "mean",
        f"{found.mean:.3g} where it was {expected.mean:.3g}, with a standard deviation of "
        f"{expected.std:.3g}",
        p=_student(abs(shift) / error, min(expected.independent, found.independent) - 1),
        deviation=(abs(shift) - 2 * error) / expected.std,
    )


def _student(t: float, degrees: float) -> float:
    """Return the probability of a t as far from 0 (Wallace, 1959)."""
    degrees = max(degrees, 1.0)
    z = math.sqrt(degrees * math.log1p(t * t / degrees)) * (8 * degrees + 1) / (8 * degrees + 3)
    return math.erfc(z / math.sqrt(2))


def _test_shape(expected: Profile, found: Profile) -> Test:
    """Return the test of the standardized distributions (Kolmogorov and Smirnov).

    Those of families that initializers draw from are nearer to each other for being standardized by
    their own moments. Others may be farther, as with long tails or a peak: these must differ as
    they are too.
    """
    own = (np.array(expected.quantiles) - expected.mean) / expected.std
    other = (np.array(found.quantiles) - found.mean) / found.std
    size = 1 / (1 / max(expected.independent, 1) + 1 / max(found.independent, 1))
    slack = 0.0
    if _has_atom(own) or _has_atom(other):
        slack = 4 / math.sqrt(size)  # the error of the place of an atom
    distance = _distance(own, other, slack)
    evidence = f"distribution functions differ by {distance:.2g}"
    number = int(min(size, SAMPLE / 2))
    if not (expected.families and found.families):
        as_they_are = _distance(
            np.array(expected.quantiles), np.array(found.quantiles), slack * expected.std
        )
        p = kolmogorov(min(distance, as_they_are), number)
        return Test("shape", evidence, p, distance)
    return Test("shape", evidence, kolmogorov(_NEARER * distance, number), distance)


def other_family(expected: Profile, found: Profile) -> str:
    """Return which family of distributions values are of instead of another, in words."""
    if not (expected.families and found.families) or {*expected.families} & {*found.families}:
        return ""
    return f"{' or '.join(found.families)} instead of {' or '.join(expected.families)}"


def _has_atom(quantiles: Array) -> bool:
    return bool((quantiles[_ATOM - 1 :] - quantiles[: 1 - _ATOM] <= 0).any())


def _largest_atom(profile: Profile) -> float:
    """Return the share of the most frequent value, of those that the quantiles are of."""
    quantiles = np.array(profile.quantiles)
    last = np.searchsorted(quantiles, quantiles, side="right") - 1
    # Of two equal values that follow each other, quantiles between them are equal.
    return (float((LEVELS[last] - LEVELS).max()) * (profile.size - 1) + 1) / profile.size


def _distance(own: Array, other: Array, slack: float) -> float:
    """Return the largest distance of two distribution functions at the quantiles of one."""
    above = np.interp(own + slack, other, LEVELS, left=0.0, right=1.0)
    below = np.interp(own - slack, other, LEVELS, left=0.0, right=1.0)
    off = np.maximum(LEVELS - above, below - LEVELS)[1:-1]  # beyond them, little is known
    return float(max(off.max(), 0.0))


def _test_bounds(expected: Profile, found: Profile) -> Test:
    """Return the test that neither has many values beyond the extremes of the other.

    All orders of the values of both together are equally probable. So the numbers of values of one
    at both ends, before the first of the other, have geometric distributions.
    """
    one, other = _number(expected), _number(found)
    probabilities = []
    for count, share in (
        (_beyond(expected, found), one / (one + other)),
        (_beyond(found, expected), other / (one + other)),
    ):
        # Of both ends together.
        p = math.exp(count * math.log1p(share - 1)) * (1 + count * (1 - share))
        probabilities.append(p)
    return Test(
        "bounds",
        f"from {found.lowest:.3g} to {found.highest:.3g}, and from {expected.lowest:.3g} to "
        f"{expected.highest:.3g} before",
        p=min(1.0, 2 * min(probabilities)),
        deviation=math.inf,
    )


def _number(profile: Profile) -> float:
    """Return the number of all independent values, without zeros where these do not count."""
    share = 1 - profile.zeros if profile.zeros > SHARE_OF_ZEROS else 1.0
    return max(profile.total * share * profile.independent / profile.size, 1.0)


def _beyond(profile: Profile, other: Profile) -> float:
    """Return the number of values beyond the extremes of another draw, at least."""
    # A scale that is 1 % off does not matter, nor does rounding.
    slack = SMALL * (other.highest - other.lowest) / 2
    slack += 2.0 ** -min(profile.bits, other.bits) * max(other.highest, -other.lowest)
    if profile.law is not None:
        # JAX draws no more levels than the mantissa has: the tails beyond the last are missing.
        share = _tails(profile.law, other.lowest - slack, other.highest + slack)
        return max(share - 2.0 ** (1 - other.bits), 0.0) * _number(profile)
    quantiles = np.array(profile.quantiles)
    above = np.flatnonzero(quantiles > other.highest + slack)
    below = np.flatnonzero(quantiles < other.lowest - slack)
    share = 0.0
    if above.size:
        share += 1 - LEVELS[above[0]]
    if below.size:
        share += LEVELS[below[-1]]
    return share * _number(profile)


def _tails(law: IndependentLaw, low: float, high: float) -> float:
    """Return the probability of a value below `low` or above `high`."""
    below, up_to = law.distribution_function(np.array([low, high]))
    share = float(below + 1 - up_to)
    if isinstance(law, Truncated) and share <= 0:
        normal = Normal(law.center, law.untruncated_std)
        below, up_to = normal.distribution_function(np.array([low, high]))
        share = _RATE * float(below + 1 - up_to)
    return max(share, 0.0)


def _test_extremes(expected: Profile, found: Profile) -> Iterator[Test]:
    """Yield a test that no single value is farther out than the laws that are possible allow."""
    if not expected.laws or expected.outliers:
        return
    chance_of_ends = _chance_of_ends_by_draws
    if expected.law is not None:
        chance_of_ends = _chance_of_ends
    yield Test(
        "bounds",
        f"from {found.lowest:.4g} to {found.highest:.4g}, with a standard deviation of "
        f"{expected.std:.3g}, {' or '.join(expected.families)}",
        p=max(chance_of_ends(law, expected, found) for law in expected.laws),
        deviation=math.inf,
    )


def _chance_of_ends(law: IndependentLaw, expected: Profile, found: Profile) -> float:
    """Return the probability of a value as far out as the lowest or the highest one."""
    center = expected.mean
    # A value may have been rounded.
    slack = 2 * 2.0 ** -max(found.bits, min(_BITS))
    low = center - max(center - found.lowest, 0.0) / (1 + slack) + slack * abs(center)
    high = center + max(found.highest - center, 0.0) / (1 + slack) - slack * abs(center)
    probabilities = []
    for ends in ((min(low, center), math.inf), (-math.inf, max(high, center))):
        probabilities.append(_any_of(found.total, _tails(law, *ends)))
    return min(1.0, 2 * min(probabilities))


def _chance_of_ends_by_draws(law: IndependentLaw, expected: Profile, found: Profile) -> float:
    """Return that probability where mean, deviation and bounds of a symmetric law are of draws.

    Draws may have ended far from a bound, and new values do not: all orders of both are equally
    probable, and gaps between values have exponential distributions.
    """
    rounding = max(2 * 2.0 ** -max(min(expected.bits, found.bits), min(_BITS)), _ROUNDING)
    rounding *= max(abs(end) for end in (found.lowest, found.highest))
    before, now = _number(expected), _number(found)
    # The mean of the draws and a new value have independent errors.
    error = math.sqrt(_variance(expected) * (1 + 1 / expected.independent))
    if isinstance(law, Truncated):
        error *= law.untruncated_std / law.std
    # Where parts have scales of their own, fewer values are near the ends than in the law.
    outer = max(_OUTER, _FEWEST / before)
    ends = np.interp([outer, 1 - outer], LEVELS, expected.quantiles)
    probabilities = []
    for out_before, out, width in (
        (expected.mean - expected.lowest, expected.mean - found.lowest, ends[0] - expected.lowest),
        (
            expected.highest - expected.mean,
            found.highest - expected.mean,
            expected.highest - ends[1],
        ),
    ):
        tail = _student(max(out - rounding, 0.0) / error, expected.independent - 1) / 2
        beyond = out - out_before - rounding
        if math.isinf(law.bounds[0]):
            p = _any_of(now, tail)
        elif beyond <= 0:
            p = 1.0
        else:
            gap = _tails(law, law.bounds[0] + beyond, math.inf)
            gap = min(gap, outer * beyond / max(float(width), rounding))
            p = now / (now + before) * math.exp(-ONCE * before * gap)
            if isinstance(law, Truncated):
                p = max(p, _any_of(now, _RATE * tail))
        probabilities.append(p)
    # Of the least one of both, and of both together (Fisher).
    product = math.prod(probabilities)
    together = product * (1 - math.log(product)) if product else 0.0
    return min(1.0, 2 * min(2 * min(probabilities), together))


def _any_of(number: float, share: float) -> float:
    """Return the probability of any of so many values, where one has the probability `share`."""
    return -math.expm1(number * math.log1p(-min(share, 0.5)))


def _test_parts(own: Parts, other: Parts, expected: Profile, found: Profile) -> Iterator[Test]:
    """Yield a test of the part that differs most, relative to how the whole differs."""
    count = len(own.stds)
    where = f"of {count} along axis {own.axis}"
    # Zeros are among the values of a part.
    zeros = max(expected.zeros, found.zeros)
    size_before = own.size * expected.independent / expected.size
    size_now = other.size * found.independent / found.size
    fewest = min(size_before, size_now) * (1 - zeros)
    if fewest < FEWEST:
        return
    kurtosis = _kurtosis(expected, found) / (1 - zeros)
    first = max(2 * size_before / (kurtosis - 1), 2.0)
    second = max(2 * size_now / (kurtosis - 1), 2.0)
    norm = float(np.linalg.norm(own.stds))
    ratio_of_all = float(np.linalg.norm(other.stds)) / norm if norm else 1.0
    shift_of_all = float(np.mean(other.means) - np.mean(own.means))
    error_of_log = math.sqrt(0.5 / first + 0.5 / second)
    may_be_constant = False
    if not all((*own.stds, *other.stds)):
        frequent = max(zeros, _largest_atom(expected), _largest_atom(found))
        size = min(own.size, other.size)
        chance = _chance_of_all(frequent, expected.total + found.total, size - 1)
        may_be_constant = count * chance > IMPOSSIBLE
    is_irregular = zeros > SHARE_OF_ZEROS and max(expected.connections) < 0
    tests = []
    for number in range(count):
        before, after = own.stds[number], other.stds[number]
        name = f"part {number + 1} {where}"
        if may_be_constant and not (before and after):
            continue
        if bool(before) != bool(after):
            yield impossible("parts", f"{name} {'varies' if after else 'is constant'} now")
            return
        shift = other.means[number] - own.means[number]
        if not before:
            if abs(shift) > 1e-6 * abs(own.means[number]) + 1e-6 * expected.std:
                was = f"{own.means[number]:.4g}"
                yield impossible("parts", f"{name} is {other.means[number]:.4g}, and was {was}")
                return
            continue
        # Parts of which hardly any value is not zero vary more than the whole.
        if fewest < _FEWEST_OF_PART or is_irregular:
            continue
        ratio = after / before / ratio_of_all
        p = same_variance(ratio**2, second, first)
        off = abs(math.log(ratio)) - 2 * error_of_log
        tests.append(Test("parts", f"{name} has {ratio:.3g} times its share of the scale", p, off))
        # Parts of sorted values vary as the whole does.
        error = math.hypot(
            max(before, expected.std) / math.sqrt(size_before),
            max(after, found.std) / math.sqrt(size_now),
        )
        shift -= shift_of_all
        p = _student(abs(shift) / error, min(size_before, size_now) - 1)
        off = (abs(shift) - 2 * error) / expected.std
        tests.append(Test("parts", f"{name} has another mean", p, off))
    if tests:
        worst = min(tests, key=lambda test: test.p)
        yield replace(worst, p=min(1.0, len(tests) * worst.p))  # Bonferroni


def poisson_tail(count: int, mean: float) -> float:
    """Return the probability that a Poisson variable is at least `count`."""
    if mean <= 0:
        return 0.0 if count else 1.0
    if mean < count:
        # Few terms of the tail itself, which one minus the others would round to 0. The others
        # may be millions, as where all values of a weight are beyond its bounds.
        first = count * math.log(mean) - mean - math.lgamma(count + 1)
        ratios = mean / (count + 1 + np.arange(200))
        return min(1.0, math.exp(first) * (1 + float(np.cumprod(ratios).sum())))
    counts = np.arange(count)
    logs = counts * math.log(mean) - mean - _log_factorials(count)
    return max(0.0, 1 - float(np.exp(logs).sum()))


@functools.lru_cache(maxsize=64)
def _log_factorials(count: int) -> Array:
    return np.array([math.lgamma(n + 1) for n in range(count)])
