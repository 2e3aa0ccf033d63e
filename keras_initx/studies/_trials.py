"""The trials of a comparison, and everything that follows from their records alone."""

import dataclasses
import math
from pathlib import Path
from typing import Self

import numpy as np

from keras_initx.studies._metric import check_threshold, resolve_metric, sign, unify_metric_names
from keras_initx.studies._plan import comparison_keys
from keras_initx.studies._records import Direction, FloatArray, Folder, Mode, Record, Settings, Trial

NEARLY_ALL = 0.95  # of the way from the mean before training to the best mean at the end: the default threshold
BEYOND_CHANCE = 0.1  # of that way: a trial has started to learn


@dataclasses.dataclass(frozen=True, repr=False)
class Trials:
    """The trials of a comparison: the fields of a `Study`, and what follows from them without statistics."""

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
        cls, path: str | Path, *, monitor: str | None = None, mode: Mode = "auto", threshold: float | None = None
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
        trials = unify_metric_names({trial: folder.trial(key) for trial, key in comparison_keys(settings).items()})
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
        return {repeat: trial for repeat, trial in self.trials_of(name).items() if trial.status == "finished"}

    def curves(self, name: str, metric: str) -> FloatArray:
        """Return a metric of all finished trials of an initializer as an array of shape `(trials, epochs + 1)`.

        Values that do not exist before training, such as the training loss, are NaN.
        """
        trials = self._finished(name).values()
        values = [[metrics.get(metric, math.nan) for metrics in trial.epochs] for trial in trials]
        return np.array(values, "float64").reshape(len(trials), self.settings["epochs"] + 1)

    def final_values(self, name: str) -> dict[int, float]:
        """Return the last value of `monitor` of each finished trial of an initializer, by repeat."""
        return {repeat: trial.epochs[-1][self.monitor] for repeat, trial in self._finished(name).items()}

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


def value_at_progress(trials: Trials, share: float) -> float | None:
    """Return the value of the monitor at the fraction `share` of the way from before training to the best final mean.

    The value before training is the mean over all finished trials, which are untrained then: this
    is chance level. Returns `None` if no trial is finished.
    """
    curves = [curve for name in trials.initializers if (curve := trials.curves(name, trials.monitor)).size]
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
