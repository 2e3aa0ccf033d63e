"""Train a model repeatedly with each of several initializers, under equal conditions."""

import functools
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_initx._checks import check_count, check_flag
from keras_initx._extras import import_optional
from keras_initx._seeds import seeded
from keras_initx.studies import _pool
from keras_initx.studies._data import checked_data
from keras_initx.studies._metric import check_monitor, check_threshold
from keras_initx.studies._plan import Run, fingerprint, plan_trials, run_settings
from keras_initx.studies._records import BuildWith, Data, Folder, Initializers, Mode
from keras_initx.studies._reuse import copies_dropped
from keras_initx.studies._study import Study
from keras_initx.studies._trial import run_trial


def compare_initializers(
    build: BuildWith,
    initializers: Initializers,
    data: Data,
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
    """Train a model repeatedly with each of several initializers, and test which differences are significant.

    Within a repeat, the conditions are the same for all initializers: the order of the examples and
    all other randomness in building and training are derived from the seed of that repeat. Trials
    of the same repeat therefore form pairs, which allows paired tests. This function sets the
    global seeds of NumPy and the backend.

    Args:
        build: Function that takes an initializer and returns a new compiled model. It gets a new
            initializer for each trial, which draws different values for each layer.
        initializers: List of string ids, or a dict from names to string ids, initializers without a
            seed, or dicts of them. Other values are passed to `build` unchanged.
        data: `((x, y), (x_val, y_val))`: training data and validation data. Arrays, tensors, pandas
            Series or DataFrames, or lists, tuples and dicts of them for models with several inputs.
            Each pair may have sample weights as a third member.
        repeats: Number of trials per initializer.
        epochs: Number of epochs per trial.
        batch_size: Number of examples in a batch.
        seed: Integer, the root of all seeds.
        n_jobs: Number of processes, as in joblib. A parallel backend set by
            `joblib.parallel_config`, such as `"dask"`, is used; its workers need access to the
            folder `out`.
        out: Folder in which each epoch is recorded as soon as it is finished. If it contains part
            of this study, the run resumes where it stopped. By default a temporary folder.
        title: Title of tables and plots.
        monitor: Name of the metric to compare by, e.g. `"val_loss"`. The number that Keras may add to a
            name is not needed, as in `"val_auc"` for `"val_auc_3"`. By default the first metric on the
            validation data in alphabetical order, or the validation loss if there is none.
        mode: `"max"` or `"min"`: whether larger or smaller values of the metric are better. `"auto"`
            knows this of losses and of the metrics of Keras. It is required for others.
        threshold: Value of the metric for "epochs to reach". By default 95 % of the way from the
            mean before training to the best mean at the end.
        diagnosis: Whether to run `diagnose` on the first batch of each trial.

    Returns:
        A `Study`.

    Raises:
        ImportError: If SciPy is not installed, or joblib for `n_jobs` other than 1.
        RecordError: If a record cannot be written, for example because the disk is full.
        SettingsError: If `out` contains a run with other settings.
        TypeError: If an argument has the wrong type, for example data that are not arrays of numbers.
        ValueError: If an argument is invalid, for example inputs and targets of different lengths, if
            `mode` is required, or if `build` returns one model twice or models of different metrics.

    Example:
        >>> def build(initializer):
        ...     layers = [keras.Input((4,)), keras.layers.Dense(3, kernel_initializer=initializer)]
        ...     model = keras.Sequential(layers)
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x, y = keras.random.normal((2, 64, 4), seed=0), keras.random.normal((2, 64, 3), seed=1)
        >>> x, y = keras.ops.convert_to_numpy(x), keras.ops.convert_to_numpy(y)
        >>> data = (x[0], y[0]), (x[1], y[1])
        >>> study = compare_initializers(build, ["zeros", "initx.he_normal"], data, repeats=2, epochs=1)
        >>> study
        <Study of 2 initializers, 4 trials: 4 finished>
        >>> [record["epoch"] for record in study.records]
        [0, 1, 0, 1, 0, 1, 0, 1]
    """
    named, arrays = _named(initializers), checked_data(data)
    check_monitor(monitor, mode)
    check_threshold(threshold)
    check_flag("diagnosis", diagnosis)
    _pool.check_jobs(n_jobs)
    settings = {
        **run_settings(build, arrays, epochs, batch_size, seed, title),
        "initializers": {name: fingerprint(initializer) for name, initializer in named.items()},
        "repeats": int(check_count("repeats", repeats)),
    }
    import_optional("scipy.stats", "studies")  # The tests need it: fail now rather than after training.
    with tempfile.TemporaryDirectory() as temporary, copies_dropped():
        folder = Folder(out or temporary)
        folder.open("compare", settings)
        plans = plan_trials(settings)
        run = Run(folder.path, arrays, settings["batch_size"], monitor, mode, plans[0].key)
        trials = [plan for plan in plans if not folder.trial(plan.key).is_settled]
        train = functools.partial(run_trial, run, build, named, settings["epochs"], diagnosis)
        _pool.run(train, trials, n_jobs, settings["epochs"], "compare")
        return Study.read(folder.path, monitor=monitor, mode=mode, threshold=threshold)


def _named(initializers: Initializers) -> dict[str, Any]:
    """Check `initializers` and return them as a dict by name."""
    if not isinstance(initializers, Mapping):
        required = (
            "`initializers` must be distinct string ids, or a dict from names to initializers. "
            f"Received: {initializers=!r}"
        )
        if isinstance(initializers, str) or not isinstance(initializers, Iterable):
            raise TypeError(required)
        initializers = list(initializers)
        if not all(isinstance(name, str) for name in initializers) or len(set(initializers)) < len(initializers):
            raise ValueError(required)
        initializers = {name: name for name in initializers}
    if not initializers:
        raise ValueError("`initializers` must not be empty. Received: initializers={}")
    for initializer in initializers.values():
        seeded(initializer, 0)
    named = {str(name): initializer for name, initializer in initializers.items()}
    if len(named) < len(initializers):
        raise ValueError(f"`initializers` must have names that differ as strings. Received: names {list(initializers)}")
    return named
