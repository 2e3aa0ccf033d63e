"""Statistics of each initializer of a comparison, and tests of each pair."""

import collections
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_initx.studies._course import best_epochs, epochs_to_start
from keras_initx.studies._metric import metric_range, sign
from keras_initx.studies._statistics import SIGNIFICANT, holm, paired_test, repeats_needed, t_interval
from keras_initx.studies._text import verdict
from keras_initx.studies._types import Record

if TYPE_CHECKING:
    from keras_initx.studies._study import Study


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
