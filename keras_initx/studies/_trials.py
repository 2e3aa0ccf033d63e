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
    """The trials of a comparison: what was recorded, and the numbers that follow from it.

    `Study` has these fields and methods too, and shows the numbers.
    """

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
        """Return the study of these records, which are by the keys of the trials in the folder."""
        keys = comparison_keys(settings)
        trials = unify_metric_names({trial: records[key] for trial, key in keys.items()})
        monitor, direction = resolve_metric(trials.values(), monitor, mode)
        return cls(settings["title"], settings, trials, monitor, direction, threshold)

    @property
    def initializers(self) -> list[str]:
        """The names of the initializers."""
        return list(self.settings["initializers"])

    @property
    def records(self) -> list[Record]:
        """A list of dicts with names, status and metrics of each epoch of each trial.

        Epoch 0 is before training. Its record also has the `"problems"` that `diagnose` found in
        the first batch.
        """
        records = []
        for (name, repeat), trial in self.trials.items():
            for metrics in trial.epochs:
                record = {"initializer": name, "repeat": repeat, "status": trial.status, **metrics}
                record.pop("batch_losses", None)
                if metrics["epoch"] == 0:
                    record["problems"] = ", ".join(trial.problems)
                records.append(record)
        return records

    @property
    def first_batches(self) -> list[Record]:
        """A list of dicts with paths and first-batch statistics of each layer of each trial."""
        rows = []
        for (name, repeat), trial in self.trials.items():
            for layer in trial.first_batch.get("layers", []):
                rows.append({"initializer": name, "repeat": repeat, **layer})
        return rows

    def trials_of(self, name: str) -> dict[int, Trial]:
        """Return the trials of an initializer, by repeat."""
        found = {}
        for (initializer, repeat), trial in self.trials.items():
            if initializer == name:
                found[repeat] = trial
        return found

    def _finished(self, name: str) -> dict[int, Trial]:
        trials = self.trials_of(name)
        return {repeat: trial for repeat, trial in trials.items() if trial.status == "finished"}

    def curves(self, name: str, metric: str) -> FloatArray:
        """Return a metric of all finished trials of an initializer, one row for each trial.

        The array has the shape `(trials, epochs + 1)`. Values that do not exist before training,
        such as the training loss, are NaN.
        """
        trials = self._finished(name).values()
        values = []
        for trial in trials:
            values.append([metrics.get(metric, math.nan) for metrics in trial.epochs])
        return np.array(values, "float64").reshape(len(trials), self.settings["epochs"] + 1)

    def final_values(self, name: str) -> dict[int, float]:
        """Return the last value of `monitor` of an initializer's finished trials, by repeat."""
        finished = self._finished(name)
        return {repeat: trial.epochs[-1][self.monitor] for repeat, trial in finished.items()}

    def gaps(self, name: str) -> list[float]:
        """Return the generalization gap of each finished trial.

        The gap is how much better the trial ended on the training data.
        """
        validation = self.curves(name, self.monitor)[:, -1]
        training = self.curves(name, self.monitor.removeprefix("val_"))[:, -1]
        gaps: list[float] = (sign(self.mode) * (training - validation)).tolist()
        return gaps

    def jumps(self, name: str) -> list[float]:
        """Return how much `monitor` fluctuates between epochs, for each finished trial.

        This is the mean absolute change between consecutive epochs minus the absolute mean change,
        in the second half of training. It is 0 for a monotonic curve.
        """
        curves = self.curves(name, self.monitor)
        middle = (curves.shape[1] - 1) // 2
        changes = np.diff(curves[:, middle:], axis=1)
        fluctuation = np.abs(changes).mean(axis=1) - np.abs(changes.mean(axis=1))
        jumps: list[float] = fluctuation.tolist()
        return jumps

    def epochs_to_threshold(self, name: str) -> list[float]:
        """Return the first epoch at which each finished trial was as good as `threshold`.

        Infinity stands for a trial that never was.
        """
        if self.threshold is None:
            return []
        advantages = sign(self.mode) * (self.curves(name, self.monitor) - self.threshold)
        epochs = []
        for is_reached in advantages >= 0:
            epochs.append(float(is_reached.argmax()) if is_reached.any() else math.inf)
        return epochs

    def statistics(self) -> list[Record]:
        """Return a dict of statistics for each initializer, best first.

        Initializers with diverged trials are last.
        """
        return [row.copy() for row in self._ranked]

    def comparisons(self) -> list[Record]:
        """Return a dict for each pair of initializers: the test of their paired differences.

        The differences are those of the final values within a repeat. The p-value is that of the
        paired t test, corrected by Holm's method for the number of comparisons. Initializers with a
        diverged trial are left out, because that trial has no final value. If a difference is not
        significant, `"repeats_needed"` is the number of repeats that would show it with a power of
        80 %, assuming the observed effect.
        """
        return [row.copy() for row in self._pairs]

    @property
    def problems(self) -> list[Record]:
        """A dict for each initializer and each problem that `diagnose` found in a first batch."""
        rows: dict[tuple[str, str], Record] = {}
        for (name, _), trial in self.trials.items():
            for verdict in trial.verdicts:
                new_row = {"initializer": name, "trials": 0, **verdict}
                row = rows.setdefault((name, verdict["problem"]), new_row)
                row["trials"] += 1
        return list(rows.values())

    @functools.cached_property
    def _ranked(self) -> list[Record]:
        """The rows of `statistics`, computed once."""
        rows = [_summarize(self, name) for name in self.initializers]

        def rank(row: Record) -> tuple[bool, bool, float]:
            return row["diverged"] > 0, math.isnan(row["mean"]), -sign(self.mode) * row["mean"]

        return sorted(rows, key=rank)

    @functools.cached_property
    def _pairs(self) -> list[Record]:
        """The rows of `comparisons`, computed once."""
        names = []
        for row in self._ranked:
            if row["finished"] and not row["diverged"]:
                names.append(row["initializer"])
        pairs = []
        for first, second in itertools.combinations(names, 2):
            pairs.append(_compare(self, first, second))
        _correct(pairs)
        return pairs


def value_at_progress(trials: Trials, share: float) -> float | None:
    """Return the value of the monitor at a fraction of the way that training goes.

    The way begins at chance level, the mean over all finished trials before training, when they are
    all untrained. It ends at the best mean of an initializer after training.

    Args:
        trials: The trials.
        share: The fraction, 0 for chance level.

    Returns:
        The value, or `None` if no trial is finished.
    """
    means_before = []
    means_after = []
    for name in trials.initializers:
        curves = trials.curves(name, trials.monitor)
        if curves.size:
            means_before.append(curves[:, 0].mean())
            means_after.append(curves[:, -1].mean())
    if not means_before:
        return None
    chance = np.mean(means_before)
    best = max(means_after) if trials.mode == "max" else min(means_after)
    return float(chance + share * (best - chance))


def epochs_to_start(trials: Trials, name: str) -> list[float]:
    """Return the epoch from which each finished trial stays beyond chance.

    Infinity stands for a trial that ends at chance. This is not the first epoch beyond chance,
    because an accuracy near chance exceeds it occasionally by accident.
    """
    chance = value_at_progress(trials, 0)
    goal = value_at_progress(trials, BEYOND_CHANCE)
    if chance is None or goal is None:
        return []
    curves = trials.curves(name, trials.monitor)
    direction = sign(trials.mode)
    if direction * (goal - chance) <= 0:  # No initializer ends better than it started.
        return [math.inf] * len(curves)
    at_chance = direction * (curves - goal) < 0
    at_chance[:, 0] = True  # An untrained network is at chance by definition.
    epochs = []
    for curve in at_chance:
        last = np.flatnonzero(curve)[-1]
        epochs.append(math.inf if last == len(curve) - 1 else float(last + 1))
    return epochs


def best_epochs(curves: FloatArray, mode: Direction) -> list[int]:
    """Return the first epoch at which each curve has its best value."""
    return [int(epoch) for epoch in (sign(mode) * curves).argmax(axis=1)]


def _summarize(trials: Trials, name: str) -> Record:
    """Return the statistics of an initializer."""
    status = collections.Counter(trial.status for trial in trials.trials_of(name).values())

    final_values = list(trials.final_values(name).values())
    mean, ci_low, ci_high = _statistics.t_interval(
        final_values, metric_range(trials.monitor, final_values)
    )
    std = math.nan
    if len(final_values) > 1:
        std = float(np.std(final_values, ddof=1))
    worst = min if trials.mode == "max" else max

    curves = trials.curves(name, trials.monitor)
    best = best_epochs(curves, trials.mode)
    best_values = [curve[epoch] for curve, epoch in zip(curves, best, strict=True)]
    stop_epoch: float = math.nan
    if final_values:
        mean_curve = curves.mean(axis=0, keepdims=True)
        stop_epoch = best_epochs(mean_curve, trials.mode)[0]

    # The first epoch includes compilation, so the sum over the epochs is not the training time.
    seconds = trials.curves(name, "seconds")[:, 1:]
    reached = trials.epochs_to_threshold(name)
    seconds_to_threshold = []
    for epochs, seconds_of_trial in zip(reached, seconds, strict=True):
        seconds_to_threshold.append(epochs * np.median(seconds_of_trial))

    return {
        "initializer": name,
        "finished": status["finished"],
        "diverged": status["diverged"],
        "failed": status["failed"],
        "unfinished": status["interrupted"] + status["missing"],
        "mean": mean,
        "std": std,
        "ci_low": ci_low,
        "ci_high": ci_high,
        "worst": worst(final_values, default=math.nan),
        "epochs_to_threshold": _statistics.median_of(reached),
        "reached": sum(map(math.isfinite, reached)),
        "gap": _statistics.mean_of(trials.gaps(name)),
        "seconds_per_epoch": _statistics.median_of(seconds.ravel()),
        "best": _statistics.mean_of(best_values),
        "best_epoch": _statistics.median_of(best),
        "stop_epoch": stop_epoch,
        "epochs_to_start": _statistics.median_of(epochs_to_start(trials, name)),
        "jump": _statistics.mean_of(trials.jumps(name)),
        "seconds_to_threshold": _statistics.median_of(seconds_to_threshold),
    }


def _compare(trials: Trials, first: str, second: str) -> Record:
    """Return the test of the paired differences of two initializers, the better one first."""
    values = trials.final_values(first)
    other_values = trials.final_values(second)
    repeats = sorted(values.keys() & other_values.keys())
    differences = [values[repeat] - other_values[repeat] for repeat in repeats]
    # The pairs may be other trials than those of the means, which have ranked the two.
    if differences and np.mean(differences) * sign(trials.mode) < 0:
        first, second = second, first
        differences = [-difference for difference in differences]
    least, greatest = metric_range(trials.monitor, [*values.values(), *other_values.values()])
    test = _statistics.paired_test(differences, greatest - least)
    return {"first": first, "second": second, **test}


def _correct(pairs: list[Record]) -> None:
    """Add to the tests of pairs what follows from their number: corrected p-values and verdicts."""
    corrected = _statistics.holm([pair["p"] for pair in pairs])
    not_significant = 0
    for pair, p_value in zip(pairs, corrected, strict=True):
        pair["p_corrected"] = p_value
        pair["significant"] = p_value < _statistics.SIGNIFICANT
        not_significant += p_value >= _statistics.SIGNIFICANT
    # Holm's method tests all remaining hypotheses at the level of the step at which it stops.
    level = _statistics.SIGNIFICANT / max(1, not_significant)
    for pair in pairs:
        pair["repeats_needed"] = math.nan
        if not pair["significant"]:
            pair["repeats_needed"] = _statistics.repeats_needed(pair["effect"], level)
        pair["verdict"] = _verdict(pair)


def _verdict(pair: Record) -> str:
    """Return the result of the comparison of two initializers in words."""
    if pair["significant"]:
        return f"{pair['first']} is better"
    if pair["pairs"] < 2:
        return f"not tested with {counted(pair['pairs'], 'repeat')}"
    needed = _statistics.needed_repeats(pair["repeats_needed"])
    return f"not shown with {pair['pairs']} repeats, would take {needed}"
