"""The metric of a run: its name, its direction, and its range."""

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import keras

from keras_initx._checks import check_choice, check_number, check_type
from keras_initx.structure import automatic_name
from keras_initx.studies._records import BuildError, Direction, Mode, Trial
from keras_initx.studies._reuse import is_of_keras

Key = TypeVar("Key")

# The classes of metrics in Keras, and names that are as common.
_GREATEST_IS_BEST = (
    *("Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy", "Acc"),
    *(
        "TopKCategoricalAccuracy",
        "SparseTopKCategoricalAccuracy",
        "AUC",
        "FBetaScore",
        "F1Score",
        "F1",
    ),
    *(
        "Precision",
        "PrecisionAtRecall",
        "Recall",
        "RecallAtPrecision",
        "TruePositives",
        "TrueNegatives",
    ),
    *(
        "SensitivityAtSpecificity",
        "SpecificityAtSensitivity",
        "IoU",
        "BinaryIoU",
        "MeanIoU",
        "OneHotIoU",
    ),
    *(
        "OneHotMeanIoU",
        "R2Score",
        "R2",
        "CosineSimilarity",
        "ConcordanceCorrelation",
        "PearsonCorrelation",
    ),
)
_LEAST_IS_BEST = (
    *("MeanSquaredError", "MSE", "RootMeanSquaredError", "RMSE", "MeanAbsoluteError", "MAE"),
    *("MeanAbsolutePercentageError", "MAPE", "MeanSquaredLogarithmicError", "MSLE", "LogCoshError"),
    *(
        "BinaryCrossentropy",
        "CategoricalCrossentropy",
        "SparseCategoricalCrossentropy",
        "KLDivergence",
        "Poisson",
    ),
    *("Hinge", "SquaredHinge", "CategoricalHinge", "FalsePositives", "FalseNegatives"),
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
    """Return whether larger or smaller values are better for each of the metrics `names`, or `None` if unknown.

    Args:
        model: A model that has been evaluated.
        names: The names of its metrics on the validation data.
    """
    metrics: dict[str, Any] = {}
    for metric in model.metrics:
        if metric.name != "compile_metrics":
            metrics[metric.name] = metric
        # A name that two metrics have does not say which of them it is.
        elif len(results := metric.result()) == len(metric.metrics):
            metrics.update(zip(results, metric.metrics, strict=True))
    return {name: _direction(metrics.get(name.removeprefix("val_")), name) for name in names}


def _direction(metric: Any, name: str) -> Direction | None:
    for kind in type(metric).__mro__:
        if is_of_keras(kind) and kind.__name__ in _DIRECTIONS:
            # A subclass may have a result that means the opposite.
            return _DIRECTIONS[kind.__name__] if is_of_keras(type(metric).result) else None
    return _named_direction(getattr(metric, "name", name.removeprefix("val_")))


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
    first = next((trial for trial in trials.values() if trial.epochs), None)
    return {
        key: _renamed(trial, first) if first and trial.epochs else trial
        for key, trial in trials.items()
    }


def _renamed(trial: Trial, first: Trial) -> Trial:
    if _names(trial) == _names(first):
        return trial
    try:
        names = _same_names(trial, first)
    except BuildError as error:
        return Trial(trial.key, "failed", end={"error": f"{type(error).__name__}: {error}"})
    names |= {
        name.removeprefix("val_"): other.removeprefix("val_") for name, other in names.items()
    }
    epochs = tuple(
        {names.get(name, name): value for name, value in metrics.items()}
        for metrics in trial.epochs
    )
    known = {names[name]: direction for name, direction in trial.directions.items()}
    return dataclasses.replace(trial, epochs=epochs, directions=known)


def _same_names(trial: Trial, first: Trial) -> dict[str, str]:
    """Return the names of the metrics of `first` by those of `trial`, which differ in numbers only."""
    own, others = (sorted(_names(each), key=_numbers) for each in (trial, first))
    if list(map(_unnumbered, own)) != list(map(_unnumbered, others)):
        raise BuildError(
            f"`build` must return models with the same metrics in each trial. Received: {_listed(own)} in one, "
            f"{_listed(others)} in another"
        )
    return dict(zip(own, others, strict=True))


def _names(trial: Trial) -> list[str]:
    return [name for name in trial.epochs[0] if name.startswith("val_")]


def _unnumbered(name: str) -> str:
    """Return `name` without automatic numbers: `val_auc` for `val_auc_3`."""
    return re.sub(r"_\d+(?=_|$)", "", name)


def _numbers(name: str) -> tuple[str, list[int]]:
    return _unnumbered(name), list(map(int, re.findall(r"_(\d+)(?=_|$)", name)))


def _listed(names: Iterable[str]) -> str:
    return f"metrics {tuple(sorted(names))}"


def check_metrics(trial: Trial, first: Trial, monitor: str | None, mode: Mode) -> None:
    """Raise `BuildError` unless `trial` can be compared with `first`, which may be missing, by `monitor`."""
    if first.epochs:
        _same_names(trial, first)
    resolve_metric(unify_metric_names({"first": first, "trial": trial}).values(), monitor, mode)


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
    names = {name for trial in trials if trial.epochs for name in _names(trial)}
    wanted = monitor or min(
        (name for name in names if not name.endswith("_loss")), default="val_loss"
    )
    if names:
        # With or without its automatic number.
        found = [name for name in names if name == wanted] or [
            name for name in names if _unnumbered(name) == wanted
        ]
        if len(found) != 1:
            raise BuildError(
                f"`monitor` must be one of {tuple(sorted(names))}. Received: monitor={monitor!r}"
            )
        wanted = found[0]
    if mode != "auto":
        return wanted, mode
    known = {name: direction for trial in trials for name, direction in trial.directions.items()}
    # Records of earlier versions do not have the direction, and a run that has not begun has no
    # metric.
    direction = known[wanted] if wanted in known else _named_direction(wanted.removeprefix("val_"))
    if direction is None and names:
        raise BuildError(
            "`mode` must be 'max' or 'min' for a metric of which it is not known whether larger or smaller values are "
            f"better; or choose another `monitor`. Received: mode={mode!r}, monitor={wanted!r} of {_listed(names)}"
        )
    return wanted, direction or "min"


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
    # Keras writes `MeanIoU` as `mean_io_u`.
    words = "loss" if monitor.endswith("_loss") else monitor.replace("io_u", "iou")
    known = next(
        (known for word, known in _RANGES.items() if f"_{word}_" in f"_{words}_"), _UNBOUNDED
    )
    return known if all(known[0] <= value <= known[1] for value in values) else _UNBOUNDED
