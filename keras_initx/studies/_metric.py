"""The metric of a run: its name, its direction, and its range."""

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import keras

from keras_initx._checks import check_choice, check_number, check_type
from keras_initx._keras import is_of_keras
from keras_initx.structure import automatic_name
from keras_initx.studies._records import BuildError, Direction, Mode, Trial

Key = TypeVar("Key")

# The classes of metrics in Keras, and names that are as common.
_GREATEST_IS_BEST = (
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "Acc",
    "TopKCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "AUC",
    "FBetaScore",
    "F1Score",
    "F1",
    "Precision",
    "PrecisionAtRecall",
    "Recall",
    "RecallAtPrecision",
    "TruePositives",
    "TrueNegatives",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
    "IoU",
    "BinaryIoU",
    "MeanIoU",
    "OneHotIoU",
    "OneHotMeanIoU",
    "R2Score",
    "R2",
    "CosineSimilarity",
    "ConcordanceCorrelation",
    "PearsonCorrelation",
)
_LEAST_IS_BEST = (
    "MeanSquaredError",
    "MSE",
    "RootMeanSquaredError",
    "RMSE",
    "MeanAbsoluteError",
    "MAE",
    "MeanAbsolutePercentageError",
    "MAPE",
    "MeanSquaredLogarithmicError",
    "MSLE",
    "LogCoshError",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy",
    "KLDivergence",
    "Poisson",
    "Hinge",
    "SquaredHinge",
    "CategoricalHinge",
    "FalsePositives",
    "FalseNegatives",
)
_DIRECTIONS: dict[str, Direction] = {
    **dict.fromkeys(_GREATEST_IS_BEST, "max"),
    **dict.fromkeys(_LEAST_IS_BEST, "min"),
}
# Words in the names of metrics, with their ranges.
_RANGES = {
    **dict.fromkeys(("acc", "accuracy", "auc", "precision", "recall", "f1", "iou"), (0.0, 1.0)),
    "r2": (-math.inf, 1.0),
    "similarity": (-1.0, 1.0),
}
_UNBOUNDED = (-math.inf, math.inf)


def directions(model: keras.Model, names: Iterable[str]) -> dict[str, Direction | None]:
    """Return whether larger or smaller values are better for each metric, or `None` if unknown.

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
    found = {}
    for name in names:
        name_in_training = name.removeprefix("val_")
        found[name] = _direction(metrics.get(name_in_training), name_in_training)
    return found


def _direction(metric: Any, name: str) -> Direction | None:
    """Return the direction of a metric object, or of `None` by its name."""
    kinds = type(metric).__mro__
    known = [kind for kind in kinds if is_of_keras(kind) and kind.__name__ in _DIRECTIONS]
    if not known:
        return _named_direction(getattr(metric, "name", name))
    # A subclass may have a result that means the opposite.
    if not is_of_keras(type(metric).result):
        return None
    return _DIRECTIONS[known[0].__name__]


def _named_direction(name: str) -> Direction | None:
    """Return the direction of a metric that only its name tells, such as a function."""
    if name == "loss" or name.endswith("_loss"):
        return "min"
    for kind, direction in _DIRECTIONS.items():
        # A loss has the name of a cosine similarity too, and is the negative of the metric.
        if kind != "CosineSimilarity" and automatic_name(name.lower(), kind):
            return direction
    return None


def unify_metric_names(trials: Mapping[Key, Trial]) -> dict[Key, Trial]:
    """Return `trials` with the names that the metrics have in the first of them that has any.

    Keras numbers the names of metrics and outputs in the process, so they may differ between
    trials. A trial with other metrics counts as failed, because it cannot be compared.
    """
    unified = dict(trials)
    first = next((trial for trial in trials.values() if trial.epochs), None)
    for key, trial in trials.items():
        if first is not None and trial.epochs:
            unified[key] = _renamed(trial, first)
    return unified


def _renamed(trial: Trial, first: Trial) -> Trial:
    """Return `trial` with the names that the metrics have in `first`."""
    if _names(trial) == _names(first):
        return trial
    try:
        validation_names = _same_names(trial, first)
    except BuildError as error:
        return Trial(trial.key, "failed", end={"error": f"{type(error).__name__}: {error}"})
    names = validation_names.copy()
    for name, name_in_first in validation_names.items():
        names[name.removeprefix("val_")] = name_in_first.removeprefix("val_")
    epochs = []
    for metrics in trial.epochs:
        epochs.append({names.get(name, name): value for name, value in metrics.items()})
    known = {names[name]: direction for name, direction in trial.directions.items()}
    return dataclasses.replace(trial, epochs=tuple(epochs), directions=known)


def _same_names(trial: Trial, first: Trial) -> dict[str, str]:
    """Return the names of the metrics of `first` by those of `trial`.

    Raises:
        BuildError: If they differ in more than their automatic numbers.
    """
    names = sorted(_names(trial), key=_name_and_numbers)
    names_in_first = sorted(_names(first), key=_name_and_numbers)
    if list(map(_unnumbered, names)) != list(map(_unnumbered, names_in_first)):
        raise BuildError(
            "`build` must return models with the same metrics in each trial. Received: "
            f"{_listed(names)} in one, {_listed(names_in_first)} in another"
        )
    return dict(zip(names, names_in_first, strict=True))


def _names(trial: Trial) -> list[str]:
    """Return the names of the metrics on the validation data."""
    return [name for name in trial.epochs[0] if name.startswith("val_")]


def _unnumbered(name: str) -> str:
    """Return `name` without automatic numbers: `val_auc` for `val_auc_3`."""
    return re.sub(r"_\d+(?=_|$)", "", name)


def _name_and_numbers(name: str) -> tuple[str, list[int]]:
    """Return `name` without automatic numbers, and these, to sort names by."""
    numbers = re.findall(r"_(\d+)(?=_|$)", name)
    return _unnumbered(name), [int(number) for number in numbers]


def _listed(names: Iterable[str]) -> str:
    return f"metrics {tuple(sorted(names))}"


def check_metrics(trial: Trial, first: Trial, monitor: str | None, mode: Mode) -> None:
    """Raise `BuildError` unless `trial` can be compared with `first` by `monitor`.

    Args:
        trial: A trial that has begun.
        first: The first trial of the run, which may be missing.
        monitor: See `resolve_metric`.
        mode: See `resolve_metric`.
    """
    if first.epochs:
        _same_names(trial, first)
    trials = unify_metric_names({"first": first, "trial": trial})
    resolve_metric(trials.values(), monitor, mode)


def resolve_metric(
    trials: Collection[Trial], monitor: str | None, mode: Mode
) -> tuple[str, Direction]:
    """Return the name and direction of the metric to compare by.

    Args:
        trials: The trials whose metrics are available, from `unify_metric_names`.
        monitor: A name, with or without its automatic number, or `None` for the first metric on the
            validation data, in alphabetical order, or the loss if there is none.
        mode: `"max"`, `"min"`, or `"auto"` to go by the kind of the metric.

    Raises:
        BuildError: If there is no metric of this name, or its direction is unknown.
        TypeError: If `monitor` is not a string.
        ValueError: If `mode` is invalid.
    """
    check_monitor(monitor, mode)
    names: set[str] = set()
    known: dict[str, Direction | None] = {}
    for trial in trials:
        known.update(trial.directions)
        if trial.epochs:
            names.update(_names(trial))
    name = _metric_name(names, monitor)
    if mode != "auto":
        return name, mode
    if name in known:
        direction = known[name]
    else:
        # Records of earlier versions do not have the direction, and a run that has not begun has no
        # metric.
        direction = _named_direction(name.removeprefix("val_"))
    if direction is None and names:
        raise BuildError(
            "`mode` must be 'max' or 'min' for a metric of which it is not known whether larger or "
            "smaller values are better; or choose another `monitor`. Received: "
            f"mode={mode!r}, monitor={name!r} of {_listed(names)}"
        )
    return name, direction or "min"


def _metric_name(names: Collection[str], monitor: str | None) -> str:
    """Return the one of `names` that `monitor` means; without any names, `monitor` itself.

    Raises:
        BuildError: If it means none or several of them.
    """
    wanted = monitor
    if not wanted:
        metrics = [name for name in names if not name.endswith("_loss")]
        # Sorted as strings, `val_auc_10` would come before `val_auc_9`.
        wanted = min(metrics, key=_name_and_numbers, default="val_loss")
    if not names or wanted in names:
        return wanted
    # It may lack the automatic number.
    found = [name for name in names if _unnumbered(name) == wanted]
    if len(found) != 1:
        raise BuildError(
            f"`monitor` must be one of {tuple(sorted(names))}. Received: monitor={monitor!r}"
        )
    return found[0]


def check_monitor(monitor: str | None, mode: Mode) -> None:
    """Raise `TypeError` or `ValueError` unless a metric may have this name and this direction."""
    check_type("monitor", monitor, str | None, "the name of a metric or `None`")
    check_choice("mode", mode, ("auto", "max", "min"))


def check_threshold(threshold: float | None) -> None:
    """Raise `TypeError` or `ValueError` unless `threshold` is a finite number or `None`."""
    if threshold is not None:
        check_number("threshold", threshold)


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
    least, greatest = _range_of_name(monitor)
    if all(least <= value <= greatest for value in values):
        return least, greatest
    return _UNBOUNDED


def _range_of_name(monitor: str) -> tuple[float, float]:
    if monitor.endswith("_loss"):
        return _UNBOUNDED
    # Keras writes `MeanIoU` as `mean_io_u`.
    words = f"_{monitor.replace('io_u', 'iou')}_"
    for word, known in _RANGES.items():
        if f"_{word}_" in words:
            return known
    return _UNBOUNDED
