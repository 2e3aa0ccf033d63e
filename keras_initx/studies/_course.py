"""The course of training: how soon a trial learns, when it is best, and how much its curve jumps."""

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_initx.studies._metric import sign
from keras_initx.studies._types import FloatArray

if TYPE_CHECKING:
    from keras_initx.studies._study import Study

NEARLY_ALL = 0.95  # of the way from the mean before training to the best mean at the end: the default threshold
BEYOND_CHANCE = 0.1  # of that way: a trial has begun to learn


def level(study: "Study", share: float) -> float | None:
    """Return the value of the monitor at `share` of the way from before training to the best mean at the end.

    Before training is the mean over all finished trials: of untrained networks, thus chance. There is none as long
    as no trial is finished.
    """
    curves = [curve for name in study.initializers if (curve := study.curves(name, study.monitor)).size]
    if not curves:
        return None
    begin = np.mean([curve[:, 0].mean() for curve in curves])
    best = (max if study.mode == "max" else min)(curve[:, -1].mean() for curve in curves)
    return float(begin + share * (best - begin))


def first_epochs(curves: FloatArray, goal: float, direction: int, start: int = 0) -> list[float]:
    """Return the first epoch, from `start` on, at which each curve is as good as `goal`, infinite if never.

    Args:
        curves: Array of shape `(trials, epochs + 1)`.
        goal: The value to reach.
        direction: The factor that makes greater values better.
        start: The first epoch that counts.
    """
    reached = direction * (curves[:, start:] - goal) >= 0
    return [float(start + row.argmax()) if row.any() else math.inf for row in reached]


def best_epochs(curves: FloatArray, direction: int) -> list[int]:
    """Return the first epoch at which each curve has its best value."""
    return [int(epoch) for epoch in (direction * curves).argmax(axis=1)]


def jumps(curves: FloatArray) -> list[float]:
    """Return for each curve what `Study.jumps` says. One that goes up and down by `a` in turn has about `a`."""
    changes = np.diff(curves[:, (curves.shape[1] - 1) // 2 :], axis=1)
    return [float(jump) for jump in np.abs(changes).mean(axis=1) - np.abs(changes.mean(axis=1))]


def epochs_to_start(study: "Study", name: str) -> list[float]:
    """Return the first epoch at which each finished trial has left chance, infinite if it never does."""
    curves, direction = study.curves(name, study.monitor), sign(study.mode)
    chance, goal = level(study, 0), level(study, BEYOND_CHANCE)
    if chance is None or goal is None:
        return []
    # Where no initializer ends better than it began, none has learned.
    learned = direction * (goal - chance) > 0
    # An untrained network is at chance, whatever its accuracy happens to be.
    return first_epochs(curves, goal if learned else direction * math.inf, direction, start=1)
