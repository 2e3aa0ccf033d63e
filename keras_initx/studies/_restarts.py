"""Train a model from several draws of its weights, and keep the best, by successive halving."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import keras

from keras_initx._checks import check_count
from keras_initx._extras import import_optional
from keras_initx._seeds import derived_seed
from keras_initx.backends import backend
from keras_initx.studies._data import checked_data
from keras_initx.studies._engine import (
    Key,
    alike,
    check_build,
    check_jobs,
    checked_counts,
    name_of,
    run,
)
from keras_initx.studies._folder import Folder, shared_settings
from keras_initx.studies._metric import check_monitor, metric_of, sign
from keras_initx.studies._restart_study import RestartStudy, ranked_draws
from keras_initx.studies._trial import Job, Repeat, new_model, train
from keras_initx.studies._types import DataLike, Mode, Record

__all__ = ["random_restarts"]

Build: TypeAlias = Callable[[], keras.Model]


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

    Uses successive halving: all draws are trained for a few epochs, the better half of them anew
    for twice as many, and so on, until the last two have been trained for `epochs`. All draws see
    the same examples in the same order. At last the chosen draw is trained once more, for its
    model.

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
        OSError: If a trial cannot be kept, for example because the disk is full.
        RuntimeError: If no draw finished a round of training.
        SettingsError: If `out` contains a study with other settings.
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
    check_build(build)
    arrays = checked_data(data)
    check_monitor(monitor, mode)
    check_jobs(n_jobs)
    n = int(check_count("n", n))
    checks = int(check_count("checks", checks, least=0))
    counts = checked_counts(epochs, batch_size, seed)
    epochs, seed = counts["epochs"], counts["seed"]
    title = name_of(build, title)
    if checks:
        # The tests need it: fail now rather than after training.
        import_optional("scipy.stats", "studies")
    shared = shared_settings("restarts", build, arrays, **counts)
    folder = Folder(out, shared)
    make = functools.partial(_drawn, build)
    job = Job(make, arrays, epochs, counts["batch_size"], monitor, mode)
    # All draws see the examples in one order. None is made by the seed of a repeat.
    repeat = Repeat(model=seed, training=derived_seed(seed, "train"))

    trials: dict[Key, Record] = {}
    draws: dict[int, Record] = {}
    for draw in range(1, n + 1):
        draws[draw] = {"draw": draw, "seed": derived_seed(seed, "draw", draw), "epochs": []}
    left = list(draws)
    for end, size in rounds(n, epochs).items():
        names = {draw: f"draw {draw} for {end} epochs" for draw in left[:size]}
        arms = {name: draws[draw]["seed"] for draw, name in names.items()}
        label = f"restarts, to epoch {end}"
        new = run(job._replace(epochs=end), arms, {1: repeat}, folder, n_jobs, label)
        trials = alike(trials | new)  # the first round has the names of the metrics
        metric, direction = metric_of(trials.values(), monitor, mode)
        scores = {}
        for draw, name in names.items():
            trial = trials[name, 1]
            draws[draw] |= {"status": trial["status"]}
            if "epochs" in trial:
                draws[draw]["epochs"] = trial["epochs"]
            if trial["status"] == "finished":
                scores[draw] = sign(direction) * trial["epochs"][-1][metric]
        if not scores:
            raise RuntimeError(f"no draw could be trained for {end} epochs without divergence")
        left = sorted(scores, key=lambda draw: -scores[draw])
    ranked = ranked_draws(draws.values(), metric, direction)
    chosen = ranked[0]

    pairs = []
    if checks:
        own, other = f"draw {chosen['draw']}, checked", f"none of {n} draws"
        repeats = {}
        for number in range(1, checks + 1):
            repeats[number] = Repeat(
                model=derived_seed(seed, "draw", n + number),
                training=derived_seed(seed, "check", number),
            )
        arms = {own: chosen["seed"], other: None}
        new = run(job, arms, repeats, folder, n_jobs, "restarts, checks")
        trials = alike(trials | new)
        for number in repeats:
            pair = [trials[name, number] for name in (own, other)]
            if all(trial["status"] == "finished" for trial in pair):
                one, another = (trial["epochs"][-1][metric] for trial in pair)
                pairs.append((one, another))

    with backend.generators_preserved():
        model = new_model(job, chosen["seed"], repeat)
        train(model, job, repeat, {})
    settings = {**shared, "n": n, "checks": checks}
    return RestartStudy(title, settings, ranked, pairs, metric, direction, model)


def _drawn(build: Build, seed_of_draw: int | None, seed: int) -> keras.Model:
    """Return the model of a draw, or for `None` that of another draw in each repeat."""
    keras.utils.set_random_seed(seed if seed_of_draw is None else seed_of_draw)
    return build()


def rounds(n: int, epochs: int) -> dict[int, int]:
    """Return the number of draws in each round of halving, by its number of epochs."""
    halvings = max(0, math.ceil(math.log2(n)) - 1)
    sizes: dict[int, int] = {}
    for i in range(halvings + 1):
        # With too few epochs to halve, there are fewer rounds.
        sizes.setdefault(math.ceil(epochs / 2 ** (halvings - i)), math.ceil(n / 2**i))
    return sizes
