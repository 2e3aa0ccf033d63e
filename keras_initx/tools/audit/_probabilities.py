"""Probabilities that tests need, of numbers alone."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# Beyond so many degrees of freedom, a variance is exact.
_ENDLESS = 1e11


@functools.cache
def import_special() -> Any:
    """Return `scipy.special`, which takes half a second to import, when it is first needed."""
    import scipy.special

    return scipy.special


def kolmogorov(distance: float, n: int) -> float:
    """Return the probability of a larger distance (Stephens, 1970)."""
    x = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    return float(import_special().kolmogorov(x))


def same_variance(ratio: float, first: float, second: float) -> float:
    """Return the probability of a ratio of two variances as far from 1, on both sides.

    Args:
        ratio: The ratio.
        first: The degrees of freedom of its numerator.
        second: Those of its denominator. One of both may be infinite.
    """
    if ratio < 1:
        ratio, first, second = 1 / ratio, second, first
    if second > _ENDLESS:
        tail = chi_square_tail(first * ratio, first)
    elif first > _ENDLESS:
        tail = float(import_special().chdtr(second, second / ratio))
    else:
        tail = float(import_special().fdtrc(first, second, ratio))
    return min(1.0, 2 * tail)


def chi_square_tail(x: float, degrees: float) -> float:
    """Return the probability of a larger sum of so many squares of standard normal values."""
    return float(import_special().chdtrc(degrees, x))


def student_p_value(t: float, degrees: float) -> float:
    """Return the probability of a t as far from 0."""
    return float(2 * import_special().stdtr(max(degrees, 1.0), -abs(t)))


def same_rate(first: float, of_first: int, second: float, of_second: int) -> float:
    """Return the probability of two counts as different, if both have one rate.

    It is twice that of the nearer end of a binomial distribution.
    """
    count, total = round(second), round(first + second)
    share = of_second / (of_first + of_second)
    at_least = float(import_special().betainc(count, total - count + 1, share)) if count else 1.0
    at_most = 1.0
    if count < total:
        at_most = float(import_special().betainc(total - count, count + 1, 1 - share))
    return min(1.0, 2 * min(at_least, at_most))


def poisson_tail(count: int, mean: float) -> float:
    """Return the probability that a Poisson variable is at least `count`."""
    return float(import_special().pdtrc(count - 1, mean)) if count else 1.0


def log_choose(number: Any, count: Any) -> Any:
    """Return the logarithm of the number of subsets, of numbers or arrays of them."""
    log_factorial = import_special().gammaln
    return log_factorial(number + 1) - log_factorial(count + 1) - log_factorial(number - count + 1)


def as_few(count: int, of: int, other: int, of_other: int) -> float:
    """Return the probability of so few of one kind in one of two samples (Fisher's exact test)."""
    both, total = count + other, of + of_other
    counts = np.arange(max(0, of - (total - both)), count + 1, dtype="float64")
    logs = log_choose(both, counts) + log_choose(total - both, of - counts)
    return min(1.0, float(np.exp(logs - log_choose(total, of)).sum()))


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
