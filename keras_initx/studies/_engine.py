"""Compare initializers over repeated trials, and train from several random draws."""

import contextlib
import dataclasses
import importlib
import inspect
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_initx._checks import check_count, check_flag, check_type, is_integer
from keras_initx._extras import import_optional
from keras_initx._files import check_local
from keras_initx._process import SharedByThreads
from keras_initx._seeds import initializer_of, initializers_within, seeded, takes_seed
from keras_initx.backends import backend
from keras_initx.rendering import progress
from keras_initx.studies import _metric, _plan
from keras_initx.studies._data import checked_data
from keras_initx.studies._fingerprint import fingerprint
from keras_initx.studies._records import (
    Build,
    BuildWith,
    DataLike,
    Folder,
    Initializers,
    Mode,
    Settings,
    Trial,
)
from keras_initx.studies._restart_study import RestartStudy
from keras_initx.studies._study import Study
from keras_initx.studies._trial import (
    Run,
    initial_model,
    refuse_what_exists,
    resume,
    run_trial,
)

__all__ = ["compare_initializers", "random_restarts"]


def compare_initializers(
    build: BuildWith,
    initializers: Initializers,
    data: DataLike,
    *,
    repeats: int = 5,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    n_jobs: int = 1,
    out: str | Path | None = None,
    title: str | None = None,
    monitor: str | None = None,
    mode: Mode = "auto",
    threshold: float | None = None,
    diagnosis: bool = True,
) -> Study:
    """Train a model repeatedly with each of several initializers, and test their differences.

    Within a repeat, the conditions are the same for all initializers: the order of the examples and
    all other randomness in building and training are derived from the seed of that repeat. Trials
    of the same repeat therefore form pairs, which allows paired tests. This function sets the
    global seed of TensorFlow.

    Args:
        build: Function that takes an initializer and returns a new compiled model. It gets a new
            initializer for each trial, which draws different values for each layer.
        initializers: List of string ids, or a dict from names to string ids, initializers without a
            seed, configs of them, or dicts of these. Other values, and initializers that take no
            seed, are passed to `build` unchanged.
        data: `((x, y), (x_val, y_val))`: training data and validation data. Arrays, tensors, pandas
            Series or DataFrames, or lists, tuples and dicts of them for models with several inputs.
            Each pair may have sample weights as a third member.
        repeats: Number of trials per initializer.
        epochs: Number of epochs per trial.
        batch_size: Number of examples in a batch of training. Evaluation takes four times as many,
            unless the model has batches of a fixed size.
        seed: Integer, the root of all seeds.
        n_jobs: Number of processes, as in joblib. A parallel backend set by
            `joblib.parallel_config`, such as `"dask"`, is used; its workers need access to the
            folder `out`.
        out: Local or mounted folder in which each epoch is recorded as soon as it is finished. If
            it contains part of this study, the run resumes where it stopped. By default a temporary
            folder.
        title: Title of tables and plots.
        monitor: Name of the metric to compare by, e.g. `"val_loss"`. The number that Keras may add
            to a name is not needed, as in `"val_auc"` for `"val_auc_3"`. By default the first
            metric on the validation data in alphabetical order, or the validation loss if there is
            none.
        mode: `"max"` or `"min"`: whether larger or smaller values of the metric are better.
            `"auto"` knows this of losses and of the metrics of Keras. It is required for others.
        threshold: Value of the metric for "epochs to reach". By default 95 % of the way from the
            mean before training to the best mean at the end.
        diagnosis: Whether to run `diagnose` on the first batch of each trial.

    Returns:
        A `Study`.

    Raises:
        ImportError: If SciPy is not installed, or joblib for `n_jobs` other than 1.
        RecordError: If a record cannot be written, for example because the disk is full.
        RuntimeError: If all trials failed.
        SettingsError: If `out` contains a run with other settings.
        TypeError: If an argument has the wrong type, for example data that are not arrays of
            numbers.
        ValueError: If an argument is invalid, for example inputs and targets of different lengths,
            if `mode` is required, or if `build` returns one model twice or models of different
            metrics.

    Example:
        >>> def build(initializer):
        ...     layer = keras.layers.Dense(3, kernel_initializer=initializer)
        ...     model = keras.Sequential([keras.Input((4,)), layer])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x = keras.ops.convert_to_numpy(keras.random.normal((2, 64, 4), seed=0))
        >>> y = keras.ops.convert_to_numpy(keras.random.normal((2, 64, 3), seed=1))
        >>> data = (x[0], y[0]), (x[1], y[1])
        >>> names = ["zeros", "initx.he_normal"]
        >>> study = compare_initializers(build, names, data, repeats=2, epochs=1)
        >>> study
        <Study of 2 initializers, 4 trials: 4 finished>
        >>> [record["epoch"] for record in study.records]
        [0, 1, 0, 1, 0, 1, 0, 1]
    """
    _plan.check_build(build, "initializer")
    named = _checked_initializers(initializers)
    arrays = checked_data(data)
    _metric.check_monitor(monitor, mode)
    _metric.check_threshold(threshold)
    check_flag("diagnosis", diagnosis)
    check_jobs(n_jobs)
    settings = {
        **_plan.run_settings(build, arrays, epochs, batch_size, seed, title),
        "initializers": _fingerprints(named, out),
        "unseeded": [
            name for name, initializer in named.items() if _draws_without_seed(initializer)
        ],
        "repeats": int(check_count("repeats", repeats)),
    }
    # The tests need it: fail now rather than after training.
    import_optional("scipy.stats", "studies")
    with open_folder(out, "compare", settings) as folder:
        # As the folder has them: initializers in its order, by which trials are named, and tuples
        # as lists.
        settings = folder.settings("compare")
        plans = _plan.plan_comparison(settings)
        run = Run(
            folder,
            build,
            arrays,
            settings["batch_size"],
            monitor,
            mode,
            first=plans[0].key,
            initializers=named,
            diagnosis=diagnosis,
        )
        records = run_trials(run, plans, n_jobs, "compare")
        refuse_all_failed(folder, records)
        return Study.of_records(settings, records, monitor=monitor, mode=mode, threshold=threshold)


def random_restarts(
    build: Build,
    data: DataLike,
    *,
    n: int = 10,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    checks: int = 3,
    n_jobs: int = 1,
    out: str | Path | None = None,
    title: str | None = None,
    monitor: str | None = None,
    mode: Mode = "auto",
) -> RestartStudy:
    """Train a model from several draws of its initial weights, and return the best.

    Uses successive halving: all draws are trained for a few epochs, the better half of them for
    twice as many, and so on, until the last two have been trained for `epochs`. All draws see the
    same examples in the same order.

    The score of the best of `n` draws is biased by selection. To measure the real gain, the chosen
    draw is trained again with the examples in other orders, and so are draws that were not in the
    search. This function sets the global seed of TensorFlow.

    Args:
        build: Function without arguments that returns a new compiled model, whose initializers have
            no seeds.
        data: See `compare_initializers`.
        n: Number of draws.
        epochs: Number of epochs to train the best draws for.
        batch_size: See `compare_initializers`.
        seed: Integer, the root of all seeds.
        checks: Number of pairs of the chosen draw and another draw that measure the gain; 0 for
            none.
        n_jobs: See `compare_initializers`.
        out: See `compare_initializers`.
        title: See `compare_initializers`.
        monitor: Name of the metric that the search goes by. See `compare_initializers`.
        mode: See `compare_initializers`.

    Returns:
        A `RestartStudy` with the trained `model` and the `seed` of its draw.
        `keras.utils.set_random_seed(seed)` followed by `build()` gives the initial model again;
        without an `Input`, its weights are drawn when it first sees data.

    Raises:
        ImportError: If SciPy is not installed and `checks` are requested, or joblib for `n_jobs`
            other than 1.
        RecordError: If a record cannot be written, for example because the disk is full.
        RuntimeError: If no draw finished a round of training.
        SettingsError: If `out` contains a run with other settings.
        TypeError: If an argument has the wrong type, for example data that are not arrays of
            numbers.
        ValueError: If an argument is invalid, for example inputs and targets of different lengths,
            if `mode` is required, or if `build` returns one model twice or models of different
            metrics.

    Example:
        >>> def build():
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x = keras.ops.convert_to_numpy(keras.random.normal((2, 64, 4), seed=0))
        >>> y = keras.ops.convert_to_numpy(keras.random.normal((2, 64, 3), seed=1))
        >>> best = random_restarts(build, ((x[0], y[0]), (x[1], y[1])), n=4, epochs=2, checks=0)
        >>> keras.utils.set_random_seed(best.seed)
        >>> initial = build()

    Reference:
        Karnin, Koren and Somekh, "Almost optimal exploration in multi-armed bandits", ICML 2013.
        Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
        optimization", AISTATS 2016.
    """
    _plan.check_build(build)
    arrays = checked_data(data)
    _metric.check_monitor(monitor, mode)
    check_jobs(n_jobs)
    check_count("n", n)
    check_count("checks", checks, least=0)
    settings = _plan.run_settings(build, arrays, epochs, batch_size, seed, title)
    # The search goes by the metric, so that with another one it is another search.
    settings |= {"n": int(n), "checks": int(checks), "monitor": monitor, "mode": mode}
    if checks:
        # The tests need it: fail now rather than after training.
        import_optional("scipy.stats", "studies")
    with open_folder(out, "restarts", settings) as folder:
        first = _plan.stage_key(1, 1)
        run = Run(folder, build, arrays, settings["batch_size"], monitor, mode, first)
        _run_rounds(run, settings, n_jobs)
        # Of draws that are equally good, the one that the study shows first.
        chosen = RestartStudy.read(folder.path, monitor=monitor, mode=mode).draws[0]["draw"]
        run_trials(run, _plan.plan_checks(settings, chosen), n_jobs, "checks")
        study = RestartStudy.read(folder.path, monitor=monitor, mode=mode)
        model = _trained_model(run, settings, chosen)
        return dataclasses.replace(study, model=model)


def _trained_model(run: Run, settings: Settings, draw: int) -> keras.Model:
    """Return the model of a draw as it was at the end of the last round."""
    last_round = _plan.plan_rounds(settings)[-1]
    plan = _plan.plan_stage(settings, draw, last_round)
    with backend.generators_preserved():
        model = initial_model(run, plan)
        resume(model, run.data, run.batch_size, run.folder.state(plan.key))
        # As at the end of `fit`.
        model.optimizer.finalize_variable_values(model.trainable_weights)
    return model


def _checked_initializers(initializers: Initializers) -> dict[str, Any]:
    """Check `initializers` and return them as a dict by name."""
    if not isinstance(initializers, Mapping):
        required = (
            "`initializers` must be distinct string ids, or a dict from names to initializers. "
            f"Received: {initializers=!r}"
        )
        if isinstance(initializers, str) or not isinstance(initializers, Iterable):
            raise TypeError(required)
        initializers = list(initializers)
        if not all(isinstance(name, str) for name in initializers):
            raise ValueError(required)
        if len(set(initializers)) < len(initializers):
            raise ValueError(required)
        initializers = {name: name for name in initializers}
    if not initializers:
        raise ValueError("`initializers` must not be empty. Received: initializers={}")
    with backend.generators_preserved():
        for initializer in initializers.values():
            seeded(initializer, 0)  # an error now rather than in the first trial
    named = {str(name): initializer for name, initializer in initializers.items()}
    if len(named) < len(initializers):
        raise ValueError(
            "`initializers` must have names that differ as strings. "
            f"Received: names {list(initializers)}"
        )
    return named


def _fingerprints(named: Mapping[str, Any], out: str | Path | None) -> dict[str, Any]:
    """Return the descriptions of initializers, by which another study in the folder `out` is told.

    Raises:
        ValueError: If there is a folder, and two objects of a class could not be told apart.
    """
    found = {}
    for name, initializer in named.items():
        unknown: list[str] = []
        found[name] = fingerprint(initializer, unknown)
        if unknown and out is not None:
            raise ValueError(
                "`initializers` must be strings, numbers, arrays, functions or objects that pickle "
                "takes, so that a study in `out` is not resumed with others: make other objects in "
                "`build`, or leave out `out`. "
                f"Received: initializers={{{name!r}: ...}} with an object of {unknown[0]}"
            )
    return found


# Packages of which all initializers that draw take a seed.
_KNOWN = "keras", "keras_initx"


def _draws_without_seed(initializer: Any) -> bool:
    """Return whether an initializer of the user, which may draw, has no argument `seed`."""
    initializer = initializer_of(initializer)
    if isinstance(initializer, dict):
        return any(_draws_without_seed(item) for item in initializer.values())
    if type(initializer) in (list, tuple):
        return any(_draws_without_seed(item) for item in initializer)
    if isinstance(initializer, keras.initializers.Initializer):
        for part in initializers_within(initializer):
            package = type(part).__module__.partition(".")[0]
            if package not in _KNOWN and not takes_seed(part.get_config()):
                return True
        return False
    # Keras takes functions of a shape and a dtype as initializers too.
    if isinstance(initializer, type) or not callable(initializer):
        return False
    try:
        names = inspect.signature(initializer).parameters.keys()
    except ValueError:  # that of a built-in function may be unknown
        return False
    return not names.isdisjoint(("shape", "dtype"))


def check_jobs(n_jobs: Any) -> None:
    """Raise `TypeError` or `ValueError` unless `n_jobs` is a number of processes, as in joblib."""
    required = f"`n_jobs` must be an integer other than 0. Received: {n_jobs=!r}"
    if not is_integer(n_jobs):
        raise TypeError(required)
    if n_jobs == 0:
        raise ValueError(required)


@contextlib.contextmanager
def open_folder(out: str | Path | None, kind: str, settings: Settings) -> Iterator[Folder]:
    """Yield the folder of a run, which without `out` is deleted afterward.

    Raises:
        TypeError: If `out` is not a path.
        ValueError: If `out` is empty or a URL.
    """
    check_type("out", out, str | Path | None, "the path of a folder or `None`")
    if out is not None:
        check_local("out", out)
        if not str(out):
            raise ValueError(f"`out` must be the path of a folder. Received: {out=!r}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(temporary, is_kept=False) if out is None else Folder(out)
        folder.open(kind, settings)
        yield folder


def _run_rounds(run: Run, settings: Settings, n_jobs: int) -> None:
    """Train all draws for a few epochs, the better half of them for twice as many, and so on."""
    draws = list(range(1, settings["n"] + 1))
    trials: dict[str, Trial] = {}
    for round_ in _plan.plan_rounds(settings):
        plans = {draw: _plan.plan_stage(settings, draw, round_) for draw in draws[: round_.size]}
        records = run_trials(run, list(plans.values()), n_jobs, f"round {round_.number}")
        # The first round has the directions of the metrics.
        trials = _metric.unify_metric_names(trials | records)
        name, direction = _metric.resolve_metric(trials.values(), run.monitor, run.mode)
        scores = {}
        errors = []
        for draw, plan in plans.items():
            trial = trials[plan.key]
            if trial.status == "finished":
                scores[draw] = _metric.sign(direction) * trial.epochs[-1][name]
            else:
                errors.append(trial.end.get("error", "diverged"))
        if not scores:
            raise RuntimeError(
                f"no draw could be trained to the end of round {round_.number} "
                f"({run.folder.place}): {errors[0]}"
            )
        draws = sorted(scores, key=lambda draw: -scores[draw])


def run_trials(
    run: Run, plans: Sequence[_plan.TrialPlan], n_jobs: int, label: str
) -> dict[str, Trial]:
    """Run the trials that are not settled, in this process or in several, with a progress bar.

    Args:
        run: What all trials share.
        plans: The trials, which train for equally many epochs.
        n_jobs: Number of processes, as in joblib. With 1, joblib is not needed.
        label: Label of the progress bar.

    Returns:
        The records of all trials by their keys. Those that were settled are read once.
    """
    found = run.folder.trials(plan.key for plan in plans)
    plans = [plan for plan in plans if not found[plan.key].is_settled]
    if not plans:
        return found
    epochs = plans[0].end - plans[0].begin
    with progress(label, epochs * len(plans), "epochs") as advance:
        if n_jobs == 1:
            for plan in plans:
                _run_here(run, plan, epochs, advance)
        else:
            _run_elsewhere(run, plans, n_jobs, lambda: advance(epochs))
    return found | run.folder.trials(plan.key for plan in plans)


def refuse_all_failed(folder: Folder, records: Mapping[str, Trial]) -> None:
    """Raise `RuntimeError` with the error of the first trial if all of `records` failed."""
    trials = list(records.values())
    if all(trial.status == "failed" for trial in trials):
        count = f"{len(trials)} of {len(trials)} trials"
        raise RuntimeError(f"{count} failed ({folder.place}): {trials[0].end['error']}")


def _run_here(run: Run, plan: _plan.TrialPlan, epochs: int, advance: Callable[[int], None]) -> None:
    """Run a trial in this process, and advance the progress bar by `epochs`."""
    left = epochs

    def on_epoch() -> None:
        nonlocal left
        left -= 1
        advance(1)

    run_trial(run, plan, on_epoch)
    advance(left)  # the epochs that a diverged or failed trial skipped


def _run_elsewhere(
    run: Run, plans: Sequence[_plan.TrialPlan], n_jobs: int, on_trial: Callable[[], None]
) -> None:
    """Run trials in other processes."""
    joblib = import_optional("joblib", "studies")
    own_backend = keras.backend.backend()
    config = _plan.keras_config()
    if n_jobs > 0:
        n_jobs = min(n_jobs, len(plans))
    with _backend_of_workers:
        parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        jobs = (joblib.delayed(_run_on)(own_backend, config, run, plan) for plan in plans)
        try:
            for _ in parallel(jobs):
                on_trial()
        except (TypeError, pickle.PicklingError):  # the former of Dask
            _check_picklable(run)
            raise


def _check_picklable(run: Run) -> None:
    """Raise `TypeError` if `build` or an initializer cannot be passed to another process."""
    try:
        cloudpickle = importlib.import_module("joblib.externals.cloudpickle")
    except ImportError:  # Since 1.6 joblib has no copy of its own.
        cloudpickle = importlib.import_module("cloudpickle")
    arguments = {"build": run.build}
    for name, initializer in run.initializers.items():
        arguments[f"initializers[{name!r}]"] = initializer
    for name, value in arguments.items():
        try:
            cloudpickle.dumps(value)
        except Exception as error:  # An object may raise anything.
            raise TypeError(
                f"`{name}` must be picklable for `n_jobs` other than 1: a function of a module, or "
                "one that refers to nothing that cloudpickle cannot serialize. "
                f"Received: {name}={value!r}: {error}"
            ) from error


@SharedByThreads
@contextlib.contextmanager
def _backend_of_workers() -> Iterator[None]:
    """Set `KERAS_BACKEND` for worker processes. Here the backend may be set in another way."""
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = keras.backend.backend()
    try:
        yield
    finally:
        del os.environ["KERAS_BACKEND"]
        if before is not None:
            os.environ["KERAS_BACKEND"] = before


def _run_on(required: str, config: Mapping[str, Any], run: Run, plan: _plan.TrialPlan) -> None:
    """Run a trial in a worker process, with the backend and the settings of the main process."""
    found = keras.backend.backend()
    if found != required:
        raise RuntimeError(
            f"a worker must run Keras on {required}; set KERAS_BACKEND there. Received: {found}"
        )
    for name, value in config.items():
        getattr(keras.config, f"set_{name}")(value)
    with backend.generators_preserved():  # Another thread may be building its model.
        refuse_what_exists()
        run_trial(run, plan)
