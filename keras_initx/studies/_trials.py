"""The trials of a comparison, the statistics of each initializer, and tests of each pair."""

import collections
import dataclasses
import functools
import itertools
import math
from pathlib import Path
from typing import Self

import numpy as np

from keras_initx.rendering import counted
from keras_initx.studies import _statistics
from keras_initx.studies._metric import (
    check_threshold,
    metric_range,
    resolve_metric,
    sign,
    unify_metric_names,
)
from keras_initx.studies._plan import comparison_keys
from keras_initx.studies._records import (
    Direction,
    FloatArray,
    Folder,
    Mode,
    Record,
    Settings,
    Trial,
)

# Of the way from the mean before training to the best mean at the end: the default threshold.
NEARLY_ALL = 0.95
BEYOND_CHANCE = 0.1  # of that way: a trial has started to learn


@dataclasses.dataclass(frozen=True, repr=False)
class Trials:
    """The trials of a comparison: the fields of a `Study`, and all that follows from them, each computed once."""

    title: str
    settings: Settings
    trials: dict[tuple[str, int], Trial]
    monitor: str
    mode: Direction
    threshold: float | None

    def __post_init__(self) -> None:
        if self.threshold is None:
            object.__setattr__(self, "threshold", value_at_progress(self, NEARLY_ALL))

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        monitor: str | None = None,
        mode: Mode = "auto",
        threshold: float | None = None,
    ) -> Self:
        """Read a study from a folder. The study may be unfinished.

        Args:
            path: Path of the folder.
            monitor: See `compare_initializers`.
            mode: See `compare_initializers`.
            threshold: See `compare_initializers`.

        Raises:
            DamagedFileError: If a file is damaged.
            FileNotFoundError: If the folder contains no study.
            TypeError: If an argument has the wrong type.
            ValueError: If the folder contains another kind of run, there is no metric named
                `monitor`, or its direction is unknown and not given by `mode`.
        """
        check_threshold(threshold)
        folder = Folder(path)
        settings = folder.settings("compare")
        records = folder.trials(comparison_keys(settings).values())
        return cls.of_records(settings, records, monitor=monitor, mode=mode, threshold=threshold)

    @classmethod
    def of_records(
        cls,
        settings: Settings,
        records: dict[str, Trial],
        *,
        monitor: str | None,
        mode: Mode,
        threshold: float | None,
    ) -> Self:
        """Return the study with these settings and these records of its trials, by their keys in the folder."""
        trials = unify_metric_names(
            {trial: records[key] for trial, key in comparison_keys(settings).items()}
        )
        monitor, direction = resolve_metric(trials.values(), monitor, mode)
        return cls(settings["title"], settings, trials, monitor, direction, threshold)

    @property
    def initializers(self) -> list[str]:
        """The names of the initializers."""
        return list(self.settings["initializers"])

    @property
    def records(self) -> list[Record]:
        """A list of dicts with names, status and metrics of each epoch of each trial. Epoch 0 is before training.

        The record of epoch 0 also has the `"problems"` that `diagnose` found in the first batch.
        """
        return [
            {"initializer": name, "repeat": repeat, "status": trial.status}
            | {key: value for key, value in metrics.items() if key != "batch_losses"}
            | ({"problems": ", ".join(trial.problems)} if metrics["epoch"] == 0 else {})
            for (name, repeat), trial in self.trials.items()
            for metrics in trial.epochs
        ]

    @property
    def first_batches(self) -> list[Record]:
        """A list of dicts with names and first-batch statistics of each layer of each trial."""
        return [
            {"initializer": name, "repeat": repeat, **layer}
            for (name, repeat), trial in self.trials.items()
            for layer in trial.first_batch.get("layers", [])
        ]

    def trials_of(self, name: str) -> dict[int, Trial]:
        """Return the trials of an initializer, by repeat."""
        return {repeat: trial for (own, repeat), trial in self.trials.items() if own == name}

    def _finished(self, name: str) -> dict[int, Trial]:
        return {
            repeat: trial
            for repeat, trial in self.trials_of(name).items()
            if trial.status == "finished"
        }

    def curves(self, name: str, metric: str) -> FloatArray:
        """Return a metric of all finished trials of an initializer as an array of shape `(trials, epochs + 1)`.

        Values that do not exist before training, such as the training loss, are NaN.
        """
        trials = self._finished(name).values()
        values = [[metrics.get(metric, math.nan) for metrics in trial.epochs] for trial in trials]
        return np.array(values, "float64").reshape(len(trials), self.settings["epochs"] + 1)

    def final_values(self, name: str) -> dict[int, float]:
        """Return the last value of `monitor` of each finished trial of an initializer, by repeat."""
        return {
            repeat: trial.epochs[-1][self.monitor] for repeat, trial in self._finished(name).items()
        }

    def gaps(self, name: str) -> list[float]:
        """Return the generalization gap of each finished trial: how much better it ended on the training data."""
        validation = self.curves(name, self.monitor)
        training = self.curves(name, self.monitor.removeprefix("val_"))
        return [float(gap) for gap in sign(self.mode) * (training - validation)[:, -1]]

    def jumps(self, name: str) -> list[float]:
        """Return how much `monitor` fluctuates between epochs in the second half of training, for each finished trial.

        This is the mean absolute change between consecutive epochs minus the absolute mean change.
        It is 0 for a monotonic curve.
        """
        curves = self.curves(name, self.monitor)
        changes = np.diff(curves[:, (curves.shape[1] - 1) // 2 :], axis=1)
        return [float(jump) for jump in np.abs(changes).mean(axis=1) - np.abs(changes.mean(axis=1))]

    def epochs_to_threshold(self, name: str) -> list[float]:
        """Return the first epoch at which each finished trial was as good as `threshold`, or infinity if never."""
        if self.threshold is None:
            return []
        reached = sign(self.mode) * (self.curves(name, self.monitor) - self.threshold) >= 0
        return [float(curve.argmax()) if curve.any() else math.inf for curve in reached]

    def summary(self) -> list[Record]:
        """Return a dict of statistics for each initializer, best first. Initializers with diverged trials are last."""
        return [row.copy() for row in self._ranked]

    def comparisons(self) -> list[Record]:
        """Return a dict for each pair of initializers: the paired difference of their final values, and its test.

        The p-value is that of the paired t test, corrected by Holm's method for the number of
        comparisons. Initializers with a diverged trial are left out, because that trial has no
        final value. If a difference is not significant, `"repeats_needed"` is the number of repeats
        that would show it with a power of 80 %, assuming the observed effect.
        """
        return [row.copy() for row in self._pairs]

    def problems(self) -> list[Record]:
        """Return a dict for each initializer and each problem that `diagnose` found in its first batches."""
        rows: dict[tuple[str, str], Record] = {}
        for (name, _), trial in self.trials.items():
            for verdict in trial.verdicts:
                row = {"initializer": name, "trials": 0, **verdict}
                rows.setdefault((name, verdict["problem"]), row)["trials"] += 1
        return list(rows.values())

    @functools.cached_property
    def _ranked(self) -> list[Record]:
        def rank(row: Record) -> tuple[bool, bool, float]:
            return row["diverged"] > 0, math.isnan(row["mean"]), -sign(self.mode) * row["mean"]

        return sorted((_summarize(self, name) for name in self.initializers), key=rank)

    @functools.cached_property
    def _pairs(self) -> list[Record]:
        ranked = [
            row["initializer"] for row in self._ranked if row["finished"] and not row["diverged"]
        ]
        rows = [
            _compare(self, better, other) for better, other in itertools.combinations(ranked, 2)
        ]
        for row, corrected in zip(rows, _statistics.holm([row["p"] for row in rows]), strict=True):
            row.update(p_corrected=corrected, significant=corrected < _statistics.SIGNIFICANT)
        # Holm's method tests all remaining hypotheses at the level of the step at which it stops.
        level = _statistics.SIGNIFICANT / max(
            1, sum(row["p_corrected"] >= _statistics.SIGNIFICANT for row in rows)
        )
        for row in rows:
            row["repeats_needed"] = (
                math.nan if row["significant"] else _statistics.repeats_needed(row["effect"], level)
            )
            row["verdict"] = _verdict(row)
        return rows


def value_at_progress(trials: Trials, share: float) -> float | None:
    """Return the value of the monitor at the fraction `share` of the way from before training to the best final mean.

    The value before training is the mean over all finished trials, which are untrained then: this
    is chance level. Returns `None` if no trial is finished.
    """
    curves = [
        curve for name in trials.initializers if (curve := trials.curves(name, trials.monitor)).size
    ]
    if not curves:
        return None
    begin = np.mean([curve[:, 0].mean() for curve in curves])
    best = (max if trials.mode == "max" else min)(curve[:, -1].mean() for curve in curves)
    return float(begin + share * (best - begin))


def epochs_to_start(trials: Trials, name: str) -> list[float]:
    """Return the epoch from which each finished trial stays beyond chance, or infinity if it ends at chance.

    This is not the first epoch beyond chance, because an accuracy near chance exceeds it
    occasionally by accident.
    """
    curves, direction = trials.curves(name, trials.monitor), sign(trials.mode)
    chance, goal = value_at_progress(trials, 0), value_at_progress(trials, BEYOND_CHANCE)
    if chance is None or goal is None:
        return []
    if direction * (goal - chance) <= 0:  # No initializer ends better than it started.
        return [math.inf] * len(curves)
    at_chance = direction * (curves - goal) < 0
    at_chance[:, 0] = True  # An untrained network is at chance by definition.
    last = at_chance.shape[1] - 1 - at_chance[:, ::-1].argmax(axis=1)
    return [float(epoch) if epoch < curves.shape[1] else math.inf for epoch in last + 1]


def best_epochs(curves: FloatArray, mode: Direction) -> list[int]:
    """Return the first epoch at which each curve has its best value."""
    return [int(epoch) for epoch in (sign(mode) * curves).argmax(axis=1)]


def _summarize(trials: Trials, name: str) -> Record:
    """Return the statistics of an initializer."""
    status = collections.Counter(trial.status for trial in trials.trials_of(name).values())
    values = list(trials.final_values(name).values())
    mean, ci_low, ci_high = _statistics.t_interval(values, metric_range(trials.monitor, values))
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
        "epochs_to_threshold": _statistics.median_of(reached),
        "reached": sum(map(math.isfinite, reached)),
        "gap": _statistics.mean_of(trials.gaps(name)),
        "seconds_per_epoch": _statistics.median_of(seconds.ravel()),
        "best": _statistics.mean_of(
            [curve[epoch] for curve, epoch in zip(curves, best, strict=True)]
        ),
        "best_epoch": _statistics.median_of(best),
        "stop_epoch": best_epochs(curves.mean(axis=0, keepdims=True), trials.mode)[0]
        if values
        else math.nan,
        "epochs_to_start": _statistics.median_of(epochs_to_start(trials, name)),
        "jump": _statistics.mean_of(trials.jumps(name)),
        "seconds_to_threshold": _statistics.median_of(to_threshold),
    }


def _compare(trials: Trials, first: str, second: str) -> Record:
    a, b = trials.final_values(first), trials.final_values(second)
    min_value, max_value = metric_range(trials.monitor, [*a.values(), *b.values()])
    differences = [a[repeat] - b[repeat] for repeat in sorted(a.keys() & b.keys())]
    if (
        np.mean(differences or [0]) * sign(trials.mode) < 0
    ):  # The pairs may be other trials than those of the means.
        first, second, differences = second, first, [-difference for difference in differences]
    return {
        "first": first,
        "second": second,
        **_statistics.paired_test(differences, max_value - min_value),
    }


def _verdict(row: Record) -> str:
    """Return the result of the comparison of two initializers in words."""
    if row["significant"]:
        return f"{row['first']} is better"
    if row["pairs"] < 2:
        return f"not tested with {counted(row['pairs'], 'repeat')}"
    return f"not shown with {row['pairs']} repeats, would take {_statistics.needed_repeats(row['repeats_needed'])}"
