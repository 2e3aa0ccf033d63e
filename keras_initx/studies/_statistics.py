"""Intervals and paired tests for few repeats."""

import math

import numpy as np

from keras_initx._extras import needed

CONFIDENCE = 0.95
SIGNIFICANT = 0.05


def t_interval(values):
    """Return mean, lower and upper end of the interval of Student's t for the mean of `values`."""
    values = np.asarray(values, "float64")
    mean, n = values.mean(), len(values)
    if n < 2:
        return mean, math.nan, math.nan
    reach = _t().ppf((1 + CONFIDENCE) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return mean, mean - reach, mean + reach


def paired_p_value(differences) -> float:
    """Return the two-sided p-value of the paired t test, whose null hypothesis is a mean difference of 0.

    Where all differences are the same number, t is infinite and means nothing; the sign test stands in. One
    difference alone says nothing.
    """
    differences = np.asarray(differences, "float64")
    n = len(differences)
    if n < 2:
        return math.nan
    mean, deviation = differences.mean(), differences.std(ddof=1)
    if deviation <= 1e-12 * abs(mean):
        return 1.0 if mean == 0 else 2.0 ** (1 - n)
    return float(2 * _t().sf(abs(mean) / deviation * math.sqrt(n), n - 1))


def paired(differences):
    """Return what the differences of pairs come to: a dict of their number and mean, its interval and the p-value."""
    mean, low, high = t_interval(differences) if differences else (math.nan,) * 3
    return {
        "pairs": len(differences),
        "difference": float(mean),
        "low": float(low),
        "high": float(high),
        "p": paired_p_value(differences),
    }


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


def _t():
    return needed("scipy.stats", "studies").t
