"""Load saved models for commands; for `diagnose` also read the data and write the report."""

import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_initx
from keras_initx.diagnostics import Report
from keras_initx.rendering._terminal import status


def read_data(path: Path, labels: Path | None) -> tuple[Any, np.ndarray | None]:
    """Return inputs and targets.

    Args:
        path: Path of a `.npy` file with the inputs, or of a `.npz` file with inputs `x` and targets
            `y`, or with an array for each named input.
        labels: Path of a `.npy` file with the targets, or `None`.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file has another format, or there is more than one array of targets.
    """
    data = _load(path)
    x, y = data, None
    if isinstance(data, dict):
        y = data.pop("y", None)
        x = data["x"] if list(data) == ["x"] else data
    if labels is None:
        return x, y
    if y is not None:
        raise ValueError(f"{path} contains labels too, as `y`: use only one of the two")
    y = _load(labels)
    if isinstance(y, dict):
        raise ValueError(
            f"{labels} has more than one array: the labels must be a .npy file, or `y` in the .npz data file"
        )
    return x, y


def _load(path: Path) -> Any:
    """Return the array of a `.npy` file, or a dict of those of a `.npz` file."""
    try:
        with path.open("rb") as file:
            # Arrays of objects are pickles, which can run arbitrary code.
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.lib.npyio.NpzFile):
                data = dict(data)
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a .npy or .npz file of numeric arrays ({error})") from None
    for array in data.values() if isinstance(data, dict) else [data]:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise ValueError(f"{path} must contain only arrays of numbers")
    return data


def diagnose(path: Path, x: Any, y: np.ndarray | None, *, loss: str | None = None, **arguments: Any) -> Report:
    """Return the report, showing progress on a terminal."""
    with status() as update:
        update(f"Loading {path}")
        model = _load_model(path, compiled=y is not None and loss is None)
        return keras_initx.diagnose(
            model, x, y, loss=loss, progress=lambda name: update(f"Measured {name}"), **arguments
        )


def _load_model(path: Path, compiled: bool) -> keras.Model:
    """Return the model. If `compiled`, it must be compiled with a loss."""
    if not compiled:
        # Its optimizer may not exist here: with torch, optimizers are saved as classes of that backend.
        return keras.saving.load_model(path, compile=False)
    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        keras.saving.load_model(path, compile=False)  # raises errors of the model itself
        raise ValueError(
            f"the compile configuration of the model cannot be loaded here; gradients need --loss ({error})"
        ) from error
    if getattr(model, "loss", None) is None:
        raise ValueError("gradients need --loss, because the model is not compiled with a loss")
    return model


def load_for_training(path: Path) -> keras.Model:
    """Return the model, compiled as saved if its compile configuration can be loaded here."""
    try:
        return keras.saving.load_model(path)
    except Exception:
        return keras.saving.load_model(path, compile=False)  # raises errors of the model itself


def write(
    report: Report, json_path: Path | None = None, csv_path: Path | None = None, plot_path: Path | None = None
) -> None:
    """Write the report to the requested files."""
    if json_path:
        json_path.write_text(f"{report.to_json()}\n", encoding="utf-8")
    if csv_path:
        csv_path.write_text(report.to_csv(), encoding="utf-8")
    if plot_path:
        report.plot(plot_path)
