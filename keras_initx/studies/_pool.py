"""Run tasks one after the other, or in several processes, and show how far they are."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_initx._extras import needed
from keras_initx.rendering._terminal import progress


def run(function: Callable[..., None], tasks: Sequence[Any], n_jobs: int, epochs: int, label: str) -> None:
    """Call `function` once for each task.

    Args:
        function: A function of a module's top level, or a `functools.partial` of one. In this process it also gets
            `on_epoch`, to be called after each epoch.
        tasks: Its arguments, one for each call.
        n_jobs: Number of processes, as joblib has it; 1 does without joblib.
        epochs: Number of epochs of one task.
        label: What the progress bar says.
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
    advance(epochs - done)  # What a trial that diverged or failed left out.


def _run_elsewhere(
    function: Callable[..., None], tasks: Sequence[Any], n_jobs: int, epochs: int, advance: Callable[[int], None]
) -> None:
    joblib = needed("joblib", "studies")
    backend = keras.backend.backend()
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = backend  # For the processes to come: this one may have another reason for it.
    try:
        try:
            parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        except ValueError:  # Ray's backend returns nothing before all are done.
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
            f"a worker must run Keras on {backend}, which KERAS_BACKEND there decides. "
            f"Received: {keras.backend.backend()}"
        )
    function(task)
