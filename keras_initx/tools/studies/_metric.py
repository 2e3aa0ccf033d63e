"""The metric of a study: its name, its direction, and its range."""

import math
import re
from collections.abc import Collection, Iterable
from typing import Any

import keras

from keras_initx._checks import check_choice, check_type
from keras_initx._keras import metric_direction
from keras_initx._received import show
from keras_initx.tools.studies._types import BuildError, Direction, Mode, Record

# Words in the names of metrics, with their ranges.
_RANGES = {
    **dict.fromkeys(("acc", "accuracy", "auc", "precision", "recall", "f1", "iou"), (0.0, 1.0)),
    "r2": (-math.inf, 1.0),
    "similarity": (-1.0, 1.0),
}
_UNBOUNDED = (-math.inf, math.inf)


def known_directions(model: keras.Model, names: Iterable[str]) -> dict[str, Direction]:
    """Return whether larger or smaller values are better, for each metric that Keras knows.

    Args:
        model: A model that has been evaluated.
        names: The names of its metrics on the validation data.
    """
    metrics: dict[str, Any] = {}
    for metric in model.metrics:
        if metric.name != "compile_metrics":
            metrics[metric.name] = metric
            continue
        results = metric.result()
        # A name that two metrics have does not say which of them it is.
        if len(results) == len(metric.metrics):
            metrics.update(zip(results, metric.metrics, strict=True))
    found: dict[str, Direction] = {}
    for name in names:
        if name == "val_loss" or name.endswith("_loss"):
            found[name] = "min"
            continue
        metric = metrics.get(name.removeprefix("val_"))
        direction = None if metric is None else metric_direction(metric)
        if direction is not None:
            found[name] = "max" if direction == "up" else "min"
    return found


def check_monitor(monitor: str | None, mode: Mode) -> None:
    """Raise `TypeError` or `ValueError` unless a metric may have this name and this direction."""
    check_type("monitor", monitor, str | None, "the name of a metric or `None`")
    check_choice("mode", mode, ("auto", "max", "min"))


def resolve_metric(trial: Record, monitor: str | None, mode: Mode) -> tuple[str, Direction]:
    """Find the name and the direction of the metric to compare by.

    Args:
        trial: A trial that has been evaluated.
        monitor: A name, with or without its automatic number, or `None` for the first metric on the
            validation data, in alphabetical order, or the loss if there is none.
        mode: `"max"`, `"min"`, or `"auto"` for the direction that Keras has.

    Raises:
        BuildError: If there is no metric of this name, or its direction is unknown.
    """
    name = _metric_name(_names(trial), monitor)
    if mode != "auto":
        return name, mode
    if name not in trial["directions"]:
        raise BuildError(
            "`mode` must be 'max' or 'min' for this metric, because Keras does not know whether "
            "larger or smaller values are better; or choose another `monitor`. "
            f"Received: mode='auto', monitor={show(name)} of {_metrics_of(trial)}"
        )
    return name, trial["directions"][name]


def _metric_name(names: Collection[str], monitor: str | None) -> str:
    """Find the one of `names` that `monitor` means."""
    if monitor in names:
        return str(monitor)
    if monitor is None:
        metrics = [name for name in names if not name.endswith("_loss")]
        # Sorted as strings, `val_auc_10` would come before `val_auc_9`.
        return min(metrics, key=_name_and_numbers, default="val_loss")
    found = [name for name in names if _unnumbered(name) == monitor]
    if len(found) != 1:
        raise BuildError(
            f"`monitor` must be one of {sorted(names)}. Received: monitor={show(monitor)}"
        )
    return found[0]


def renamed(trial: Record, first: Record) -> Record:
    """Rename the metrics of a trial as they are in `first`.

    Keras numbers the names of metrics and outputs in the process, so they may differ.

    Raises:
        BuildError: If they differ in more than their automatic numbers.
    """
    names = sorted(_names(trial), key=_name_and_numbers)
    names_in_first = sorted(_names(first), key=_name_and_numbers)
    if names == names_in_first:
        return trial
    if list(map(_unnumbered, names)) != list(map(_unnumbered, names_in_first)):
        raise BuildError(
            "`build` must return models with the same metrics in each trial. "
            f"Received: {_metrics_of(trial)} in one, {_metrics_of(first)} in another"
        )
    new = dict(zip(names, names_in_first, strict=True))
    for name, name_in_first in list(new.items()):
        new[name.removeprefix("val_")] = name_in_first.removeprefix("val_")
    epochs = []
    for metrics in trial["epochs"]:
        epochs.append({new.get(name, name): value for name, value in metrics.items()})
    directions = {new[name]: direction for name, direction in trial["directions"].items()}
    return {**trial, "epochs": epochs, "directions": directions}


def _names(trial: Record) -> list[str]:
    """List the names of the metrics on the validation data."""
    return [name for name in trial["epochs"][0] if name != "epoch"]


def _unnumbered(name: str) -> str:
    """Drop automatic numbers from `name`: `val_auc` for `val_auc_3`."""
    return re.sub(r"_\d+(?=_|$)", "", name)


def _name_and_numbers(name: str) -> tuple[str, list[int]]:
    """Split `name` into itself without automatic numbers, and these, to sort names by."""
    numbers = re.findall(r"_(\d+)(?=_|$)", name)
    return _unnumbered(name), [int(number) for number in numbers]


def _metrics_of(trial: Record) -> str:
    return f"metrics {sorted(_names(trial))}"


def sign(mode: Direction) -> int:
    """Return 1 if larger values are better, -1 if smaller values are better."""
    return 1 if mode == "max" else -1


def metric_range(monitor: str, values: Collection[float]) -> tuple[float, float]:
    """Look up the minimum and maximum of a metric of this name, infinite if unknown.

    Args:
        monitor: Name of the metric.
        values: Its values. If one is out of range, e.g. an accuracy in percent, the range is
            unknown.
    """
    if monitor.endswith("_loss"):
        return _UNBOUNDED
    # Keras writes `MeanIoU` as `mean_io_u`.
    words = f"_{monitor.replace('io_u', 'iou')}_"
    for word, (least, greatest) in _RANGES.items():
        if f"_{word}_" in words and all(least <= value <= greatest for value in values):
            return least, greatest
    return _UNBOUNDED
