"""Run tasks sequentially or in several processes, with a progress bar."""

import numbers
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_initx._extras import import_optional
from keras_initx.rendering._terminal import progress


def check_jobs(n_jobs: Any) -> None:
    """Raise `TypeError` or `ValueError` unless `n_jobs` is a number of processes, as in joblib."""
    required = f"`n_jobs` must be an integer other than 0. Received: {n_jobs=!r}"
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral):
        raise TypeError(required)
    if n_jobs == 0:
        raise ValueError(required)


def run(function: Callable[..., None], tasks: Sequence[Any], n_jobs: int, epochs: int, label: str) -> None:
    """Call `function` once for each task.

    Args:
        function: A module-level function, or a `functools.partial` of one. In this process it also
            gets `on_epoch`, a function to call after each epoch.
        tasks: Its arguments, one for each call.
        n_jobs: Number of processes, as in joblib. With 1, joblib is not needed.
        epochs: Number of epochs per task.
        label: Label of the progress bar.
    """
    if not tasks:
        return
    with progress(label, epochs * len(tasks), "epochs") as advance:
        if n_jobs == 1:
            for task in tasks:
                _run_here(function, task, epochs, advance)
        else:
            _run_elsewhere(function, tasks, n_jobs, epochs, advance)


def _run_here(function: Callable[..., None], task: Any, epochs: int, advance: Callable[[int], None]) -> None:
    done = 0

    def on_epoch() -> None:
        nonlocal done
        done += 1
        advance(1)

    function(task, on_epoch=on_epoch)
    advance(epochs - done)  # the epochs that a diverged or failed trial skipped


def _run_elsewhere(
    function: Callable[..., None], tasks: Sequence[Any], n_jobs: int, epochs: int, advance: Callable[[int], None]
) -> None:
    joblib = import_optional("joblib", "studies")
    backend = keras.backend.backend()
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = backend  # for worker processes: in this process the backend may be set in another way
    try:
        try:
            parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        except ValueError:  # Ray's backend cannot return results one by one.
            parallel = joblib.Parallel(n_jobs=n_jobs)
        for _ in parallel(joblib.delayed(_on_backend)(backend, function, task) for task in tasks):
            advance(epochs)
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before


def _on_backend(backend: str, function: Callable[..., None], task: Any) -> None:
    if keras.backend.backend() != backend:
        raise RuntimeError(
            f"a worker must run Keras on {backend}; set KERAS_BACKEND there. Received: {keras.backend.backend()}"
        )
    function(task)
