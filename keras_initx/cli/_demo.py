"""The command `demo`: networks trained on one backend give the same predictions on every other.

Each backend needs its own process: the command runs this module to `train` the networks and to
`load` them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

from keras_initx._startup import installed_backends
from keras_initx.cli import _data, _networks
from keras_initx.rendering import Table

# The networks: their architecture, and the initializers of the weights of their hidden layers.
NETWORKS = {
    "dense": ("mlp", {"kernel": "initx.sparse", "bias": "initx.relu_bias"}),
    "convolutional": ("cnn", {"kernel": "initx.orthogonal", "bias": "initx.relu_bias"}),
    "lstm": (
        "lstm",
        {
            "kernel": "initx.sparse",
            "recurrent": "initx.orthogonal",
            "bias": "initx.lstm_forget_bias",
        },
    ),
}
EPOCHS = 15
# Maximum difference between the probabilities that two backends compute from the same weights.
# Backends sum in different orders; differences of 1e-6 are usual.
TOLERANCE = 1e-4


def demo(parser: argparse.ArgumentParser, _arguments: argparse.Namespace) -> int:
    """Run `demo`: train, save, load on every installed backend, compare, and print a table.

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
            # Most of the time is spent on importing the backends.
            with ThreadPoolExecutor() as executor:
                loaded = executor.map(lambda backend: _work("load", backend, folder), backends)
            rows = []
            for backend, succeeded in zip(backends, loaded, strict=True):
                for network, (_, initializers) in NETWORKS.items():
                    if succeeded:
                        accuracy, outcome = _outcome(folder, network, backend)
                    else:
                        accuracy = ""
                        outcome = "not loaded"
                    ids = "\n".join(initializers.values())
                    rows.append((backend, network, ids, accuracy, outcome))
    headers = ("Backend", "Network", "Initializers", "Accuracy", "Round trip")
    table = Table(headers, tuple(rows), are_text=(True,) * len(headers))
    title = f"Digits: trained on {trainer}, loaded in a fresh process"
    caption = f"Weights must be equal bit for bit, predictions (±) within {TOLERANCE:g}."
    with console.capture() as capture:  # Rich exits with code 1 if standard output is closed.
        console.print(table.as_rich(title=title, caption=caption))
    sys.stdout.write(capture.get())
    if all(row[-1].startswith("ok") for row in rows):
        return 0
    return 1


def _work(task: str, backend: str, folder: Path) -> bool:
    """Run `"train"` or `"load"` in a process on `backend`, and return whether it succeeded."""
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
        [sys.executable, "-m", "keras_initx.cli._demo", task, folder],
        env=environment,
        capture_output=True,
        text=True,
        errors="backslashreplace",
    )
    if process.returncode:
        sys.stderr.write(f"Could not {task} on {backend}:\n{process.stderr}")
    return process.returncode == 0


def train(folder: Path) -> None:
    """Train each network and save it with its predictions on the test data."""
    data = _data.digits()
    images, labels = data.train
    test_images, test_labels = data.validation
    np.savez(folder / "test.npz", images=test_images, labels=test_labels)
    for name, (architecture, initializers) in NETWORKS.items():
        keras.utils.set_random_seed(0)
        arguments = {f"{weight}_initializer": id_ for weight, id_ in initializers.items()}
        model = _networks.network(architecture, data.shape, data.classes, **arguments)
        model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
        model.fit(images, labels, epochs=EPOCHS, verbose=0)
        model.save(folder / f"{name}.keras")
        _write_arrays(model, folder, name)


def load(folder: Path) -> None:
    """Load each network and save its predictions on the test data with this backend."""
    for name in NETWORKS:
        # With torch, an optimizer is saved as a class of that backend, and predictions do not need
        # it.
        model = keras.models.load_model(folder / f"{name}.keras", compile=False)
        _write_arrays(model, folder, f"{name}-{keras.backend.backend()}")


def _write_arrays(model: keras.Model, folder: Path, name: str) -> None:
    with np.load(folder / "test.npz") as test:
        predictions = model.predict(test["images"], verbose=0)
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    np.savez(folder / f"{name}.npz", predictions=predictions, **weights)


def _outcome(folder: Path, network: str, backend: str) -> tuple[str, str]:
    """Return the test accuracy of a network loaded on `backend`, and "ok" or the differences."""
    with np.load(folder / "test.npz") as test:
        labels = test["labels"]
    with (
        np.load(folder / f"{network}.npz") as file,
        np.load(folder / f"{network}-{backend}.npz") as other,
    ):
        saved = dict(file)
        loaded = dict(other)
    predictions = loaded["predictions"]
    accuracy = np.mean(predictions.argmax(axis=1) == labels)
    distance = np.max(np.abs(predictions - saved["predictions"]))
    found = differences(saved, loaded)
    outcome = "\n".join(found) if found else f"ok (±{distance:.1g})"
    return f"{accuracy:.3f}", outcome


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
        before = saved[name]
        after = loaded[name]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            found.append(f"{name} was {before.dtype}{before.shape}, is {after.dtype}{after.shape}")
            continue
        distance = np.max(np.abs(after - before))
        if name == "predictions":
            is_same = distance <= TOLERANCE
        else:
            is_same = before.tobytes() == after.tobytes()
        if not is_same:
            found.append(f"{name} differs by up to {distance:.1g}")
    return found


if __name__ == "__main__":
    {"train": train, "load": load}[sys.argv[1]](Path(sys.argv[2]))
