"""Intervals and paired tests for few repeats."""

import bisect
import math

import numpy as np

from keras_initx._extras import needed

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
POWER = 0.8
MOST_REPEATS = 1000


def t_interval(values, low=-math.inf, high=math.inf):
    """Return mean, lower and upper end of the interval of Student's t for the mean of `values`.

    Args:
        values: Sequence of numbers.
        low: The least that the mean can be. An interval covers the mean as often if what lies below is cut off.
        high: The greatest that the mean can be.
    """
    values = np.asarray(values, "float64")
    mean, n = values.mean(), len(values)
    if n < 2:
        return mean, math.nan, math.nan
    reach = _distribution("t").ppf((1 + CONFIDENCE) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return mean, max(mean - reach, low), min(mean + reach, high)


def paired_p_value(differences) -> float:
    """Return the two-sided p-value of the paired t test, whose null hypothesis is a mean difference of 0.

    Where all differences are the same number, t is infinite and means nothing; the sign test stands in. One
    difference alone says nothing.
    """
    differences = np.asarray(differences, "float64")
    n = len(differences)
    if n < 2:
        return math.nan
    effect = _effect(differences)
    if math.isinf(effect):
        return _sign_p_value(n)
    return float(2 * _distribution("t").sf(effect * math.sqrt(n), n - 1))


def _sign_p_value(n) -> float:
    """Return the p-value of the sign test for `n` differences with one sign."""
    return 2.0 ** (1 - n)


def _effect(differences) -> float:
    """Return the size of the mean difference in standard deviations, infinite if all differences are one number.

    Rounding errors count for nothing: neither a mean nor a deviation that is 1e-12 of the other.
    """
    differences = np.asarray(differences, "float64")
    if len(differences) < 2:
        return math.nan
    mean, deviation = abs(differences.mean()), differences.std(ddof=1)
    if mean <= 1e-12 * deviation:
        return 0.0
    return math.inf if deviation <= 1e-12 * mean else float(mean / deviation)


def paired(differences, widest=math.inf):
    """Return what the differences of pairs come to.

    Args:
        differences: List of numbers.
        widest: The greatest absolute value that a difference can have.

    Returns:
        A dict of their number and mean, its interval, the p-value, and the effect: the size of the mean in standard
        deviations of the differences.
    """
    mean, low, high = t_interval(differences, -widest, widest) if differences else (math.nan,) * 3
    effect = _effect(differences)
    return {
        "pairs": len(differences),
        "difference": float(mean) if effect else 0.0,
        "low": float(low),
        "high": float(high),
        "p": paired_p_value(differences),
        "effect": effect,
    }


def repeats_needed(effect, level=SIGNIFICANT) -> float:
    """Return how many pairs the test of `paired_p_value` needs to find a difference with a probability of `POWER`.

    Args:
        effect: Size of the difference in standard deviations.
        level: Level of the test.

    Returns:
        An integer of at least 2; infinity if it is above `MOST_REPEATS`, and NaN if the effect is not known.
    """
    if math.isnan(effect):
        return math.nan

    def power(n):
        if math.isinf(effect):
            return _sign_p_value(n) < level
        critical = _distribution("t").ppf(1 - level / 2, n - 1)
        # The chance of a difference with the wrong sign is left out: no one would call that found.
        return _distribution("nct").sf(critical, n - 1, effect * math.sqrt(n))

    end = 2
    while end < MOST_REPEATS and power(end) < POWER:  # SciPy warns where the power is 1 many times over.
        end = min(2 * end, MOST_REPEATS)
    candidates = range(2, end + 1)
    found = bisect.bisect_left(candidates, POWER, key=power)
    return candidates[found] if found < len(candidates) else math.inf


def holm(p_values):
    """Return `p_values` corrected for their number by Holm's method; NaN counts for nothing.

    Reference:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics, 1979.
    """
    p_values = np.asarray(p_values, "float64")
    corrected, highest = np.full(p_values.shape, math.nan), 0.0
    known = [i for i in np.argsort(p_values) if not math.isnan(p_values[i])]
    for rank, i in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected.tolist()


def _distribution(name):
    return getattr(needed("scipy.stats", "studies"), name)
