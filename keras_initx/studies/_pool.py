"""Run tasks one after the other, or in several processes, and show how far they are."""

import contextlib
import importlib.util
import os
import sys

import keras

from keras_initx._extras import needed


def run(function, tasks, n_jobs, total, label):
    """Call `function` once for each task.

    Args:
        function: A function of the module's top level. In this process it also gets `on_epoch`, to be
            called after each epoch.
        tasks: List of dicts of arguments.
        n_jobs: Number of processes, as joblib has it; 1 does without joblib.
        total: Number of epochs of one task.
        label: What the progress bar says.
    """
    if not tasks:
        return
    with _progress(label, total * len(tasks)) as advance:
        if n_jobs == 1:
            for task in tasks:
                _run_here(function, task, total, advance)
        else:
            _run_elsewhere(function, tasks, n_jobs, total, advance)


def _run_here(function, task, total, advance):
    done = 0

    def on_epoch():
        nonlocal done
        done += 1
        advance(1)

    function(**task, on_epoch=on_epoch)
    advance(total - done)  # What a trial that diverged or failed left out.


def _run_elsewhere(function, tasks, n_jobs, total, advance):
    joblib = needed("joblib", "studies")
    backend = keras.backend.backend()
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = backend  # For the processes to come: this one may have another reason for it.
    try:
        try:
            parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        except ValueError:  # Ray's backend tells only when all are done.
            parallel = joblib.Parallel(n_jobs=n_jobs)
        for _ in parallel(joblib.delayed(_on_backend)(backend, function, task) for task in tasks):
            advance(total)
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before


def _on_backend(backend, function, task):
    if keras.backend.backend() != backend:
        raise RuntimeError(
            f"a worker must run Keras on {backend}, which KERAS_BACKEND there decides. "
            f"Received: {keras.backend.backend()}"
        )
    function(**task)


@contextlib.contextmanager
def _progress(label, total):
    """Show a bar with the remaining time on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs,"),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        # Compiling a new model takes longer than an epoch: only a long memory sees both.
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)
