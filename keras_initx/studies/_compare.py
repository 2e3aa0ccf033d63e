"""Train a model with several initializers, several times each, under equal conditions."""

import tempfile

import keras

from keras_initx._checks import check_count
from keras_initx.studies import _first_batch, _pool
from keras_initx.studies._arrays import checked_data
from keras_initx.studies._folder import Folder
from keras_initx.studies._log import RecordError
from keras_initx.studies._monitor import MonitorError, check_mode, check_monitor
from keras_initx.studies._seeds import alone, derived_seed, seeded
from keras_initx.studies._settings import identity, run_settings
from keras_initx.studies._study import Study
from keras_initx.studies._training import diverged, judge, train_epoch


def compare(
    build,
    initializers,
    data,
    repeats=5,
    epochs=10,
    *,
    batch_size=32,
    seed=0,
    n_jobs=1,
    out=None,
    title=None,
    monitor=None,
    mode="auto",
    threshold=None,
):
    """Compare initializers: train a model with each of them, several times, and judge the differences.

    In repeat `r` every initializer meets the same conditions: the order of the examples, and whatever else is
    random in building and training, follow from the seed of that repeat. So the repeats are pairs, and what an
    initializer wins or loses in each pair is what the tests look at. Sets NumPy's and the backend's global seeds.

    Args:
        build: Function of an initializer that returns a compiled model. It gets a new initializer for each
            trial, which gives each layer a draw of its own.
        initializers: String ids, or a dict from names to string ids, initializers without a seed, or dicts of
            them; anything else reaches `build` as it is.
        data: `((x, y), (x_val, y_val))`: what to train on, and what to evaluate on. Arrays, tensors, pandas Series
            or DataFrames, or lists, tuples and dicts of them for models with several inputs. Weights of the examples
            may follow the targets in each pair.
        repeats: Number of trials of each initializer.
        epochs: Number of epochs of each trial.
        batch_size: Number of examples in a batch.
        seed: Integer, the root of all seeds.
        n_jobs: Number of processes, as joblib has it. A parallel backend set by `joblib.parallel_config`
            is used, as `"dask"`; its workers must see the folder `out`.
        out: Folder in which every epoch is recorded as soon as it is finished. If it holds part of this
            study, what is finished is not run again. By default a temporary one.
        title: What tables and figures call the study.
        monitor: Name of the figure to judge by, as `"val_loss"`; by default the first metric on the
            validation data, or the loss if there is none.
        mode: `"max"` or `"min"`, whether the greatest or the least value of it is best; `"auto"` goes by the name.
        threshold: Value of it for "epochs to reach"; by default 95 % of the way from the mean before training
            to the best mean at the end.

    Returns:
        A `Study`.

    Raises:
        ImportError: If `n_jobs` is not 1 and joblib is missing.
        RecordError: If a record cannot be written, as on a full disk.
        SettingsError: If `out` holds a run with other settings.
        TypeError: If an argument has the wrong type, as data that are no arrays of numbers.
        ValueError: If an argument is not as described, as inputs and targets of different lengths.

    Example:
        >>> def build(initializer):
        ...     layers = [keras.Input((4,)), keras.layers.Dense(3, kernel_initializer=initializer)]
        ...     model = keras.Sequential(layers)
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x, y = keras.random.normal((2, 64, 4), seed=0), keras.random.normal((2, 64, 3), seed=1)
        >>> x, y = keras.ops.convert_to_numpy(x), keras.ops.convert_to_numpy(y)
        >>> data = (x[0], y[0]), (x[1], y[1])
        >>> study = compare(build, ["zeros", "initx.he_normal"], data, repeats=2, epochs=1)
        >>> [record["epoch"] for record in study.records]
        [0, 1, 0, 1, 0, 1, 0, 1]
    """
    initializers, data = _named(initializers), checked_data(data)
    check_mode(mode)
    settings = {
        **run_settings(build, data, epochs, batch_size, seed, title),
        "initializers": {name: identity(initializer) for name, initializer in initializers.items()},
        "repeats": check_count("repeats", repeats),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(out or temporary)
        folder.open("compare", settings)
        common = {
            "path": folder.path,
            "build": build,
            "data": data,
            "epochs": epochs,
            "batch_size": batch_size,
            "monitor": monitor,
        }
        tasks = [
            {"key": key, "initializer": initializers[name], "seed": derived_seed(seed, "repeat", repeat), **common}
            for key, name, repeat in keys(settings)
            if not folder.trial(key).is_settled
        ]
        _pool.run(run_trial, tasks, n_jobs, epochs, "compare")
        return Study.read(folder.path, monitor=monitor, mode=mode, threshold=threshold)


def _named(initializers):
    """Return `initializers` as a dict, after a look at each."""
    if not isinstance(initializers, dict):
        initializers = list(initializers)
        if not all(isinstance(name, str) for name in initializers) or len(set(initializers)) < len(initializers):
            raise ValueError(
                "`initializers` must be different string ids, or a dict that gives each initializer a name. "
                f"Received: initializers={initializers!r}"
            )
        initializers = {name: name for name in initializers}
    if not initializers:
        raise ValueError("`initializers` must not be empty. Received: initializers={}")
    for initializer in initializers.values():
        seeded(initializer, 0)
    named = {str(name): initializer for name, initializer in initializers.items()}
    if len(named) < len(initializers):
        raise ValueError(f"`initializers` must have names that differ as strings. Received: names {list(initializers)}")
    return named


def keys(settings):
    """Return key, initializer and repeat of each trial, one repeat of all initializers after the other."""
    names = list(settings["initializers"])
    return [(f"{names.index(name)}-{r}", name, r) for r in range(1, settings["repeats"] + 1) for name in names]


def run_trial(key, path, build, initializer, data, epochs, batch_size, seed, monitor=None, on_epoch=None):
    """Train one model and record it, whatever happens.

    Args:
        key: Name of the trial in the folder.
        path: Path of the folder.
        build: See `compare`.
        initializer: The initializer.
        data: See `compare`.
        epochs: See `compare`.
        batch_size: See `compare`.
        seed: Seed of the repeat.
        monitor: See `compare`.
        on_epoch: Function to call after each epoch.

    Raises:
        MonitorError: If the model has no figure called `monitor`.
        RecordError: If a record does not reach the disk.
    """
    with alone(), Folder(path).begin(key) as log:
        try:
            # Before the global seed is set: what `build` draws from it must not depend on the initializer.
            initializer = seeded(initializer, derived_seed(seed, "draw"))
            keras.utils.set_random_seed(derived_seed(seed, "build"))
            model = build(initializer)
            order = derived_seed(seed, "train")
            status, figures, epoch = "finished", judge(model, data), 0
            check_monitor(monitor, figures)
            log.write(event="first batch", found=_first_batch.look(model, data, batch_size, order))
            while True:
                log.write(event="epoch", figures={"epoch": epoch, **figures})
                if epoch and on_epoch:
                    on_epoch()
                if diverged(figures):
                    status = "diverged"
                if diverged(figures) or epoch == epochs:
                    break
                epoch += 1
                figures = train_epoch(model, data, epoch, batch_size, order)
            log.write(event="end", status=status)
        except (MonitorError, RecordError):
            raise
        except Exception as error:
            log.fail(error)
