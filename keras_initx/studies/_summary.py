"""Statistics of each initializer of a comparison, and tests of each pair."""

import bisect
import collections
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_initx._extras import import_optional
from keras_initx.rendering._text import counted
from keras_initx.studies._metric import metric_range, sign
from keras_initx.studies._records import FloatArray, Record

if TYPE_CHECKING:
    from keras_initx.studies._study import Study


CONFIDENCE = 0.95
SIGNIFICANT = 0.05
POWER = 0.8
MAX_REPEATS = 1000


def t_interval(
    values: Sequence[float], min_mean: float = -math.inf, max_mean: float = math.inf
) -> tuple[float, float, float]:
    """Return the mean of `values` and the lower and upper end of its Student's t interval.

    Args:
        values: Sequence of numbers.
        min_mean: The minimum of the mean. Truncating the interval there does not change its
            coverage.
        max_mean: The maximum of the mean.
    """
    sample = np.asarray(values, "float64")
    mean, n = float(sample.mean()), len(sample)
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
    mean, ci_low, ci_high = (math.nan,) * 3
    if differences:
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


def _distribution(name: str) -> Any:
    return getattr(import_optional("scipy.stats", "studies"), name)


NEARLY_ALL = 0.95  # of the way from the mean before training to the best mean at the end: the default threshold
BEYOND_CHANCE = 0.1  # of that way: a trial has started to learn


def level(study: "Study", share: float) -> float | None:
    """Return the value of the monitor at the fraction `share` of the way from before training to the best final mean.

    The value before training is the mean over all finished trials, which are untrained then: this
    is chance level. Returns `None` if no trial is finished.
    """
    curves = [curve for name in study.initializers if (curve := study.curves(name, study.monitor)).size]
    if not curves:
        return None
    begin = np.mean([curve[:, 0].mean() for curve in curves])
    best = (max if study.mode == "max" else min)(curve[:, -1].mean() for curve in curves)
    return float(begin + share * (best - begin))


def first_epochs(curves: FloatArray, goal: float, direction: int) -> list[float]:
    """Return the first epoch at which each curve is as good as `goal`, or infinity if never.

    Args:
        curves: Array of shape `(trials, epochs + 1)`.
        goal: The value to reach.
        direction: 1 if larger values are better, -1 if smaller values are better.
    """
    reached = direction * (curves - goal) >= 0
    return [float(row.argmax()) if row.any() else math.inf for row in reached]


def best_epochs(curves: FloatArray, direction: int) -> list[int]:
    """Return the first epoch at which each curve has its best value."""
    return [int(epoch) for epoch in (direction * curves).argmax(axis=1)]


def jumps(curves: FloatArray) -> list[float]:
    """Return `Study.jumps` for each curve. A curve that alternates up and down by `a` has about `a`."""
    changes = np.diff(curves[:, (curves.shape[1] - 1) // 2 :], axis=1)
    return [float(jump) for jump in np.abs(changes).mean(axis=1) - np.abs(changes.mean(axis=1))]


def epochs_to_start(study: "Study", name: str) -> list[float]:
    """Return the epoch from which each finished trial stays beyond chance, or infinity if it ends at chance.

    This is not the first epoch beyond chance, because an accuracy near chance exceeds it
    occasionally by accident.
    """
    curves, direction = study.curves(name, study.monitor), sign(study.mode)
    chance, goal = level(study, 0), level(study, BEYOND_CHANCE)
    if chance is None or goal is None:
        return []
    if direction * (goal - chance) <= 0:  # No initializer ends better than it started.
        return [math.inf] * len(curves)
    at_chance = direction * (curves - goal) < 0
    at_chance[:, 0] = True  # An untrained network is at chance by definition.
    last = at_chance.shape[1] - 1 - at_chance[:, ::-1].argmax(axis=1)
    return [float(epoch) if epoch < curves.shape[1] else math.inf for epoch in last + 1]


def summarize(study: "Study") -> list[Record]:
    """Return the statistics of each initializer, best first."""

    def rank(row: Record) -> tuple[bool, bool, float]:
        return row["diverged"] > 0, math.isnan(row["mean"]), -sign(study.mode) * row["mean"]

    return sorted((_summarize(study, name) for name in study.initializers), key=rank)


def _summarize(study: "Study", name: str) -> Record:
    status = collections.Counter(trial.status for trial in study.trials_of(name).values())
    values = list(study.final_values(name).values())
    mean, ci_low, ci_high = (math.nan,) * 3
    if values:
        mean, ci_low, ci_high = t_interval(values, *metric_range(study.monitor, values))
    reached, gaps, seconds = study.epochs_to_threshold(name), study.gaps(name), study.curves(name, "seconds")[:, 1:]
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
        "worst": (min if study.mode == "max" else max)(values, default=math.nan),
        "epochs_to_threshold": _median(reached),
        "reached": sum(map(math.isfinite, reached)),
        "gap": float(np.mean(gaps)) if gaps else math.nan,
        "seconds_per_epoch": float(np.median(seconds)) if seconds.size else math.nan,
        **_summarize_course(study, name),
    }


def _summarize_course(study: "Study", name: str) -> Record:
    curves, seconds = study.curves(name, study.monitor), study.curves(name, "seconds")[:, 1:]
    found = len(curves) > 0
    best = best_epochs(curves, sign(study.mode))
    # The first epoch includes compilation, so the sum over the epochs is not the training time.
    typical = np.median(seconds, axis=1)
    to_threshold = [float(epochs * each) for epochs, each in zip(study.epochs_to_threshold(name), typical, strict=True)]
    return {
        "best": float(np.mean([curve[epoch] for curve, epoch in zip(curves, best, strict=True)]))
        if found
        else math.nan,
        "best_epoch": _median(best),
        "stop_epoch": best_epochs(curves.mean(axis=0, keepdims=True), sign(study.mode))[0] if found else math.nan,
        "epochs_to_start": _median(epochs_to_start(study, name)),
        "jump": float(np.mean(study.jumps(name))) if found else math.nan,
        "seconds_to_threshold": _median(to_threshold),
    }


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else math.nan


def compare_pairs(study: "Study") -> list[Record]:
    """Return the test of each pair of initializers."""
    ranked = [row["initializer"] for row in summarize(study) if row["finished"] and not row["diverged"]]
    rows = [_compare(study, better, other) for better, other in itertools.combinations(ranked, 2)]
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = corrected
        row["significant"] = corrected < SIGNIFICANT
    # Holm's method tests all remaining hypotheses at the level of the step at which it stops.
    level = SIGNIFICANT / max(1, sum(row["p_corrected"] >= SIGNIFICANT for row in rows))
    for row in rows:
        row["repeats_needed"] = math.nan if row["significant"] else repeats_needed(row["effect"], level)
        row["verdict"] = verdict(row)
    return rows


def _compare(study: "Study", first: str, second: str) -> Record:
    a, b = study.final_values(first), study.final_values(second)
    min_value, max_value = metric_range(study.monitor, [*a.values(), *b.values()])
    differences = [a[repeat] - b[repeat] for repeat in sorted(a.keys() & b.keys())]
    if np.mean(differences or [0]) * sign(study.mode) < 0:  # The pairs may be other trials than those of the means.
        first, second, differences = second, first, [-difference for difference in differences]
    return {"first": first, "second": second, **paired_test(differences, max_value - min_value)}


def verdict(row: Record) -> str:
    """Format the result of the comparison of two initializers."""
    if row["significant"]:
        return f"{row['first']} is better"
    if row["pairs"] < 2:
        return f"not tested with {counted(row['pairs'], 'repeat')}"
    return f"not shown with {row['pairs']} repeats, would take {needed_repeats(row['repeats_needed'])}"


def needed_repeats(count: float) -> str:
    """Format the result of `repeats_needed` in words."""
    return f"at least {count}" if math.isfinite(count) else f"more than {MAX_REPEATS}"
