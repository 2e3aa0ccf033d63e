"""The command `demo`: train on one backend, load on all others, and compare."""

import itertools
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from keras_initx._startup import installed_backends
from keras_initx.cli._demo_worker import INITIALIZERS
from keras_initx.rendering._table import Column, Table

# Maximum difference between the probabilities that two backends compute from the same weights. Backends sum in
# different orders; differences of 1e-6 are usual.
TOLERANCE = 1e-4

Row = tuple[str, str, str, str]  # backend, network, accuracy, outcome
_COLUMNS: tuple[Column[Row], ...] = (
    Column("Backend", lambda row: row[0], is_text=True),
    Column("Network", lambda row: row[1], is_text=True),
    Column("Initializers", lambda row: "\n".join(INITIALIZERS[row[1]].values()), is_text=True),
    Column("Accuracy", lambda row: row[2], is_text=True),
    Column("Round trip", lambda row: row[3], is_text=True),
)


def run() -> int:
    """Train, save, load on every installed backend, compare, and print a table.

    Returns:
        The exit code: 0 if every network is the same on every backend, otherwise 1.
    """
    from rich.console import Console

    backends = installed_backends()
    trainer = os.environ.get("KERAS_BACKEND") or backends[0]
    console = Console(markup=False, highlight=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with console.status(f"Training on {trainer}") as status:
            if not _work("train", trainer, folder):
                return 1
            status.update(f"Loading on {', '.join(backends)}")
            with ThreadPoolExecutor() as executor:  # most of the time is spent on importing the backends
                loaded = executor.map(lambda backend: _work("load", backend, folder), backends)
            rows: list[Row] = []
            for (backend, succeeded), network in itertools.product(zip(backends, loaded, strict=True), INITIALIZERS):
                accuracy, outcome = _outcome(folder, network, backend) if succeeded else ("", "not loaded")
                rows.append((backend, network, accuracy, outcome))
    with console.capture() as capture:  # Rich exits with code 1 if standard output is closed.
        console.print(
            Table.of(_COLUMNS, rows).as_rich(
                title=f"Digits: trained on {trainer}, loaded in a fresh process",
                caption=f"Weights must be equal bit for bit, predictions (±) within {TOLERANCE:g}.",
            )
        )
    sys.stdout.write(capture.get())
    return 0 if all(outcome.startswith("ok") for *_, outcome in rows) else 1


def _work(task: Literal["train", "load"], backend: str, folder: Path) -> bool:
    """Run `task` in a fresh process on `backend`, and return whether it succeeded."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        # Accelerators may round float32 products to fewer bits; the networks are small anyway.
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        # The networks are so small that on a busy machine threads would mostly wait for each other.
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.run(
        [sys.executable, "-m", "keras_initx.cli._demo_worker", task, folder],
        env=environment,
        capture_output=True,
        text=True,
        errors="backslashreplace",
    )
    if process.returncode:
        sys.stderr.write(f"Could not {task} on {backend}:\n{process.stderr}")
    return process.returncode == 0


def _outcome(folder: Path, network: str, backend: str) -> tuple[str, str]:
    """Return the test accuracy of a network loaded on `backend`, and "ok" or the differences to the saved one."""
    with np.load(folder / "test.npz") as test:
        labels = test["labels"]
    with np.load(folder / f"{network}.npz") as file, np.load(folder / f"{network}-{backend}.npz") as other:
        saved, loaded = dict(file), dict(other)
    accuracy = np.mean(loaded["predictions"].argmax(axis=1) == labels)
    distance = np.max(np.abs(loaded["predictions"] - saved["predictions"]))
    return f"{accuracy:.3f}", "\n".join(differences(saved, loaded)) or f"ok (±{distance:.1g})"


def differences(saved: dict[str, np.ndarray], loaded: dict[str, np.ndarray]) -> list[str]:
    """Describe the differences between a saved and a loaded network.

    Args:
        saved: The weights by path, and the `"predictions"`, of the saved network.
        loaded: The same for the loaded network.

    Returns:
        A phrase for each missing array, for each weight that is not equal bit for bit, and for
        predictions that differ by more than `TOLERANCE`.
    """
    found = [f"{name} is missing or new" for name in sorted(saved.keys() ^ loaded.keys())]
    for name in sorted(saved.keys() & loaded.keys()):
        before, after = saved[name], loaded[name]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            found.append(f"{name} was {before.dtype}{before.shape}, is {after.dtype}{after.shape}")
            continue
        distance = np.max(np.abs(after - before))
        same = distance <= TOLERANCE if name == "predictions" else before.tobytes() == after.tobytes()
        if not same:
            found.append(f"{name} differs by up to {distance:.1g}")
    return found
