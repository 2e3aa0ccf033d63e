"""Which metric a run is evaluated by, which value of it is best, and which values it can have."""

import math
from collections.abc import Collection, Iterable

from keras_initx._checks import check_choice
from keras_initx.studies._folder import Trial
from keras_initx.studies._types import Direction, Mode

# What the names of metrics contain whose greatest value is best, and between which numbers those lie.
_GREATEST_IS_BEST = {
    **dict.fromkeys(("acc", "auc", "precision", "recall", "f1", "iou"), (0.0, 1.0)),
    "r2": (-math.inf, 1.0),
    "similarity": (-1.0, 1.0),
}
_UNBOUNDED = (-math.inf, math.inf)


class MonitorError(ValueError):
    """No metric has the name that `monitor` gives."""


def resolve_metric(trials: Iterable[Trial], monitor: str | None, mode: Mode) -> tuple[str, Direction]:
    """Return name and direction of the metric to compare by.

    Args:
        trials: The trials whose metrics there are to choose from.
        monitor: A name, or `None` for the first metric on the validation data, or the loss if there is none.
        mode: `"max"`, `"min"`, or `"auto"` to go by the name.

    Raises:
        MonitorError: If there is no such metric.
        ValueError: If there is no such mode.
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
    """Refuse a `monitor` that is neither `None` nor one of `names`."""
    if monitor is not None and monitor not in names:
        raise MonitorError(f"`monitor` must be one of {tuple(sorted(names))}. Received: monitor={monitor!r}")


def check_mode(mode: Mode) -> None:
    """Refuse a `mode` that is none."""
    check_choice("mode", mode, ("auto", "max", "min"))


def sign(mode: Direction) -> int:
    """Return the factor that makes greater values better."""
    return 1 if mode == "max" else -1


def metric_range(monitor: str, values: Collection[float]) -> tuple[float, float]:
    """Return the least and the greatest value that a metric of this name can have, infinite if they are not known.

    Args:
        monitor: Name of the metric.
        values: Values of it. If one is out of range, as an accuracy in percent, the name means something else.
    """
    known = next((known for word, known in _GREATEST_IS_BEST.items() if word in monitor), _UNBOUNDED)
    return known if all(known[0] <= value <= known[1] for value in values) else _UNBOUNDED
