"""The engine of all studies: it runs the trials that are not in the folder yet."""

import contextlib
import dataclasses
import importlib
import inspect
import itertools
import os
import pickle
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras

from keras_initx._extras import import_optional
from keras_initx._keras import name_counts
from keras_initx._received import show
from keras_initx.backends._current import backend
from keras_initx.backends._process import SharedByThreads
from keras_initx.initializers._seeds import derived_seed
from keras_initx.report._terminal import show_progress
from keras_initx.tools.studies._folder import Folder, keras_config, shared_settings
from keras_initx.tools.studies._metric import renamed, resolve_metric
from keras_initx.tools.studies._trial import Job, Repeat, refuse_what_exists, trial
from keras_initx.tools.studies._types import Direction, Record

# The name of an arm, and the number of a repeat from 1.
Key = tuple[str, int]


class Engine:
    """Runs the trials of a study.

    Args:
        kind: The name of the kind of study.
        build: The user's `build`. It distinguishes this study from others.
        job: The job of each trial.

    Attributes:
        title: The title of the study.
        shared: The settings that all its trials share, as JSON types.
        job: See above.
    """

    def __init__(self, kind: str, build: Any, job: Job) -> None:
        settings = job.settings
        self.title: str = settings.title or _describe_build(build)
        self.shared = shared_settings(kind, build, settings)
        # What `build` takes from outside has names that no trial may give again.
        self.job = job._replace(names=name_counts())
        self._folder = Folder(settings.out, self.shared)

    @property
    def not_compared(self) -> list[str]:
        """The settings that cannot be compared with the folder, each with the reason."""
        return list(self._folder.not_compared)

    def run(
        self,
        arms: Mapping[str, Any],
        repeats: Mapping[int, Repeat],
        label: str,
        epochs: int | None = None,
    ) -> dict[Key, Record]:
        """Run each arm in each repeat, with a progress bar, and return the records.

        Finished trials are read from the folder. Others, and those that failed, are run.

        Args:
            arms: The arguments of `build`, by name.
            repeats: The seeds of the repeats, by number.
            label: Label of the progress bar.
            epochs: Number of epochs to train for, by default the number of the study.

        Raises:
            BuildError: If the trials cannot be compared.
            OSError: If a record cannot be written.
            RuntimeError: If all trials failed.
            SettingsError: If the folder has another arm of one of these names.
            ValueError: If the file of a trial has other JSON.
        """
        job = self.job
        if epochs is not None:
            job = job._replace(settings=dataclasses.replace(job.settings, epochs=epochs))
        keys = [(name, number) for number, name in itertools.product(repeats, arms)]
        found: dict[Key, Record] = {}
        calls = {}
        for name, number in keys:
            record = self._folder.read(name, arms[name], number)
            if record is None:
                calls[name, number] = _TrialCall(job, arms[name], repeats[number])
            else:
                found[name, number] = record
        first = next(iter(found.values()), None)
        if calls:
            with show_progress(label, len(calls), "trials") as advance:
                for (name, number), record in _records(calls, job.settings.n_jobs):
                    if record["status"] != "failed":
                        first = first or record
                        renamed(record, first)  # an error now rather than after training
                        self._folder.write(name, arms[name], number, record)
                    found[name, number] = record
                    advance(1)
        if first is None:
            raise RuntimeError(
                f"{len(keys)} of {len(keys)} trials failed, the first with this error:\n"
                f"{found[keys[0]]['traceback']}"
            )
        return use_common_metric_names({key: found[key] for key in keys})

    def metric(self, trials: Mapping[Any, Record]) -> tuple[str, Direction]:
        """Find the name and the direction of the metric to compare by.

        Args:
            trials: The result of `run`.
        """
        trained = next(trial for trial in trials.values() if trial["status"] != "failed")
        settings = self.job.settings
        return resolve_metric(trained, settings.monitor, settings.mode)


def _describe_build(build: Any) -> str:
    """Name a function, or the class of an object."""
    build = getattr(build, "func", build)  # of a partial
    named = build if hasattr(build, "__qualname__") else type(build)
    return f"{named.__module__}.{named.__qualname__}"


def use_common_metric_names(records: Mapping[Key, Record]) -> dict[Key, Record]:
    """Rename the metrics of `records` as they are in the first that was trained."""
    result = dict(records)
    trained = [key for key, record in records.items() if record["status"] != "failed"]
    for key in trained:
        result[key] = renamed(records[key], records[trained[0]])
    return result


class _TrialCall(NamedTuple):
    """The arguments of `trial`."""

    job: Job
    arm: Any
    repeat: Repeat


def _records(calls: Mapping[Key, _TrialCall], n_jobs: int) -> Iterator[tuple[Key, Record]]:
    """Yield the records of trials, each as soon as it ends."""
    if n_jobs == 1:
        for key, call in calls.items():
            yield key, trial(*call)
        return
    joblib = import_optional("joblib", "studies")
    if n_jobs > 0:
        n_jobs = min(n_jobs, len(calls))
    own_backend, config = keras.backend.backend(), keras_config()
    with _backend_of_workers:
        parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        # Threads copy nothing.
        if not getattr(parallel._backend, "supports_sharedmem", False):
            _check_picklable(calls)
        worker = joblib.delayed(_run_elsewhere)
        yield from parallel(worker(own_backend, config, *item) for item in calls.items())


def _check_picklable(calls: Mapping[Key, _TrialCall]) -> None:
    """Raise `TypeError` if `build` or an arm cannot be sent, for which Dask waits for ever."""
    # What joblib itself takes.
    reduction = importlib.import_module("joblib.externals.loky.backend.reduction")
    sent: dict[int, Any] = {}
    for call in calls.values():
        sent |= {id(call.job.make): call.job.make, id(call.arm): call.arm}
    try:
        for part in sent.values():
            reduction.dumps(part)
    except (TypeError, ValueError, AttributeError, RecursionError, pickle.PicklingError) as error:
        raise TypeError(
            "`build` and its arguments must be picklable for `n_jobs` other than 1: use functions "
            f"of a module, or functions that only refer to objects that can be copied. {error}"
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


def _run_elsewhere(
    required: str, config: Mapping[str, Any], key: Key, call: _TrialCall
) -> tuple[Key, Record]:
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
        return key, trial(*call)


def repeats_of(seed: int, count: int) -> dict[int, Repeat]:
    """Derive the seeds of the repeats of a comparison, by number."""
    found = {}
    for number in range(1, count + 1):
        own = derived_seed(seed, "repeat", number)
        found[number] = Repeat(own, derived_seed(own, "train"))
    return found


def check_build(build: Any, *names: str) -> None:
    """Raise `TypeError` unless `build` is a function of arguments that are called `names`."""
    arguments = ", ".join(names)
    example = f"lambda {arguments}".strip()
    required = (
        f"`build` must be a function that returns a new compiled model, such as `{example}: "
        f"network({arguments})`. Received: build={show(build)}"
    )
    # A model can be called too.
    if not callable(build) or isinstance(build, keras.Layer):
        raise TypeError(required)
    try:
        signature = inspect.signature(build, follow_wrapped=False)
    except ValueError:  # that of a built-in function may be unknown
        return
    try:
        signature.bind(*names)
    except TypeError as error:
        raise TypeError(f"{required}, which takes other arguments: {error}") from None
