"""Train several draws of the initial weights, stop the worse ones early, and keep the best."""

import math
import tempfile

import keras

from keras_initx.initializers._checks import check_count
from keras_initx.studies import _pool, _state
from keras_initx.studies._folder import Folder
from keras_initx.studies._log import DamagedFileError
from keras_initx.studies._monitor import resolved
from keras_initx.studies._race import Race
from keras_initx.studies._seeds import alone, derived_seed
from keras_initx.studies._settings import checked_data, run_settings
from keras_initx.studies._training import diverged, judge, train_epoch


def restarts(
    build,
    data,
    n=10,
    epochs=10,
    *,
    batch_size=32,
    seed=0,
    checks=3,
    n_jobs=1,
    out=None,
    title=None,
    monitor=None,
    mode="auto",
):
    """Train a model from several draws of its initial weights, and return the best.

    Successive halving: all draws are trained for a few epochs, the better half of them for twice as many, and
    so on, until the last two have been trained for `epochs`. All see the same examples in the same order.

    The best of `n` looks better than it is: part of what it won by is luck. So the chosen draw is trained again
    with the examples in other orders, and beside it draws that took no part. Sets NumPy's and the backend's global
    seeds.

    Args:
        build: Function without arguments that returns a compiled model, whose initializers have no seeds.
        data: See `compare`.
        n: Number of draws.
        epochs: Number of epochs that the best draws are trained for.
        batch_size: Number of examples in a batch.
        seed: Integer, the root of all seeds.
        checks: Number of pairs, of the chosen draw and another, by which the gain is measured; 0 for none.
        n_jobs: See `compare`.
        out: See `compare`.
        title: See `compare`.
        monitor: See `compare`.
        mode: See `compare`.

    Returns:
        A `Race`; its `model` is the trained one, its `seed` that of the draw. `keras.utils.set_random_seed(seed)`
        followed by `build()` gives the initial model again.

    Raises:
        ImportError: If `n_jobs` is not 1 and joblib is missing.
        RuntimeError: If no draw could be trained to its end.
        SettingsError: If `out` holds a run with other settings.
        ValueError: If an argument is not as described.

    Example:
        >>> def build():
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x, y = keras.random.normal((2, 64, 4), seed=0), keras.random.normal((2, 64, 3), seed=1)
        >>> x, y = keras.ops.convert_to_numpy(x), keras.ops.convert_to_numpy(y)
        >>> best = restarts(build, ((x[0], y[0]), (x[1], y[1])), n=4, epochs=2, checks=0)
        >>> keras.utils.set_random_seed(best.seed)
        >>> initial = build()

    Reference:
        Karnin, Koren and Somekh, "Almost optimal exploration in multi-armed bandits", ICML 2013.
        Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
        AISTATS 2016.
    """
    data = checked_data(data)
    if checks:
        check_count("checks", checks)
    settings = {
        **run_settings(build, data, epochs, batch_size, seed, title),
        "n": check_count("n", n),
        "checks": checks,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(out or temporary)
        folder.open("restarts", settings)
        common = {"path": folder.path, "build": build, "data": data, "batch_size": batch_size}

        def run(tasks, epochs, label):
            tasks = [{**task, **common} for task in tasks if not folder.trial(task["key"]).is_settled]
            _pool.run(run_stage, tasks, n_jobs, epochs, label)

        chosen = _run_rounds(folder, settings, run, monitor, mode)
        run(_check_tasks(settings, chosen), epochs, "checks")
        race = Race.read(folder.path, monitor=monitor, mode=mode)
        with alone():
            race.model = _initial(build, race.seed)
        _state.restore(race.model, read_state(folder, f"draw{chosen}-{len(rounds(n, epochs))}"))
        return race


def rounds(n, epochs):
    """Return for each round the number of draws in it, and the epoch up to which they are trained."""
    halvings = max(0, math.ceil(math.log2(n)) - 1)
    plan: dict[int, int] = {}
    for i in range(halvings + 1):
        # Where there are too few epochs to halve them, fewer rounds do.
        until = math.ceil(epochs / 2 ** (halvings - i))
        plan.setdefault(until, math.ceil(n / 2**i))
    return [(count, until) for until, count in plan.items()]


def draw_seed(settings, number):
    """Return the seed of the draw of this number, 1 for the first."""
    return derived_seed(settings["seed"], "draw", number)


def _run_rounds(folder, settings, run, monitor, mode):
    """Train all draws, then fewer and fewer, and return the number of the best."""
    left, begin = list(range(1, settings["n"] + 1)), 0
    for i, (size, until) in enumerate(rounds(settings["n"], settings["epochs"]), 1):
        left = left[:size]
        tasks = [
            {
                "key": f"draw{number}-{i}",
                "before": f"draw{number}-{i - 1}" if begin else None,
                "draw": draw_seed(settings, number),
                "order": derived_seed(settings["seed"], "train"),
                "begin": begin,
                "end": until,
                "keep": True,
            }
            for number in left
        ]
        run(tasks, until - begin, f"round {i}")
        left, begin = standings(folder, left, i, monitor, mode), until
        if not left:
            errors = [folder.trial(task["key"]).end.get("error", "diverged") for task in tasks]
            raise RuntimeError(f"no draw could be trained to the end of round {i}: {errors[0]}")
    return left[0]


def standings(folder, numbers, i, monitor, mode):
    """Return those of the draws that came to the end of round `i`, the best first."""
    trials = {number: folder.trial(f"draw{number}-{i}") for number in numbers}
    trials = {number: trial for number, trial in trials.items() if trial.status == "finished"}
    monitor, mode = resolved(trials.values(), monitor, mode)
    return sorted(trials, key=lambda n: trials[n].epochs[-1][monitor] * (-1 if mode == "max" else 1))


def _check_tasks(settings, chosen):
    """Return the tasks of pairs: the chosen draw and one that took no part, both with the same new order."""
    return [
        {
            "key": f"check{i}-{who}",
            "before": None,
            "draw": draw_seed(settings, number),
            "order": derived_seed(settings["seed"], "check", i),
            "begin": 0,
            "end": settings["epochs"],
            "keep": False,
        }
        for i in range(1, settings["checks"] + 1)
        for who, number in (("chosen", chosen), ("other", settings["n"] + i))
    ]


def _initial(build, seed):
    keras.utils.set_random_seed(seed)
    return build()


def read_state(folder, key):
    """Return the state at the end of a stage.

    Raises:
        DamagedFileError: If the file is missing, or not as it was written.
    """
    path = folder.path / "trials" / f"{key}.state"
    if not path.exists() or _state.digest(content := path.read_bytes()) != folder.trial(key).end["state"]:
        raise DamagedFileError(f"{path} is missing, or not as it was written")
    return content


def run_stage(key, path, build, data, batch_size, before, draw, order, begin, end, keep, on_epoch=None):
    """Train a draw from one epoch to another and record it, whatever happens.

    Args:
        key: Name of the trial in the folder.
        path: Path of the folder.
        build: See `restarts`.
        data: See `restarts`.
        batch_size: See `restarts`.
        before: Name of the trial that this goes on from, or `None`.
        draw: Seed of the draw.
        order: Seed of the examples' order.
        begin: Number of epochs that it has been trained for.
        end: Number of epochs that it will have been trained for.
        keep: Whether to keep the state at the end.
        on_epoch: Function to call after each epoch.
    """
    folder = Folder(path)
    with alone(), folder.begin(key) as log:
        try:
            model = _initial(build, draw)
            if before:
                _state.restore(model, read_state(folder, before))
            else:
                log.write(event="epoch", figures={"epoch": 0, **judge(model, data)})
            status, result = "finished", {}
            for epoch in range(begin + 1, end + 1):
                figures = train_epoch(model, data, epoch, batch_size, order)
                log.write(event="epoch", figures={"epoch": epoch, **figures})
                if on_epoch:
                    on_epoch()
                if diverged(figures):
                    status = "diverged"
                    break
            if keep:
                content = _state.state(model)
                folder.keep(f"{key}.state", content)
                result["state"] = _state.digest(content)
            log.write(event="end", status=status, **result)
        except Exception as error:
            log.fail(error)
