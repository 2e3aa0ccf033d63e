"""Train from several draws of the initial weights, stop the worst early, and keep the best."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_initx._checks import check_count
from keras_initx._extras import import_optional
from keras_initx._seeds import isolated_rng
from keras_initx.studies import _pool
from keras_initx.studies import _reuse as _state
from keras_initx.studies._data import checked_data
from keras_initx.studies._metric import BuildError, agreed, check_monitor, resolve_metric, sign
from keras_initx.studies._plan import Run, StagePlan, plan_checks, plan_rounds, plan_stage, run_settings, stage_key
from keras_initx.studies._records import (
    Arrays,
    Build,
    DamagedFileError,
    Data,
    Folder,
    Mode,
    Model,
    OnEpoch,
    RecordError,
    Settings,
    Status,
    Trial,
)
from keras_initx.studies._restart_study import RestartStudy
from keras_initx.studies._reuse import compiled_once, copies_dropped
from keras_initx.studies._trial import before_training, build_like_fit, diverged, new_model, train_epoch


def run_stage(run: Run, build: Build, plan: StagePlan, on_epoch: OnEpoch | None = None) -> None:
    """Train a draw from one epoch to another and record it. Exceptions are recorded too.

    Args:
        run: The parameters that all trials share.
        build: See `random_restarts`.
        plan: The stage.
        on_epoch: Function to call after each epoch.

    Raises:
        BuildError: If the trial could not be compared with others.
        RecordError: If a record does not reach the disk.
    """
    folder = Folder(run.path)
    with isolated_rng(), folder.begin(plan.key) as log:
        try:
            with compiled_once(initial(build, plan.draw_seed)) as model:
                if plan.previous:
                    restore(model, run.data, read_state(folder, plan.previous))
                else:
                    log.write(event="epoch", **before_training(model, run))
                status: Status = "finished"
                result: dict[str, Any] = {}
                for epoch in range(plan.begin + 1, plan.end + 1):
                    metrics = train_epoch(model, run.data, epoch, run.batch_size, plan.order_seed)
                    log.write(event="epoch", metrics={"epoch": epoch, **metrics})
                    if on_epoch:
                        on_epoch()
                    if diverged(metrics):
                        status = "diverged"
                        break
                if plan.keep_state:
                    content = _state.state(model)
                    result["state"] = _state.digest(content)
                    folder.keep(_state_file(plan.key, result["state"]), content)
                log.write(event="end", status=status, **result)
        except (BuildError, RecordError):
            raise
        except Exception as error:
            log.fail(error)


def initial(build: Build, seed: int) -> Model:
    """Return the untrained model of a draw."""
    keras.utils.set_random_seed(seed)
    return new_model(build)


def restore(model: Model, data: Arrays, state: bytes) -> None:
    """Restore a training state of a draw into its model."""
    build_like_fit(model, data)
    _state.restore(model, state)


def read_state(folder: Folder, key: str) -> bytes:
    """Return the final state of a stage.

    Raises:
        DamagedFileError: If the file is missing or damaged.
    """
    digest = folder.trial(key).end["state"]
    path = folder.path / "trials" / _state_file(key, digest)
    if not path.exists() or _state.digest(content := path.read_bytes()) != digest:
        raise DamagedFileError(f"{path} is missing or damaged")
    return content


def _state_file(key: str, digest: str) -> str:
    """Return a file name that depends on the content, because two runs in one folder may differ in the last bits."""
    return f"{key}.{digest[:16]}.state"


def random_restarts(
    build: Build,
    data: Data,
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
    search. This function sets the global seeds of NumPy and the backend.

    Args:
        build: Function without arguments that returns a new compiled model, whose initializers have no seeds.
        data: See `compare_initializers`.
        n: Number of draws.
        epochs: Number of epochs to train the best draws for.
        batch_size: Number of examples in a batch.
        seed: Integer, the root of all seeds.
        checks: Number of pairs of the chosen draw and another draw that measure the gain; 0 for
            none.
        n_jobs: See `compare_initializers`.
        out: See `compare_initializers`.
        title: See `compare_initializers`.
        monitor: See `compare_initializers`.
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
        TypeError: If an argument has the wrong type, for example data that are not arrays of numbers.
        ValueError: If an argument is invalid, for example inputs and targets of different lengths, if
            `mode` is required, or if `build` returns one model twice or models of different metrics.

    Example:
        >>> def build():
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x, y = keras.random.normal((2, 64, 4), seed=0), keras.random.normal((2, 64, 3), seed=1)
        >>> x, y = keras.ops.convert_to_numpy(x), keras.ops.convert_to_numpy(y)
        >>> best = random_restarts(build, ((x[0], y[0]), (x[1], y[1])), n=4, epochs=2, checks=0)
        >>> keras.utils.set_random_seed(best.seed)
        >>> initial = build()

    Reference:
        Karnin, Koren and Somekh, "Almost optimal exploration in multi-armed bandits", ICML 2013.
        Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
        AISTATS 2016.
    """
    arrays = checked_data(data)
    check_monitor(monitor, mode)
    _pool.check_jobs(n_jobs)
    check_count("n", n)
    if checks != 0:
        check_count("checks", checks)
    settings = {
        **run_settings(build, arrays, epochs, batch_size, seed, title),
        "n": int(n),
        "checks": int(checks),
    }
    if checks:
        import_optional("scipy.stats", "studies")  # The tests need it: fail now rather than after training.
    with tempfile.TemporaryDirectory() as temporary, copies_dropped():
        folder = Folder(out or temporary)
        folder.open("restarts", settings)
        run = Run(folder.path, arrays, settings["batch_size"], monitor, mode, stage_key(1, 1))

        def train(plans: Sequence[StagePlan], label: str) -> None:
            left = [plan for plan in plans if not folder.trial(plan.key).is_settled]
            _pool.run(functools.partial(run_stage, run, build), left, n_jobs, plans[0].end - plans[0].begin, label)

        _run_rounds(folder, settings, train, monitor, mode)
        # Of draws that are equally good, the one that the study shows first.
        chosen = RestartStudy.read(folder.path, monitor=monitor, mode=mode).draws[0]["draw"]
        if checks:
            train(plan_checks(settings, chosen), "checks")
        study = RestartStudy.read(folder.path, monitor=monitor, mode=mode)
        state = read_state(folder, stage_key(chosen, plan_rounds(settings)[-1].number))
        with isolated_rng():
            model = initial(build, study.seed)
            restore(model, arrays, state)
            return dataclasses.replace(study, model=model)


def _run_rounds(
    folder: Folder,
    settings: Settings,
    train: Callable[[Sequence[StagePlan], str], None],
    monitor: str | None,
    mode: Mode,
) -> None:
    """Run the rounds of successive halving."""
    draws = list(range(1, settings["n"] + 1))
    trials: dict[str, Trial] = {}
    for round_ in plan_rounds(settings):
        plans = {draw: plan_stage(settings, draw, round_) for draw in draws[: round_.size]}
        train(list(plans.values()), f"round {round_.number}")
        trials = agreed(trials | {plan.key: folder.trial(plan.key) for plan in plans.values()})
        draws = _ranked(trials, plans, monitor, mode)
        if not draws:
            errors = [trials[plan.key].end.get("error", "diverged") for plan in plans.values()]
            raise RuntimeError(f"no draw could be trained to the end of round {round_.number}: {errors[0]}")


def _ranked(trials: Mapping[str, Trial], plans: Mapping[int, StagePlan], monitor: str | None, mode: Mode) -> list[int]:
    """Return the draws that finished their stage, one of `plans`, best first.

    Args:
        trials: The trials of all rounds so far. The first round has the directions of the metrics.
        plans: The stages by draw.
        monitor: See `random_restarts`.
        mode: See `random_restarts`.
    """
    finished = {draw: trial for draw, plan in plans.items() if (trial := trials[plan.key]).status == "finished"}
    name, direction = resolve_metric(trials.values(), monitor, mode)
    return sorted(finished, key=lambda draw: -sign(direction) * finished[draw].epochs[-1][name])
