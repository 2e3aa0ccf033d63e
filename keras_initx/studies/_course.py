"""Statistics of training curves: when a trial starts to learn, when it is best, and how much it fluctuates."""

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_initx.studies._metric import sign
from keras_initx.studies._types import FloatArray

if TYPE_CHECKING:
    from keras_initx.studies._study import Study

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
