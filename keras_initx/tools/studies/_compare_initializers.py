"""Compare initializers: train a model with each, repeatedly and under equal conditions."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras

from keras_initx._checks import check_count, check_number
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx.backends._current import backend
from keras_initx.initializers._seeds import (
    derived_seed,
    initializers_within,
    resolve_initializer,
    seed_initializer,
    takes_seed,
)
from keras_initx.report._terminal import Verbose, takes_verbose
from keras_initx.tools.studies._engine import Engine, check_build, repeats_of
from keras_initx.tools.studies._settings import Settings
from keras_initx.tools.studies._study import Study
from keras_initx.tools.studies._trial import Job
from keras_initx.tools.studies._types import DataLike, Mode

# Takes an initializer, or another value of `initializers`.
BuildWith: TypeAlias = Callable[[Any], keras.Model]
Initializers: TypeAlias = Sequence[str] | Mapping[str, Any]


@shorten_signature
@takes_verbose
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
    verbose: Verbose = "auto",
) -> Study:
    """Train a model repeatedly with each of several initializers, and test their differences.

    Use it to find out if an initializer is better for your model and data. Within a repeat, the
    conditions are the same for all initializers: the seed of the repeat decides the order of the
    examples and all other randomness in building and training. Trials of the same repeat therefore
    form pairs, which allows paired tests. This function sets the global seed of TensorFlow.

    Args:
        build: Function that takes an initializer and returns a new compiled model. It gets a new
            initializer for each trial, which draws different values for each layer.
        initializers: List of string ids, or a dict from names to string ids, initializers without a
            seed, configs of them, or dicts of these. Your `build` gets other values, and
            initializers that take no seed, unchanged.
        data: `((x, y), (x_val, y_val))`: training data and validation data. Arrays, tensors, pandas
            Series or DataFrames, or lists, tuples and dicts of them. Each pair may have sample
            weights as a third member. `y` is `None` for a model without targets.
        repeats: Number of trials per initializer.
        epochs: Number of epochs per trial.
        batch_size: Number of examples in a batch of training. Evaluation takes four times as many,
            unless the model has batches of a fixed size.
        seed: Integer, the root of all seeds.
        n_jobs: Number of processes, see joblib. You can set a parallel backend, such as `"dask"`,
            by `joblib.parallel_config`.
        out: Local or mounted folder for the finished trials. Trials that it contains do not run
            again, even if you add repeats or initializers. By default nothing is kept.
        title: Title of tables and plots.
        monitor: Name of the metric to compare by, e.g. `"val_loss"`. You can leave out a number
            that Keras adds, for example `"val_auc"` for `"val_auc_3"`. By default the first metric
            on the validation data in alphabetical order, or the validation loss if there is none.
        mode: `"max"` or `"min"`: whether larger or smaller values of the metric are better.
            `"auto"` works for losses and for the metrics of Keras. For other metrics, you must
            choose.
        threshold: Value of the metric for "epochs to reach". By default 95 % of the way from the
            mean before training to the best mean at the end.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        A `Study`.

    Raises:
        ImportError: If joblib is not installed, for `n_jobs` other than 1.
        OSError: If a trial cannot be kept, for example because the disk is full.
        RuntimeError: If all trials failed.
        SettingsError: If `out` contains a study with other settings.
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
        >>> [record["epoch"] for record in study.rows]
        [0, 1, 0, 1, 0, 1, 0, 1]

    See Also:
        `random_restarts` searches a good draw of one initializer. `diagnose` finds problems of a
        model before training. The page "Studies" shows how to
        read tables and plots.
    """
    check_build(build, "initializer")
    named = _check_initializers(initializers)
    if threshold is not None:
        check_number("threshold", threshold)
    repeats = int(check_count("repeats", repeats))
    given = Settings.checked(
        data,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        n_jobs=n_jobs,
        out=out,
        title=title,
        monitor=monitor,
        mode=mode,
    )
    job = Job(functools.partial(_build_model, build), given, must_begin_finite=True)
    engine = Engine("initializers", build, job)
    trials = engine.run(named, repeats_of(given.seed, repeats), "initializers")
    settings = {
        **engine.shared,
        "initializers": list(named),
        "unseeded": _without_seeds(named),
        "repeats": repeats,
        "not_compared": engine.not_compared,
    }
    return Study(engine.title, settings, trials, *engine.metric(trials), threshold)


def _build_model(build: BuildWith, initializer: Any, seed: int) -> keras.Model:
    # Before the global seed is set: the draws of `build` must not depend on the initializer.
    initializer = seed_initializer(initializer, derived_seed(seed, "draw"))
    keras.utils.set_random_seed(derived_seed(seed, "build"))
    return build(initializer)


def _check_initializers(initializers: Initializers) -> dict[str, Any]:
    """Check `initializers` and return them as a dict by name."""
    if not isinstance(initializers, Mapping):
        required = (
            "`initializers` must be distinct string ids, or a dict from names to initializers. "
            f"Received: initializers={show(initializers)}"
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
            seed_initializer(initializer, 0)  # an error now rather than in the first trial
    named = {str(name): initializer for name, initializer in initializers.items()}
    if len(named) < len(initializers):
        raise ValueError(
            "`initializers` must have names that differ as strings. "
            f"Received: names {list(initializers)}"
        )
    return named


def _without_seeds(named: dict[str, Any]) -> list[str]:
    """Name the initializers that may draw, and take no seed."""
    # An initializer that is made draws a seed from Python's generator.
    with backend.generators_preserved():
        return [name for name, initializer in named.items() if _draws_without_seed(initializer)]


# Packages of which all initializers that draw take a seed.
_KNOWN = "keras", "keras_initx"


def _draws_without_seed(initializer: Any) -> bool:
    """Return whether an initializer of the user, which may draw, has no argument `seed`."""
    initializer = resolve_initializer(initializer)
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
