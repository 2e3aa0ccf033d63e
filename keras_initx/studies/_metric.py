"""The metric of a run: its name, its direction, and its range."""

import math
from collections.abc import Collection, Iterable

from keras_initx._checks import check_choice
from keras_initx.studies._folder import Trial
from keras_initx.studies._types import Direction, Mode

# Substrings of the names of metrics for which larger values are better, with their ranges.
_GREATEST_IS_BEST = {
    **dict.fromkeys(("acc", "auc", "precision", "recall", "f1", "iou"), (0.0, 1.0)),
    "r2": (-math.inf, 1.0),
    "similarity": (-1.0, 1.0),
}
_UNBOUNDED = (-math.inf, math.inf)


class MonitorError(ValueError):
    """Raised if no metric is named `monitor`."""


def resolve_metric(trials: Iterable[Trial], monitor: str | None, mode: Mode) -> tuple[str, Direction]:
    """Return the name and direction of the metric to compare by.

    Args:
        trials: The trials whose metrics are available.
        monitor: A name, or `None` for the first metric on the validation data, or the loss if there is none.
        mode: `"max"`, `"min"`, or `"auto"` to go by the name.

    Raises:
        MonitorError: If there is no metric of this name.
        ValueError: If `mode` is invalid.
    """
    check_mode(mode)
    names = {name for trial in trials for metrics in trial.epochs for name in metrics if name.startswith("val_")}
    if monitor is None:
        monitor = min(names - {"val_loss"}, default="val_loss")
    elif names:
        check_monitor(monitor, names)
    if mode == "auto":
        mode = "max" if any(word in monitor for word in _GREATEST_IS_BEST) else "min"
    return monitor, mode


def check_monitor(monitor: str | None, names: Collection[str]) -> None:
    """Raise `MonitorError` unless `monitor` is `None` or one of `names`."""
    if monitor is not None and monitor not in names:
        raise MonitorError(f"`monitor` must be one of {tuple(sorted(names))}. Received: monitor={monitor!r}")


def check_mode(mode: Mode) -> None:
    """Raise `ValueError` unless `mode` is valid."""
    check_choice("mode", mode, ("auto", "max", "min"))


def sign(mode: Direction) -> int:
    """Return 1 if larger values are better, -1 if smaller values are better."""
    return 1 if mode == "max" else -1


def metric_range(monitor: str, values: Collection[float]) -> tuple[float, float]:
    """Return the minimum and maximum of a metric of this name, infinite if unknown.

    Args:
        monitor: Name of the metric.
        values: Its values. If one is out of range, e.g. an accuracy in percent, the range is
            unknown.
    """
    known = next((known for word, known in _GREATEST_IS_BEST.items() if word in monitor), _UNBOUNDED)
    return known if all(known[0] <= value <= known[1] for value in values) else _UNBOUNDED
