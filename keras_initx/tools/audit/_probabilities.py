"""Probabilities that tests need, computed from numbers alone.

A function `..._p_value` returns the probability of a difference as large as observed, if nothing is
wrong.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# Beyond so many degrees of freedom, a variance is exact: its error is 5e-6, and the smallest
# deviation that is reported 0.01.
INFINITE_DEGREES = 1e11


@functools.cache
def import_special() -> Any:
    """Import `scipy.special`, which takes half a second, when it is first needed."""
    import scipy.special

    return scipy.special


def kolmogorov_p_value(distance: float, n: int) -> float:
    """Return the probability of a larger distance of `n` values from a law (Stephens, 1970)."""
    x = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    return float(import_special().kolmogorov(x))


def variance_ratio_p_value(ratio: float, first: float, second: float) -> float:
    """Return the probability of a ratio of two variances as far from 1, on both sides.

    Args:
        ratio: The ratio.
        first: The degrees of freedom of its numerator.
        second: The degrees of freedom of its denominator. One of both may be infinite.
    """
    if ratio < 1:
        ratio, first, second = 1 / ratio, second, first
    if second > INFINITE_DEGREES:
        tail = float(import_special().chdtrc(first, first * ratio))
    elif first > INFINITE_DEGREES:
        tail = float(import_special().chdtr(second, second / ratio))
    else:
        tail = float(import_special().fdtrc(first, second, ratio))
    return min(1.0, 2 * tail)


def student_p_value(t: float, degrees: float) -> float:
    """Return the probability of a t as far from 0."""
    return float(2 * import_special().stdtr(max(degrees, 1.0), -abs(t)))


def rate_p_value(first: float, first_total: int, second: float, second_total: int) -> float:
    """Return the p-value for two counts under the hypothesis of one rate.

    It is twice the probability of the nearer tail of a binomial distribution.

    Args:
        first: How many of the first sample are of a kind.
        first_total: The number of all in the first sample.
        second: How many of the second sample are.
        second_total: The number of all in the second sample.
    """
    count, total = round(second), round(first + second)
    share = second_total / (first_total + second_total)
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


def fisher_p_value(count: int, size: int, other_count: int, other_size: int) -> float:
    """Return the probability of so few of one kind in the first sample (Fisher's exact test).

    Args:
        count: How many of the first sample are of the kind.
        size: The number of all in the first sample.
        other_count: How many of the second sample are.
        other_size: The number of all in the second sample.
    """
    both, total = count + other_count, size + other_size
    counts = np.arange(max(0, size - (total - both)), count + 1, dtype="float64")
    logs = log_choose(both, counts) + log_choose(total - both, size - counts)
    return min(1.0, float(np.exp(logs - log_choose(total, size)).sum()))


def compute_chance_of_all(share: float, size: float, new_size: int) -> float:
    """Compute the probability that all new values are of a kind, from its share in earlier values.

    All orders of both together are equally probable.

    Args:
        share: The share of the kind among the earlier values.
        size: The number of the earlier values.
        new_size: The number of the new ones.
    """
    count = share * size
    log_chance = math.lgamma(count + new_size + 1) - math.lgamma(count + 1)
    log_chance -= math.lgamma(size + new_size + 1) - math.lgamma(size + 1)
    return min(1.0, math.exp(log_chance))


def compute_chance_of_any(number: float, share: float) -> float:
    """Compute the probability of any of several values, if each has probability `share`."""
    return -math.expm1(number * math.log1p(-min(share, 0.5)))


def holm(p_values: Sequence[float], number: int | None = None) -> list[float]:
    """Correct p-values for the number of tests (Holm, 1979). NaN stays NaN.

    Tests whose corrected value is at most `alpha` fail; the probability that any fails by chance is
    then at most `alpha`.

    Args:
        p_values: The probabilities of tests.
        number: The number of tests. Default: the number of probabilities that are not NaN.
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
