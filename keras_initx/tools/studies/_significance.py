"""Intervals and tests of the results of trials."""

import bisect
import math
from collections.abc import Sequence

import numpy as np

from keras_initx.tools.audit._probabilities import import_special, student_p_value
from keras_initx.tools.studies._types import FloatArray, Record

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
POWER = 0.8
MAX_REPEATS = 1000


def mean_of(values: Sequence[float] | FloatArray) -> float:
    """Compute the mean of `values`, or NaN if there are none."""
    return float(np.mean(values)) if len(values) else math.nan


def median_of(values: Sequence[float] | FloatArray) -> float:
    """Compute the median of `values`, or NaN if there are none."""
    return float(np.median(values)) if len(values) else math.nan


def describe_repeats(count: float) -> str:
    """Describe the result of `count_repeats_needed` in words."""
    return f"at least {count}" if math.isfinite(count) else f"more than {MAX_REPEATS}"


def t_interval(
    values: Sequence[float], bounds: Sequence[float] = (-math.inf, math.inf)
) -> tuple[float, float, float]:
    """Compute the mean of `values`, and the lower and upper end of its Student's t interval.

    NaN means unknown.

    Args:
        values: Sequence of numbers.
        bounds: The minimum and the maximum of the mean. Truncating the interval there does not
            change its coverage.
    """
    sample = np.asarray(values, "float64")
    mean = mean_of(sample)
    n = len(sample)
    if n < 2:
        return mean, math.nan, math.nan
    quantile = import_special().stdtrit(n - 1, (1 + CONFIDENCE) / 2)
    margin = float(quantile * sample.std(ddof=1) / math.sqrt(n))
    least, greatest = bounds
    return mean, max(mean - margin, least), min(mean + margin, greatest)


def paired_p_value(differences: Sequence[float] | FloatArray) -> float:
    """Compute the two-sided p-value of the paired t test.

    Its null hypothesis is a mean difference of 0. If all differences are equal, t is infinite and
    meaningless, and the sign test is used instead. A single difference gives NaN.
    """
    n = len(differences)
    if n < 2:
        return math.nan
    effect = _effect(differences)
    if math.isinf(effect):
        return _sign_p_value(n)
    return student_p_value(effect * math.sqrt(n), n - 1)


def _sign_p_value(n: int) -> float:
    """Compute the p-value of the sign test for `n` differences with one sign."""
    return 2.0 ** (1 - n)


def _effect(differences: Sequence[float] | FloatArray) -> float:
    """Measure the absolute mean difference in standard deviations of the differences.

    It is infinite if all differences are equal. To ignore rounding errors, a mean or a deviation
    below 1e-12 times the other counts as zero.
    """
    sample = np.asarray(differences, "float64")
    if len(sample) < 2:
        return math.nan
    mean = abs(sample.mean())
    deviation = sample.std(ddof=1)
    if mean <= 1e-12 * deviation:
        return 0.0
    if deviation <= 1e-12 * mean:
        return math.inf
    return float(mean / deviation)


def paired_test(differences: Sequence[float], max_difference: float = math.inf) -> Record:
    """Test whether the mean of paired differences is 0.

    Args:
        differences: List of numbers.
        max_difference: The maximum absolute value of a difference.

    Returns:
        A dict with their number, their mean, its interval, the p-value, and the effect: the
        absolute mean in standard deviations of the differences.
    """
    mean, ci_low, ci_high = t_interval(differences, (-max_difference, max_difference))
    effect = _effect(differences)
    return {
        "pairs": len(differences),
        "difference": mean if effect else 0.0,
        "ci_low": ci_low,
        "ci_high": ci_high,
        "p": paired_p_value(differences),
        "effect": effect,
    }


def count_repeats_needed(effect: float, level: float = SIGNIFICANT) -> float:
    """Count the pairs that make a test significant with probability `POWER`.

    Args:
        effect: The absolute mean difference in standard deviations.
        level: Significance level of the test.

    Returns:
        An integer of at least 2, infinity if it is above `MAX_REPEATS`, or NaN if the effect is
        unknown.
    """
    if math.isnan(effect):
        return math.nan

    def power(n: int) -> float:
        if math.isinf(effect):
            return _sign_p_value(n) < level
        critical = import_special().stdtrit(n - 1, 1 - level / 2)
        # A significant difference with the wrong sign does not count.
        return 1 - float(import_special().nctdtr(n - 1, effect * math.sqrt(n), critical))

    end = 2
    # Of a huge effect the power is NaN, which is not below `POWER` either.
    while end < MAX_REPEATS and power(end) < POWER:
        end = min(2 * end, MAX_REPEATS)
    candidates = range(2, end + 1)
    place = bisect.bisect_left(candidates, POWER, key=power)
    if place == len(candidates):
        return math.inf
    return candidates[place]
