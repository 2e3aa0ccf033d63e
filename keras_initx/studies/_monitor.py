"""Which figure a run is judged by, and which value of it is best."""

import math

from keras_initx._checks import check_choice

# What the names of metrics contain whose greatest value is best, and between which numbers those lie.
_GREATEST_IS_BEST = {
    **dict.fromkeys(("acc", "auc", "precision", "recall", "f1", "iou"), (0.0, 1.0)),
    "r2": (-math.inf, 1.0),
    "similarity": (-1.0, 1.0),
}


class MonitorError(ValueError):
    """No metric has the name that `monitor` gives."""


def resolved(trials, monitor, mode):
    """Return name and mode of the figure to judge by.

    Args:
        trials: The trials whose figures there are to choose from.
        monitor: A name, or `None` for the first metric on the validation data, or the loss if there is none.
        mode: `"max"`, `"min"`, or `"auto"` to go by the name.

    Raises:
        MonitorError: If there is no such figure.
        ValueError: If there is no such mode.
    """
    check_mode(mode)
    known = {name for trial in trials for figures in trial.epochs for name in figures}
    names = {name for name in known if name.startswith("val_")}
    if monitor is None:
        monitor = min(names - {"val_loss"}, default="val_loss")
    elif names:
        check_monitor(monitor, names)
    if mode == "auto":
        mode = "max" if any(word in monitor for word in _GREATEST_IS_BEST) else "min"
    return monitor, mode


def check_monitor(monitor, names) -> None:
    """Refuse a `monitor` that is neither `None` nor one of `names`."""
    if monitor is not None and monitor not in names:
        raise MonitorError(f"`monitor` must be one of {tuple(sorted(names))}. Received: monitor={monitor!r}")


def check_mode(mode) -> str:
    """Return `mode`, which says what values of a metric are best."""
    return check_choice("mode", mode, ("auto", "max", "min"))


def bounds(monitor, values) -> tuple[float, float]:
    """Return the least and the greatest value that a metric of this name can have, infinite if they are not known.

    Args:
        monitor: Name of the metric.
        values: Values of it. If one is out of range, as an accuracy in percent, the name means something else.
    """
    low, high = next((known for word, known in _GREATEST_IS_BEST.items() if word in monitor), (-math.inf, math.inf))
    return (low, high) if all(low <= value <= high for value in values) else (-math.inf, math.inf)
