"""Probabilities that tests need, of numbers alone."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from keras_initx._typing import Array

# Counts with a larger deviation have a normal distribution, also far out.
_NEARLY_NORMAL = 30


def kolmogorov(distance: float, n: int) -> float:
    """Return the probability of a larger distance (Stephens, 1970)."""
    x = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    if x < 0.3:
        return 1.0
    k = np.arange(1, 20)
    signs = np.where(k % 2, 1, -1)
    terms = 2 * signs * np.exp(-2 * (k * x) ** 2)
    return float(np.clip(terms.sum(), 0, 1))


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


def chi_square_tail(x: float, degrees: int) -> float:
    """Return the probability of a larger sum of so many squares of standard normal values."""
    if x <= 0:
        return 1.0
    begin = degrees % 2 / 2
    tail = math.erfc(math.sqrt(x / 2)) if begin else 0.0
    for number in range(degrees // 2):
        power = begin + number
        tail += math.exp(power * math.log(x / 2) - x / 2 - math.lgamma(power + 1))
    return min(tail, 1.0)


def student(t: float, degrees: float) -> float:
    """Return the probability of a t as far from 0 (Wallace, 1959)."""
    degrees = max(degrees, 1.0)
    z = math.sqrt(degrees * math.log1p(t * t / degrees)) * (8 * degrees + 1) / (8 * degrees + 3)
    return math.erfc(z / math.sqrt(2))


def same_rate(first: float, of_first: int, second: float, of_second: int) -> float:
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


def log_choose(number: int, count: int) -> float:
    """Return the logarithm of the number of subsets."""
    if not 0 <= count <= number:
        return -math.inf
    return math.lgamma(number + 1) - math.lgamma(count + 1) - math.lgamma(number - count + 1)


def as_few(count: int, of: int, other: int, of_other: int) -> float:
    """Return the probability of so few of one kind in one of two samples (Fisher's exact test)."""
    both, total = count + other, of + of_other
    log_chance = (
        log_choose(both, count) + log_choose(total - both, of - count) - log_choose(total, of)
    )
    # The terms below are smaller by this factor, at least.
    factor = count * (total - both - of + count) / ((both - count + 1) * (of - count + 1))
    return min(1.0, math.exp(log_chance) / max(1 - factor, 0.01))


def all_of_kind(share: float, before: float, now: int) -> float:
    """Return the probability that all of so many values are of a kind that a share of others was.

    All orders of both together are equally probable.
    """
    count = share * before
    log_chance = math.lgamma(count + now + 1) - math.lgamma(count + 1)
    log_chance -= math.lgamma(before + now + 1) - math.lgamma(before + 1)
    return min(1.0, math.exp(log_chance))


def any_of(number: float, share: float) -> float:
    """Return the probability of any of so many values, where one has the probability `share`."""
    return -math.expm1(number * math.log1p(-min(share, 0.5)))


def holm(p_values: Sequence[float], number: int | None = None) -> list[float]:
    """Return `p_values` corrected for the number of tests (Holm, 1979). NaN stays NaN.

    Tests whose corrected value is at most `alpha` fail; the probability that any fails by chance is
    then at most `alpha`.

    Args:
        p_values: The probabilities of tests.
        number: The number of tests. Default: that of the probabilities that are not NaN.
    """
    corrected = [math.nan] * len(p_values)
    known = [int(i) for i in np.argsort(p_values) if not math.isnan(p_values[i])]
    if number is None:
        number = len(known)
    highest = 0.0
    for rank, i in enumerate(known):
        # A correction must not change the order.
        highest = max(highest, min(1.0, (number - rank) * p_values[i]))
        corrected[i] = highest
    return corrected
