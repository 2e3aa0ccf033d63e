"""The commands for saved models: `diagnose`, `initialize`, `audit` and `contract`."""

import argparse
import runpy
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initx import _files, audits, diagnostics, models
from keras_initx.rendering import status


def diagnose(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `diagnose`: find problems with the weights of a model, showing progress on a terminal."""
    try:
        x, y = _read_data(arguments.data, arguments.labels)
    except (OSError, ValueError) as error:
        parser.error(f"cannot read data: {error}")
    try:
        with status() as update:
            update(f"Loading {arguments.model}")
            if not arguments.steps and (y is None or arguments.loss is not None):
                # Its optimizer may not exist here: with torch, optimizers are saved as classes of
                # that backend.
                model = keras.saving.load_model(arguments.model, compile=False)
            else:
                model = _load_compiled(arguments.model, needs_loss=True)
            report = diagnostics.diagnose(
                model,
                x,
                y,
                loss=arguments.loss,
                batch_size=arguments.batch_size,
                steps=arguments.steps,
                progress=lambda name: update(f"Measured {name}"),
                ignore=arguments.ignore,
            )
    except Exception as error:  # A model may raise anything, and exit code 1 is reserved.
        parser.exit(2, f"{parser.prog}: error: cannot diagnose {arguments.model}: {error}\n")
    sys.stdout.write(f"{report}\n")
    _write_report(parser, arguments, f"Diagnosis of {arguments.model}", report)
    return int(report.fails_on(arguments.fail_on))


def _write_report(
    parser: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    title: str,
    report: diagnostics.Report | audits.AuditReport,
) -> None:
    """Write the files that are asked for."""
    try:
        if arguments.json:
            report.to_json(arguments.json)
        if arguments.csv:
            report.to_csv(arguments.csv)
        if arguments.html:
            report.to_html(arguments.html, title=title)
        if arguments.plot:
            report.plot(arguments.plot)
    except (OSError, ValueError) as error:
        parser.error(f"cannot write: {error}")


def _read_data(path: Path, labels: Path | None) -> tuple[Any, np.ndarray | None]:
    """Return inputs and targets.

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
    """Return the array of a `.npy` file, or a dict of those of a `.npz` file."""
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


def _load_compiled(path: Path, *, needs_loss: bool = False) -> keras.Model:
    """Return the model, compiled as saved if its compile configuration can be loaded here.

    Raises:
        ValueError: If it is not compiled with a loss and `needs_loss`.
    """
    try:
        with warnings.catch_warnings():
            # Of an optimizer that has not trained here. Its state is for the weights that were
            # saved.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            model = keras.saving.load_model(path)
    except Exception as error:
        model = keras.saving.load_model(path, compile=False)  # raises errors of the model itself
        if needs_loss:
            raise ValueError(
                "the compile configuration of the model cannot be loaded here; gradients need "
                f"--loss ({error})"
            ) from error
        sys.stderr.write(
            f"Left out, because it cannot be loaded here: how the model is compiled ({error})\n"
        )
    if needs_loss and getattr(model, "loss", None) is None:
        raise ValueError("gradients need --loss, because the model is not compiled with a loss")
    return model


def initialize(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `initialize`: initialize the weights of a model, print the plan, and save the model."""
    try:
        rules = _expected(arguments)
        model = _load_compiled(arguments.model)
        plan = models.initialize(model, rules, seed=arguments.seed, dry_run=arguments.dry_run)
        if arguments.plan:
            plan.save(arguments.plan)
        if arguments.out:
            with _files.replacing(arguments.out) as path:
                model.save(path)
        if arguments.html:
            plan.to_html(arguments.html, title=f"Initialization of {arguments.model}")
    except Exception as error:  # A model may raise anything.
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(f"{plan}\n")
    if arguments.out:
        sys.stdout.write(
            f"Digest of the weights: {models.weights_digest(model)}. Saved to {arguments.out}.\n"
        )
    return 0


def audit(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `audit`: compare the weights of a model or a file with what they should be."""
    try:
        expected = arguments.like or _expected(arguments)
        weights: Any = arguments.weights
        if audits.is_saved_model(str(weights)):
            weights = keras.saving.load_model(weights, compile=False)
        report = audits.audit(
            weights,
            expected,
            seed=arguments.seed,
            alpha=arguments.alpha,
            names=arguments.names,
        )
    except Exception as error:  # A model may raise anything, and exit code 1 is reserved.
        parser.exit(2, f"{parser.prog}: error: cannot audit {arguments.weights}: {error}\n")
    sys.stdout.write(f"{report}\n")
    _write_report(parser, arguments, f"Audit of {arguments.weights}", report)
    return int(not report.ok)


def contract(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `contract`: measure how weights are drawn, and save that."""
    build: Any = arguments.build
    try:
        if isinstance(build, str):
            build = _function_of(build)
        found = audits.contract(build, draws=arguments.draws, seed=arguments.seed)
        if arguments.out:
            found.save(arguments.out)
    except (OSError, TypeError, ValueError) as error:  # others of a function are shown in full
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(f"{found}\n")
    return 0


def _function_of(text: str) -> Any:
    """Return the function of `FILE.py:function`.

    Raises:
        ValueError: If the file has none of this name.
    """
    path, _, name = text.rpartition(":")
    folder = str(Path(path).resolve().parent)
    if folder not in sys.path:  # where Python looks when it runs the file
        sys.path.insert(0, folder)
    function = runpy.run_path(path).get(name)
    if not callable(function):
        raise ValueError(f"{path} has no function {name!r}")
    return function


def _expected(arguments: argparse.Namespace) -> Any:
    """Return the name of the recipe, or the rules or the plan, or `None` without either."""
    if arguments.rules:
        return _read_rules(arguments.rules)
    return arguments.recipe


def _read_rules(given: Path | str) -> Any:
    """Return rules from JSON, or from a file with JSON, or the plan in a file that has one.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not JSON, or has a key twice or a number that is not finite.
    """
    content: str | bytes
    if isinstance(given, Path):
        content = given.read_bytes()  # in any encoding: a shell of Windows writes UTF-16
    else:
        content = given
    try:
        found = _files.parse_json(content)
    except ValueError as error:
        raise ValueError(f"{given} {error}") from None
    if models.is_plan(found):
        return models.InitializationPlan.load(given)
    return found
