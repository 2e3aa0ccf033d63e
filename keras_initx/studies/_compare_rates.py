"""Train models of several widths with several learning rates, to see whether a rate transfers."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._checks import check_count, check_number, check_type
from keras_initx._extras import import_optional
from keras_initx._seeds import derived_seed
from keras_initx.backends import backend
from keras_initx.scaling import CoordinateCheck, coordinate_check
from keras_initx.studies._data import checked_data
from keras_initx.studies._engine import (
    check_build,
    check_jobs,
    checked_counts,
    name_of,
    repeats_of,
    run,
)
from keras_initx.studies._folder import Folder, shared_settings
from keras_initx.studies._metric import check_monitor, metric_of
from keras_initx.studies._rate_study import RateStudy
from keras_initx.studies._trial import Job, first_batch
from keras_initx.studies._types import DataLike, Mode

__all__ = ["compare_rates"]

# Takes a width and a learning rate.
BuildOfWidth: TypeAlias = Callable[[int, float], keras.Model]
Number = TypeVar("Number", int, float)


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
        OSError: If a trial cannot be kept, for example because the disk is full.
        RuntimeError: If all trials failed.
        SettingsError: If `out` contains a study with other settings.
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
    widths = _distinct("widths", [int(check_count("widths", width)) for width in widths])
    rates = _distinct(
        "rates", [float(check_number("rates", rate, positive=True)) for rate in rates]
    )
    arrays = checked_data(data)
    check_monitor(monitor, mode)
    check_jobs(n_jobs)
    repeats = int(check_count("repeats", repeats))
    counts = checked_counts(epochs, batch_size, seed)
    title = name_of(next(iter(builds.values())), title)
    # The intervals need it: fail now rather than after training.
    import_optional("scipy.stats", "studies")
    shared = shared_settings("rates", builds, arrays, **counts)
    job = Job(
        functools.partial(_built, builds),
        arrays,
        counts["epochs"],
        counts["batch_size"],
        monitor,
        mode,
    )
    arms = {}
    for name, width, rate in itertools.product(builds, widths, rates):
        arms[f"{name} {width} {rate!r}".strip()] = name, width, rate
    records = run(
        job, arms, repeats_of(seed, repeats), Folder(out, shared), n_jobs, "comparing rates"
    )
    trials = {}
    for key, arm in arms.items():
        for repeat in range(1, repeats + 1):
            trials[*arm, repeat] = records[key, repeat]
    settings = {
        **shared,
        "builds": list(builds),
        "widths": widths,
        "rates": rates,
        "repeats": repeats,
    }
    study = RateStudy(title, settings, trials, *metric_of(trials.values(), monitor, mode))
    checks = {}
    for drift in study.drifts():
        if abs(drift["drift"]) >= 1:
            name = drift["build"]
            rate = study.best_rate(name, min(widths))
            checks[name] = _checked_widths(builds[name], job, rate, widths, counts["seed"])
    return dataclasses.replace(study, checks=checks)


def _built(
    builds: Mapping[str, BuildOfWidth], arm: tuple[str, int, float], seed: int
) -> keras.Model:
    name, width, rate = arm
    keras.utils.set_random_seed(derived_seed(seed, "build"))
    return builds[name](width, rate)


def _checked_builds(build: BuildOfWidth | Mapping[str, BuildOfWidth]) -> dict[str, BuildOfWidth]:
    if not isinstance(build, Mapping):
        build = {"": build}
    if not build:
        raise ValueError("`build` must not be empty. Received: build={}")
    for name, function in build.items():
        check_type("build", name, str, "a dict from names to functions")
        check_build(function, "width", "rate")
    return dict(build)


def _distinct(name: str, values: list[Number]) -> list[Number]:
    if len(set(values)) < max(2, len(values)):
        raise ValueError(
            f"`{name}` must be at least two numbers, all different. Received: {name}={values}"
        )
    return sorted(values)


def _checked_widths(
    build: BuildOfWidth, job: Job, rate: float, widths: list[int], seed: int
) -> CoordinateCheck:
    """Return the coordinate check at the best rate of the narrowest model, on a batch."""
    x, y = first_batch(job, seed)

    def build_alike(width: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        return build(width, rate)

    with backend.generators_preserved():
        return coordinate_check(build_alike, widths, x, y)
