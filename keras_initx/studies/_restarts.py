"""Train several draws of the initial weights, stop the worse ones early, and keep the best."""

import math
import tempfile

from keras_initx._checks import check_count
from keras_initx.studies import _pool
from keras_initx.studies._arrays import checked_data
from keras_initx.studies._folder import Folder
from keras_initx.studies._monitor import check_mode, resolved
from keras_initx.studies._race import Race
from keras_initx.studies._seeds import alone, derived_seed
from keras_initx.studies._settings import run_settings
from keras_initx.studies._stage import read_state, restored, run_stage


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
        followed by `build()` gives the initial model again; the weights of one without an `Input` are drawn when it
        first sees data.

    Raises:
        ImportError: If `n_jobs` is not 1 and joblib is missing.
        RecordError: If a record cannot be written, as on a full disk.
        RuntimeError: If no draw could be trained to its end.
        SettingsError: If `out` holds a run with other settings.
        TypeError: If an argument has the wrong type, as data that are no arrays of numbers.
        ValueError: If an argument is not as described, as inputs and targets of different lengths.

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
    check_mode(mode)
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
        common = {
            "path": folder.path,
            "build": build,
            "data": data,
            "batch_size": batch_size,
            "monitor": monitor,
        }

        def run(tasks, epochs, label):
            tasks = [{**task, **common} for task in tasks if not folder.trial(task["key"]).is_settled]
            _pool.run(run_stage, tasks, n_jobs, epochs, label)

        chosen = _run_rounds(folder, settings, run, monitor, mode)
        run(_check_tasks(settings, chosen), epochs, "checks")
        race = Race.read(folder.path, monitor=monitor, mode=mode)
        state = read_state(folder, f"draw{chosen}-{len(rounds(n, epochs))}")
        with alone():
            race.model = restored(build, race.seed, data, state)
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
