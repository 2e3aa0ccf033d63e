"""Statistics of each initializer of a comparison, and tests of each pair."""

import bisect
import collections
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_initx._extras import import_optional
from keras_initx.rendering._text import counted
from keras_initx.studies._metric import metric_range, sign
from keras_initx.studies._records import FloatArray, Record
from keras_initx.studies._trials import Trials, best_epochs, epochs_to_start

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
POWER = 0.8
MAX_REPEATS = 1000


class Summary:
    """The statistics of a comparison. Each part is computed once, when it is first used.

    Args:
        trials: The trials.
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    @functools.cached_property
    def rows(self) -> list[Record]:
        """The statistics of each initializer, best first."""

        def rank(row: Record) -> tuple[bool, bool, float]:
            return row["diverged"] > 0, math.isnan(row["mean"]), -sign(self._trials.mode) * row["mean"]

        return sorted((_statistics(self._trials, name) for name in self._trials.initializers), key=rank)

    @functools.cached_property
    def pairs(self) -> list[Record]:
        """The test of each pair of initializers of which no trial diverged."""
        ranked = [row["initializer"] for row in self.rows if row["finished"] and not row["diverged"]]
        rows = [_compare(self._trials, better, other) for better, other in itertools.combinations(ranked, 2)]
        for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row.update(p_corrected=corrected, significant=corrected < SIGNIFICANT)
        # Holm's method tests all remaining hypotheses at the level of the step at which it stops.
        level = SIGNIFICANT / max(1, sum(row["p_corrected"] >= SIGNIFICANT for row in rows))
        for row in rows:
            row["repeats_needed"] = math.nan if row["significant"] else repeats_needed(row["effect"], level)
            row["verdict"] = _verdict(row)
        return rows

    @functools.cached_property
    def problems(self) -> list[Record]:
        """A row for each initializer and each problem that `diagnose` found in its first batches."""
        rows: dict[tuple[str, str], Record] = {}
        for (name, _), trial in self._trials.trials.items():
            for verdict in trial.verdicts:
                row = {"initializer": name, "trials": 0, **verdict}
                rows.setdefault((name, verdict["problem"]), row)["trials"] += 1
        return list(rows.values())


def _statistics(trials: Trials, name: str) -> Record:
    """Return the statistics of an initializer."""
    status = collections.Counter(trial.status for trial in trials.trials_of(name).values())
    values = list(trials.final_values(name).values())
    mean, ci_low, ci_high = t_interval(values, *metric_range(trials.monitor, values))
    curves, seconds = trials.curves(name, trials.monitor), trials.curves(name, "seconds")[:, 1:]
    best = best_epochs(curves, trials.mode)
    reached = trials.epochs_to_threshold(name)
    # The first epoch includes compilation, so the sum over the epochs is not the training time.
    to_threshold = [epochs * np.median(own) for epochs, own in zip(reached, seconds, strict=True)]
    return {
        "initializer": name,
        "finished": status["finished"],
        "diverged": status["diverged"],
        "failed": status["failed"],
        "unfinished": status["interrupted"] + status["missing"],
        "mean": mean,
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        "ci_low": ci_low,
        "ci_high": ci_high,
        "worst": (min if trials.mode == "max" else max)(values, default=math.nan),
        "epochs_to_threshold": _median(reached),
        "reached": sum(map(math.isfinite, reached)),
        "gap": _mean(trials.gaps(name)),
        "seconds_per_epoch": _median(seconds.ravel()),
        "best": _mean([curve[epoch] for curve, epoch in zip(curves, best, strict=True)]),
        "best_epoch": _median(best),
        "stop_epoch": best_epochs(curves.mean(axis=0, keepdims=True), trials.mode)[0] if values else math.nan,
        "epochs_to_start": _median(epochs_to_start(trials, name)),
        "jump": _mean(trials.jumps(name)),
        "seconds_to_threshold": _median(to_threshold),
    }


def _mean(values: Sequence[float] | FloatArray) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _median(values: Sequence[float] | FloatArray) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _compare(trials: Trials, first: str, second: str) -> Record:
    a, b = trials.final_values(first), trials.final_values(second)
    min_value, max_value = metric_range(trials.monitor, [*a.values(), *b.values()])
    differences = [a[repeat] - b[repeat] for repeat in sorted(a.keys() & b.keys())]
    if np.mean(differences or [0]) * sign(trials.mode) < 0:  # The pairs may be other trials than those of the means.
        first, second, differences = second, first, [-difference for difference in differences]
    return {"first": first, "second": second, **paired_test(differences, max_value - min_value)}


def _verdict(row: Record) -> str:
    """Return the result of the comparison of two initializers in words."""
    if row["significant"]:
        return f"{row['first']} is better"
    if row["pairs"] < 2:
        return f"not tested with {counted(row['pairs'], 'repeat')}"
    return f"not shown with {row['pairs']} repeats, would take {needed_repeats(row['repeats_needed'])}"


def needed_repeats(count: float) -> str:
    """Return the result of `repeats_needed` in words."""
    return f"at least {count}" if math.isfinite(count) else f"more than {MAX_REPEATS}"


def _distribution(name: str) -> Any:
    return getattr(import_optional("scipy.stats", "studies"), name)


def t_interval(
    values: Sequence[float], min_mean: float = -math.inf, max_mean: float = math.inf
) -> tuple[float, float, float]:
    """Return the mean of `values` and the lower and upper end of its Student's t interval, or NaN if unknown.

    Args:
        values: Sequence of numbers.
        min_mean: The minimum of the mean. Truncating the interval there does not change its
            coverage.
        max_mean: The maximum of the mean.
    """
    sample = np.asarray(values, "float64")
    mean, n = _mean(sample), len(sample)
    if n < 2:
        return mean, math.nan, math.nan
    margin = float(_distribution("t").ppf((1 + CONFIDENCE) / 2, n - 1) * sample.std(ddof=1) / math.sqrt(n))
    return mean, max(mean - margin, min_mean), min(mean + margin, max_mean)


def paired_p_value(differences: Sequence[float] | FloatArray) -> float:
    """Return the two-sided p-value of the paired t test, whose null hypothesis is a mean difference of 0.

    If all differences are equal, t is infinite and meaningless, and the sign test is used instead.
    A single difference gives NaN.
    """
    n = len(differences)
    if n < 2:
        return math.nan
    effect = _effect(differences)
    if math.isinf(effect):
        return _sign_p_value(n)
    return float(2 * _distribution("t").sf(effect * math.sqrt(n), n - 1))


def _sign_p_value(n: int) -> float:
    """Return the p-value of the sign test for `n` differences with one sign."""
    return 2.0 ** (1 - n)


def _effect(differences: Sequence[float] | FloatArray) -> float:
    """Return the absolute mean difference in standard deviations, infinite if all differences are equal.

    Rounding errors are ignored: a mean or a deviation below 1e-12 times the other counts as zero.
    """
    sample = np.asarray(differences, "float64")
    if len(sample) < 2:
        return math.nan
    mean, deviation = abs(sample.mean()), sample.std(ddof=1)
    if mean <= 1e-12 * deviation:
        return 0.0
    return math.inf if deviation <= 1e-12 * mean else float(mean / deviation)


def paired_test(differences: Sequence[float], max_difference: float = math.inf) -> Record:
    """Test whether the mean of paired differences is 0.

    Args:
        differences: List of numbers.
        max_difference: The maximum absolute value of a difference.

    Returns:
        A dict with their number, their mean, its interval, the p-value, and the effect: the
        absolute mean in standard deviations of the differences.
    """
    mean, ci_low, ci_high = t_interval(differences, -max_difference, max_difference)
    effect = _effect(differences)
    return {
        "pairs": len(differences),
        "difference": mean if effect else 0.0,
        "ci_low": ci_low,
        "ci_high": ci_high,
        "p": paired_p_value(differences),
        "effect": effect,
    }


def repeats_needed(effect: float, level: float = SIGNIFICANT) -> float:
    """Return the number of pairs with which `paired_p_value` finds a difference with probability `POWER`.

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
        critical = _distribution("t").ppf(1 - level / 2, n - 1)
        # A significant difference with the wrong sign does not count.
        return float(_distribution("nct").sf(critical, n - 1, effect * math.sqrt(n)))

    end = 2
    while end < MAX_REPEATS and power(end) < POWER:  # SciPy warns if the power is far beyond 1.
        end = min(2 * end, MAX_REPEATS)
    candidates = range(2, end + 1)
    found = bisect.bisect_left(candidates, POWER, key=power)
    return candidates[found] if found < len(candidates) else math.inf


def holm(p_values: Sequence[float]) -> list[float]:
    """Return `p_values` corrected for multiple testing by Holm's method. NaN is ignored.

    Reference:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics, 1979.
    """
    corrected, highest = [math.nan] * len(p_values), 0.0
    known = [int(i) for i in np.argsort(p_values) if not math.isnan(p_values[i])]
    for rank, i in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected
