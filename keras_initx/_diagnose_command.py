"""What `python -m keras_initx diagnose` does: read a model and a batch, diagnose, and write what is asked for."""

import contextlib
import importlib.util
import sys
from pathlib import Path

import keras
import numpy as np

import keras_initx
from keras_initx.diagnostics import Report


def read_data(path, labels):
    """Return inputs and targets.

    Args:
        path: Path of a `.npy` file with the inputs, or of a `.npz` file with inputs `x` and targets `y`, or with an
            array for each input under its name.
        labels: Path of a `.npy` file with the targets, or `None`.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is not of its format, or there is more than one array of targets.
    """
    # Arrays of objects are pickles, which can run anything.
    data = np.load(path, allow_pickle=False)
    x, y = data, None
    if isinstance(data, np.lib.npyio.NpzFile):
        with data:
            arrays = dict(data)
        y = arrays.pop("y", None)
        x = arrays["x"] if list(arrays) == ["x"] else arrays
    if labels is None:
        return x, y
    if y is not None:
        raise ValueError(f"the targets are in {path} too, as `y`: leave out one of the two")
    return x, np.load(labels, allow_pickle=False)


def diagnose(model, x, y, **arguments) -> Report:
    """Return the report, and say on a terminal how far it is."""
    with _status() as update:
        update(f"Loading {model}")
        loaded = keras.saving.load_model(model)
        return keras_initx.diagnose(loaded, x, y, progress=lambda name: update(f"Measured {name}"), **arguments)


@contextlib.contextmanager
def _status():
    """Give a function that shows a line on a terminal, where rich is installed, and otherwise does nothing."""
    if not (sys.stderr.isatty() and importlib.util.find_spec("rich")):
        yield lambda text: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(escape(text))


def write(report, json_path=None, csv_path=None, plot_path=None) -> None:
    """Write the report to the standard output, and to the files that are asked for."""
    sys.stdout.write(f"{report}\n")
    if json_path:
        Path(json_path).write_text(f"{report.to_json()}\n")
    if csv_path:
        Path(csv_path).write_text(report.to_csv())
    if plot_path:
        report.plot(plot_path)
