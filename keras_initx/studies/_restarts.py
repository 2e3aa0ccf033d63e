"""Train from several draws of the initial weights, stop the worst early, and keep the best."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from keras_initx._checks import check_count
from keras_initx._extras import needed
from keras_initx.studies import _pool
from keras_initx.studies._arrays import checked_data
from keras_initx.studies._folder import Folder, Trial
from keras_initx.studies._metric import agreed, check_monitor, resolve_metric, sign
from keras_initx.studies._plan import Run, StagePlan, plan_checks, plan_rounds, plan_stage, stage_key
from keras_initx.studies._restart_study import RestartStudy
from keras_initx.studies._reuse import copies_dropped
from keras_initx.studies._run_stage import initial, read_state, restore, run_stage
from keras_initx.studies._seeds import isolated_rng
from keras_initx.studies._settings import run_settings
from keras_initx.studies._types import Build, Data, Mode, Settings


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
        needed("scipy.stats", "studies")  # The tests need it: fail now rather than after training.
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
