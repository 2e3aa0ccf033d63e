"""Compare the statistics of two draws of a weight: are they draws of one law?

Each test has a probability and the size of the deviation, as those of a law. Whether it is reported
is decided for all weights at once.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from keras_initx._typing import Array
from keras_initx.audits._compare import SAMPLE, SMALL, Test, impossible, kolmogorov
from keras_initx.audits._statistics import (
    BITS_OF_RANDOM,
    LEVELS,
    SHARE_OF_ZEROS,
    Parts,
    Statistics,
)

# Fewer values say nothing about a distribution, or about its shape.
FEWEST = 8
_FEWEST_OF_SHAPE = 32
# Of fewer values of a part, only is compared whether they vary.
_FEWEST_OF_PART = 16
# Equal quantiles in a row are an atom of the distribution.
_ATOM = 3
# An orthonormal weight has an exact scale, up to rounding.
_EXACT = 2e-3
# The bits of the mantissa of bfloat16 and float16.
_BITS = {7: "bfloat16", 10: "float16"}
# The share of zeros that rounding to 16 bits may make.
_ZEROS_IN_16_BITS = 2.0**-7
# With a smaller probability, that all values of a part are zero counts as impossible.
_IMPOSSIBLE = 1e-9
# How much nearer distributions of known families are for being standardized by their own moments,
# at least (simulated: normal, uniform, truncated, orthonormal).
_NEARER = 1.25
# Where each value is there twice, half of them differ from each other.
_COPIES = 0.6
# The kurtosis of few values is uncertain: so many normal ones are added.
_PRIOR = 64


def tests_of(expected: Statistics, found: Statistics, *, is_transposed: bool) -> list[Test]:
    """Return the tests that values have the same law as those of another draw.

    Args:
        expected: The statistics of the other draw.
        found: Those of the values.
        is_transposed: Whether the axes have another order.
    """
    return list(_tests(expected, found, is_transposed))


def _tests(expected: Statistics, found: Statistics, is_transposed: bool) -> Iterator[Test]:
    if min(expected.size, found.size) < FEWEST:
        return
    yield from _test_zeros(expected, found)
    yield from _test_outliers(expected, found)
    yield from _test_bits(expected, found)
    yield from _test_copies(expected, found)
    if not is_transposed:
        yield from _test_frames(expected, found)
    if not expected.std or not found.std:
        return
    yield _test_scale(expected, found)
    yield _test_mean(expected, found)
    if min(expected.independent, found.independent) >= _FEWEST_OF_SHAPE:
        yield _test_shape(expected, found)
        if not (expected.frames or found.frames):
            yield _test_bounds(expected, found)
    if not is_transposed:
        for own, other in zip(expected.parts, found.parts, strict=False):
            if own.axis == other.axis and len(own.stds) == len(other.stds):
                yield from _test_parts(own, other, expected, found)


def _test_zeros(expected: Statistics, found: Statistics) -> Iterator[Test]:
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


def _test_outliers(expected: Statistics, found: Statistics) -> Iterator[Test]:
    if expected.outliers or found.outliers:
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
    if spread > 3:
        z = max(abs(second - total * share) - 0.5, 0.0) / spread
        return math.erfc(z / math.sqrt(2))
    # The terms of the binomial distribution that are not more probable.
    counts = np.arange(total + 1)
    logs = np.array([math.log(math.comb(total, count)) for count in range(total + 1)])
    logs += counts * math.log(share) + (total - counts) * math.log1p(-share)
    terms = np.exp(logs)
    return float(min(1.0, terms[terms <= terms[round(second)] * (1 + 1e-9)].sum()))


def _test_bits(expected: Statistics, found: Statistics) -> Iterator[Test]:
    for bits, dtype in _BITS.items():
        if found.bits <= bits:
            if expected.bits > 2 * bits and found.size * (expected.bits - bits) > 100:
                yield impossible("precision", f"values that were rounded to {dtype}")
            return


def _test_copies(expected: Statistics, found: Statistics) -> Iterator[Test]:
    """Yield a test that values are not equal to each other where they were not."""
    if min(expected.bits, found.bits) <= BITS_OF_RANDOM:
        return
    if min(expected.size, found.size) < _FEWEST_OF_SHAPE:
        return
    own = expected.independent / expected.size
    other = found.independent / found.size
    if other < _COPIES * own:
        yield impossible(
            "copies",
            f"{other:.2g} of the values differ from each other, and {own:.2g} did",
        )


def _test_frames(expected: Statistics, found: Statistics) -> Iterator[Test]:
    own = (expected.frames, expected.frames_axis)
    other = (found.frames, found.frames_axis)
    if own == other:
        return
    if not expected.frames:
        yield impossible("orthonormality", "orthonormal where it was not")
    elif not found.frames:
        yield impossible("orthonormality", "no longer orthonormal")
    else:
        yield impossible(
            "orthonormality",
            f"{_frames_text(*other)}, and {_frames_text(*own)} before",
        )


def _frames_text(count: int, axis: str) -> str:
    if count == 1:
        return f"orthonormal along the {axis} axis"
    return f"{count} orthonormal blocks along the {axis} axis"


def _test_scale(expected: Statistics, found: Statistics) -> Test:
    is_exact = bool(expected.frames and found.frames)
    ratio = found.std / expected.std
    if is_exact:
        ratio = found.root_mean_square / expected.root_mean_square
    off = abs(math.log(ratio))
    evidence = f"{ratio:.3g} times the standard deviation"
    if is_exact:
        return Test("scale", evidence, p=float(off < _EXACT), deviation=off)
    expected_degrees, found_degrees = _degrees(expected, found)
    return Test(
        "scale",
        evidence,
        p=_same_variance(_variance(found) / _variance(expected), found_degrees, expected_degrees),
        # What is left without the error of both.
        deviation=off - 2 * error_of_ratio(expected, found),
    )


def error_of_ratio(expected: Statistics, found: Statistics) -> float:
    """Return the standard error of the logarithm of the ratio of two standard deviations."""
    if expected.frames and found.frames:
        return 0.0
    first, second = _degrees(expected, found)
    return math.sqrt(0.5 / first + 0.5 / second)


def _variance(statistics: Statistics) -> float:
    """Return the variance of the law, without bias."""
    size = statistics.independent
    return statistics.std**2 * size / max(size - 1, 1)


def _degrees(expected: Statistics, found: Statistics) -> tuple[float, float]:
    """Return the degrees of freedom of two variances."""
    factor = 2 / (_kurtosis(expected, found) - 1)
    first = max(factor * (expected.independent - 1), 2.0)
    second = max(factor * (found.independent - 1), 2.0)
    return first, second


def _kurtosis(expected: Statistics, found: Statistics) -> float:
    """Return the kurtosis of both samples together."""
    weights = [expected.size, found.size, _PRIOR]
    kurtosis = np.average([expected.kurtosis, found.kurtosis, 3.0], weights=weights)
    return max(float(kurtosis), 1.1)


def _same_variance(ratio: float, first: float, second: float) -> float:
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


def _test_mean(expected: Statistics, found: Statistics) -> Test:
    shift = found.mean - expected.mean
    error = math.hypot(
        expected.std / math.sqrt(max(expected.independent, 1)),
        found.std / math.sqrt(max(found.independent, 1)),
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


def _test_shape(expected: Statistics, found: Statistics) -> Test:
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
    cause = ""
    if not {*expected.families} & {*found.families}:
        cause = f"{' or '.join(found.families)} where it was {' or '.join(expected.families)}"
    return Test("shape", evidence, kolmogorov(_NEARER * distance, number), distance, cause)


def _has_atom(quantiles: Array) -> bool:
    return bool((quantiles[_ATOM - 1 :] - quantiles[: 1 - _ATOM] <= 0).any())


def _distance(own: Array, other: Array, slack: float) -> float:
    """Return the largest distance of two distribution functions at the quantiles of one."""
    above = np.interp(own + slack, other, LEVELS, left=0.0, right=1.0)
    below = np.interp(own - slack, other, LEVELS, left=0.0, right=1.0)
    off = np.maximum(LEVELS - above, below - LEVELS)[1:-1]  # beyond them, little is known
    return float(max(off.max(), 0.0))


def _test_bounds(expected: Statistics, found: Statistics) -> Test:
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
        probabilities.append(share**count * (1 + count * (1 - share)))  # of both ends together
    return Test(
        "bounds",
        f"from {found.lowest:.3g} to {found.highest:.3g}, and from {expected.lowest:.3g} to "
        f"{expected.highest:.3g} before",
        p=min(1.0, 2 * min(probabilities)),
        deviation=math.inf,
    )


def _number(statistics: Statistics) -> float:
    """Return the number of all independent values, without zeros where these do not count."""
    share = 1 - statistics.zeros if statistics.zeros > SHARE_OF_ZEROS else 1.0
    return max(statistics.total * share * statistics.independent / statistics.size, 1.0)


def _beyond(statistics: Statistics, other: Statistics) -> float:
    """Return the number of values beyond the extremes of another draw, at least."""
    # A scale that is 1 % off does not matter, nor does rounding.
    slack = SMALL * (other.highest - other.lowest) / 2
    slack += 2.0 ** -min(statistics.bits, other.bits) * max(other.highest, -other.lowest)
    quantiles = np.array(statistics.quantiles)
    above = np.flatnonzero(quantiles > other.highest + slack)
    below = np.flatnonzero(quantiles < other.lowest - slack)
    share = 0.0
    if above.size:
        share += 1 - LEVELS[above[0]]
    if below.size:
        share += LEVELS[below[-1]]
    return share * _number(statistics)


def _test_parts(
    own: Parts, other: Parts, expected: Statistics, found: Statistics
) -> Iterator[Test]:
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
    may_be_empty = zeros > 0 and count * zeros ** min(own.size, other.size) > _IMPOSSIBLE
    is_discrete = min(expected.bits, found.bits) <= BITS_OF_RANDOM
    may_be_constant = is_discrete and min(own.size, other.size) < _FEWEST_OF_SHAPE
    tests = []
    for number in range(count):
        before, after = own.stds[number], other.stds[number]
        name = f"part {number + 1} {where}"
        if (may_be_empty or may_be_constant) and not (before and after):
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
        if fewest < _FEWEST_OF_PART:
            continue
        ratio = after / before / ratio_of_all
        p = _same_variance(ratio**2, second, first)
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
