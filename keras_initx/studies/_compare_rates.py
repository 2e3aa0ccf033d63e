"""Train models of several widths with several learning rates, to see whether a rate transfers."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._checks import check_count, check_number, check_type
from keras_initx._extras import import_optional
from keras_initx.backends import backend
from keras_initx.scaling import CoordinateCheck, coordinate_check
from keras_initx.studies import _metric, _plan
from keras_initx.studies._data import checked_data
from keras_initx.studies._engine import check_jobs, open_folder, refuse_all_failed, run_trials
from keras_initx.studies._fingerprint import name_of
from keras_initx.studies._rate_study import RateStudy
from keras_initx.studies._records import Data, DataLike, Mode
from keras_initx.studies._trial import Run, first_batch

__all__ = ["compare_rates"]

# Takes a width and a learning rate.
BuildOfWidth: TypeAlias = Callable[[int, float], keras.Model]


def compare_rates(
    build: BuildOfWidth | Mapping[str, BuildOfWidth],
    widths: Sequence[int] | npt.NDArray[np.integer],
    rates: Sequence[float] | npt.NDArray[np.floating],
    data: DataLike,
    *,
    repeats: int = 3,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    n_jobs: int = 1,
    out: str | Path | None = None,
    title: str | None = None,
    monitor: str = "val_loss",
    mode: Mode = "auto",
) -> RateStudy:
    """Train models of several widths with several learning rates, and compare the best rates.

    With muP the best learning rate of a narrow model is also the best of a wide one. This shows
    whether that holds for a model: the best rate at each width, and what is lost by using that of
    the narrowest model. If the best rate moves by a factor of two or more, `coordinate_check` then
    looks for the layers whose outputs depend on the width.

    The widths may also be depths. In a repeat, the order of the examples and all other randomness
    in training are the same for all. This function sets the global seed of TensorFlow.

    Args:
        build: Function that takes a width and a learning rate and returns a new compiled model, or
            a dict of such functions by name, for example with muP and without. Weights must not
            have a fixed seed if they shall differ between the repeats.
        widths: At least two different widths.
        rates: At least two different learning rates.
        data: See `compare_initializers`.
        repeats: Number of trials per width and rate.
        epochs: Number of epochs per trial.
        batch_size: See `compare_initializers`.
        seed: Integer, the root of all seeds.
        n_jobs: See `compare_initializers`.
        out: See `compare_initializers`.
        title: Title of tables and plots.
        monitor: Name of the metric to compare by, one on the validation data. To compare by the
            training loss as papers do, pass the training data as validation data too.
        mode: See `compare_initializers`.

    Returns:
        A `RateStudy`.

    Raises:
        ImportError: If SciPy is not installed, or joblib for `n_jobs` other than 1.
        RecordError: If a record cannot be written, for example because the disk is full.
        RuntimeError: If all trials failed.
        SettingsError: If `out` contains a run with other settings.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is invalid.

    Example:
        >>> def build(width, rate):
        ...     layers = [keras.layers.Dense(width, "relu"), keras.layers.Dense(1)]
        ...     model = keras.Sequential([keras.Input((4,)), *layers])
        ...     model.compile(keras.optimizers.SGD(rate), "mse")
        ...     return model
        >>> x = np.random.default_rng(0).normal(size=(64, 4))
        >>> data = (x, x[:, :1]), (x, x[:, :1])
        >>> compare_rates(build, [4, 8], [0.001, 0.01, 0.1], data, repeats=2, epochs=1)
        <RateStudy of 1 parametrization, 2 widths, 3 rates, 12 trials: 12 finished>

    Reference:
        Yang, Hu and others, "Tensor programs V: tuning large neural networks via zero-shot
        hyperparameter transfer", arXiv:2203.03466, 2022, figure 1.
    """
    builds = _checked_builds(build)
    arrays = checked_data(data)
    _metric.check_monitor(monitor, mode)
    check_jobs(n_jobs)
    run_build = functools.partial(_built, builds)
    settings = {
        **_plan.run_settings(
            run_build,
            arrays,
            epochs,
            batch_size,
            seed,
            title or name_of(next(iter(builds.values()))),
        ),
        "builds": list(builds),
        "widths": _distinct("widths", [int(check_count("widths", width)) for width in widths]),
        "rates": _distinct(
            "rates", [float(check_number("rates", rate, positive=True)) for rate in rates]
        ),
        "repeats": int(check_count("repeats", repeats)),
    }
    # The intervals need it: fail now rather than after training.
    import_optional("scipy.stats", "studies")
    with open_folder(out, "rates", settings) as folder:
        plans = _plan.plan_rates(settings)
        run = Run(
            folder, run_build, arrays, settings["batch_size"], monitor, mode, first=plans[0].key
        )
        records = run_trials(run, plans, n_jobs, "rates")
        refuse_all_failed(folder, records)
        study = RateStudy.of_records(settings, records, monitor=monitor, mode=mode)
    checks = {}
    for drift in study.drifts():
        if abs(drift["drift"]) >= 1:
            rate = study.best_rate(drift["build"], min(settings["widths"]))
            name = drift["build"]
            checks[name] = _checked_widths(builds[name], study, rate, arrays)
    return dataclasses.replace(study, checks=checks)


def _built(builds: Mapping[str, BuildOfWidth], name: str, width: int, rate: float) -> keras.Model:
    return builds[name](width, rate)


def _checked_builds(build: BuildOfWidth | Mapping[str, BuildOfWidth]) -> dict[str, BuildOfWidth]:
    if not isinstance(build, Mapping):
        build = {"": build}
    if not build:
        raise ValueError("`build` must not be empty. Received: build={}")
    for name, function in build.items():
        check_type("build", name, str, "a dict from names to functions")
        _plan.check_build(function, "width", "rate")
    return dict(build)


def _distinct(name: str, values: list[int] | list[float]) -> list[int] | list[float]:
    if len(set(values)) < max(2, len(values)):
        raise ValueError(
            f"`{name}` must be at least two numbers, all different. Received: {name}={values}"
        )
    return sorted(values)


def _checked_widths(
    build: BuildOfWidth, study: RateStudy, rate: float, data: Data
) -> CoordinateCheck:
    """Return the coordinate check at the best rate of the narrowest model, on a batch."""
    settings = study.settings
    x, y = first_batch(data, settings["batch_size"], settings["seed"])

    def build_alike(width: int) -> keras.Model:
        keras.utils.set_random_seed(settings["seed"])
        return build(width, rate)

    with backend.generators_preserved():
        return coordinate_check(build_alike, settings["widths"], x, y)
