"""Inputs of commands: models, data and functions in files, names of arrays. Also writes reports."""

import argparse
import contextlib
import difflib
import functools
import runpy
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initx._suggestions import did_you_mean
from keras_initx.files._local import parse_json
from keras_initx.report._results import Result
from keras_initx.tools.save_pretrained._names_and_layout import parse_names


def open_source(source: Path | str, load: Callable[[Path], Any]) -> Any:
    """Call the function `FILE.py:function`, or load a file."""
    if isinstance(source, str):
        return call_function(source)
    return load(source)


def call_function(text: str) -> Any:
    """Call the function of `FILE.py:function`.

    `set_random_seed(0)` is called before, so that each run of a command gets the same objects.
    """
    function = import_function(text)
    keras.utils.set_random_seed(0)
    return function()


def import_function(text: str) -> Any:
    """Import the function of `FILE.py:function`, which may not end the program.

    Raises:
        ValueError: If the file has no function of this name.
    """
    function = import_object(text)

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        with _refuse_exit(text):
            return function(*args, **options)

    return called


def import_object(text: str) -> Any:
    """Import the function, or another object that can be called, of `FILE.py:name`.

    Raises:
        ValueError: If the file has no such object of this name.
    """
    path, _, name = text.rpartition(":")
    folder = str(Path(path).resolve().parent)
    if folder not in sys.path:  # where Python looks when it runs the file
        sys.path.insert(0, folder)
    with _refuse_exit(path):
        names = runpy.run_path(path)
    function: Any = names.get(name)
    if not callable(function):
        functions = [key for key, value in names.items() if callable(value)]
        hint = did_you_mean(difflib.get_close_matches(name, functions))
        raise ValueError(f"{path} has no function {name!r}{hint}")
    return function


@contextlib.contextmanager
def _refuse_exit(text: str) -> Iterator[None]:
    """Turn the end of the program by a file or a function of the user into an error.

    Without this, its exit code would count as the exit code of the command, whose 1 means a
    finding.
    """
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"{text} ended the program by `sys.exit({error.code!r})`") from error


def load_model(path: Path) -> keras.Model:
    """Load the model in a file, without compiling it.

    Its optimizer may not exist here: with torch, optimizers are saved as classes of that backend.
    """
    return keras.saving.load_model(path, compile=False)


def load_compiled_model(path: Path) -> keras.Model:
    """Load the model in a file, compiled as saved if that can be loaded here."""
    try:
        with warnings.catch_warnings():
            # Of an optimizer that has not trained here. Its state is for the weights that were
            # saved.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.saving.load_model(path)
    except Exception as error:
        model = load_model(path)  # raises errors of the model itself
        sys.stderr.write(
            f"Left out, because it cannot be loaded here: how the model is compiled ({error})\n"
        )
        return model


def read_data(path: Path, labels: Path | None) -> tuple[Any, np.ndarray | None]:
    """Read inputs and targets.

    Args:
        path: Path of a `.npy` file with the inputs, or of a `.npz` file with inputs `x` and targets
            `y`, or with an array for each named input.
        labels: Path of a `.npy` file with the targets, or `None`.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file has another format, or there is more than one array of targets.
    """
    x = _read_arrays(path)
    y = None
    if isinstance(x, dict):
        y = x.pop("y", None)
        if list(x) == ["x"]:
            x = x["x"]
    if labels is None:
        return x, y
    if y is not None:
        raise ValueError(f"{path} contains labels too, as `y`: use only one of the two")
    y = _read_arrays(labels)
    if isinstance(y, dict):
        raise ValueError(
            f"{labels} has more than one array: the labels must be a .npy file, or `y` in the "
            ".npz data file"
        )
    return x, y


def _read_arrays(path: Path) -> Any:
    """Read the array of a `.npy` file, or a dict of the arrays of a `.npz` file."""
    try:
        with path.open("rb") as file:
            # Arrays of objects are pickles, which can run arbitrary code.
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.lib.npyio.NpzFile):
                data = dict(data)
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a .npy or .npz file of numeric arrays ({error})") from None
    arrays = data.values() if isinstance(data, dict) else [data]
    for array in arrays:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise ValueError(f"{path} must contain only arrays of numbers")
    return data


def read_names(source: Path | str | None) -> Any:
    """Read names of arrays, or return the path of a report that has them."""
    if source is None:
        return None
    content = parse_json(source.read_bytes() if isinstance(source, Path) else source)
    if isinstance(source, Path) and isinstance(content, dict) and "rows" in content:
        return source
    return parse_names(content) if isinstance(content, dict) else content


def write_report(
    parser: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    title: str,
    report: Result,
) -> None:
    """Write the files that the options name."""
    try:
        if arguments.json:
            report.to_json(arguments.json)
        if arguments.html:
            report.to_html(arguments.html, title=title)
        if arguments.markdown:
            report.to_markdown(arguments.markdown)
    except OSError as error:
        parser.error(f"cannot write: {error}")
