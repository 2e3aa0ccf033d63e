"""The commands for saved models: `diagnose`, `initialize`, `audit`, `contract` and `save`."""

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

import keras_initx
from keras_initx._suggestions import did_you_mean
from keras_initx.cli._recipes import named
from keras_initx.files._local import parse_json, replace_file
from keras_initx.report._terminal import show_status
from keras_initx.tools.audit._audit_report import AuditReport
from keras_initx.tools.audit._contract import Contract, is_contract
from keras_initx.tools.audit._subjects import is_saved_model
from keras_initx.tools.diagnose._report import DiagnosisReport
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._plan_file import is_plan
from keras_initx.tools.save_pretrained._names_and_layout import parse_names


def diagnose(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `diagnose`: find problems with the weights of a model, showing progress on a terminal."""
    is_function = isinstance(arguments.data, str)
    if is_function and arguments.labels is not None:
        parser.error("--labels must be left out where a function returns the batch")
    try:
        if is_function:
            x, y = _made_by(arguments.data), None  # `x` may be a batch with targets
        else:
            x, y = _read_data(arguments.data, arguments.labels)
    except Exception as error:  # A function may raise anything.
        parser.exit(2, f"{parser.prog}: error: cannot read data: {error}\n")
    try:
        with show_status() as update:
            update(f"Loading {arguments.model}")
            needs_loss = arguments.steps or (y is not None and arguments.loss is None)
            load = _load
            if needs_loss or is_function:
                load = _load_compiled
            model = _opened(arguments.model, load)
            if needs_loss and getattr(model, "loss", None) is None:
                raise ValueError(
                    "gradients need --loss, because the model is not compiled with a loss"
                )
        report = keras_initx.diagnose(
            model,
            x,
            y,
            loss=arguments.loss,
            batch_size=arguments.batch_size,
            steps=arguments.steps,
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
    report: DiagnosisReport | AuditReport,
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


def _opened(given: Path | str, load: Callable[[Path], Any]) -> Any:
    """Return what a function makes, or what `load` finds in a file."""
    if isinstance(given, str):
        return _made_by(given)
    return load(given)


def _made_by(text: str) -> Any:
    """Return what the function of `FILE.py:function` makes.

    It is called after `set_random_seed(0)`, so that each run of a command sees the same.
    """
    function = _function_of(text)
    keras.utils.set_random_seed(0)
    return function()


def _load(path: Path) -> keras.Model:
    """Return the model in a file, which is not compiled.

    Its optimizer may not exist here: with torch, optimizers are saved as classes of that backend.
    """
    return keras.saving.load_model(path, compile=False)


def _load_compiled(path: Path) -> keras.Model:
    """Return the model in a file, compiled as saved if that can be loaded here."""
    try:
        with warnings.catch_warnings():
            # Of an optimizer that has not trained here. Its state is for the weights that were
            # saved.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.saving.load_model(path)
    except Exception as error:
        model = _load(path)  # raises errors of the model itself
        sys.stderr.write(
            f"Left out, because it cannot be loaded here: how the model is compiled ({error})\n"
        )
        return model


def initialize(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `initialize`: initialize the weights of a model, print the plan, and save the model."""
    try:
        rules = _rules(arguments)
        model = _opened(arguments.model, _load_compiled)
        plan = keras_initx.initialize(
            model,
            rules,
            seed=arguments.seed,
            roles=_roles(arguments),
            dry_run=arguments.dry_run,
        )
        if arguments.plan:
            plan.save(arguments.plan)
        if arguments.out:
            with replace_file(arguments.out) as path:
                model.save(path)
        if arguments.html:
            plan.to_html(arguments.html, title=f"Initialization of {arguments.model}")
    except Exception as error:  # A model may raise anything.
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(f"{plan}\n")
    if arguments.out:
        digest = keras_initx.weights_digest(model)
        sys.stdout.write(f"Digest of the weights: {digest}. Saved to {arguments.out}.\n")
    return 0


def audit(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `audit`: compare the weights of a model or a file with what they should be."""
    try:
        like: Any = arguments.like
        if isinstance(like, str):
            like = _function_of(like)
        rules = _rules(arguments)
        report = keras_initx.audit(
            _opened(arguments.model, _weights_in),
            rules,
            like=like,
            seed=arguments.seed,
            roles=_roles(arguments),
            alpha=arguments.alpha,
        )
    except Exception as error:  # A model may raise anything, and exit code 1 is reserved.
        parser.exit(2, f"{parser.prog}: error: cannot audit {arguments.model}: {error}\n")
    sys.stdout.write(f"{report}\n")
    _write_report(parser, arguments, f"Audit of {arguments.model}", report)
    return int(not report.ok)


def _weights_in(path: Path) -> Any:
    """Return the model in a file, or the path of another file, which `audit` opens itself."""
    return _load(path) if is_saved_model(str(path)) else path


def contract(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `contract`: measure how weights are drawn, and save that."""
    build: Any = arguments.model
    try:
        if isinstance(build, str):
            build = _function_of(build)
        found = keras_initx.contract(build, draws=arguments.draws, seed=arguments.seed)
        if arguments.out:
            found.save(arguments.out)
    except (OSError, TypeError, ValueError) as error:  # others of a function are shown in full
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(f"{found}\n")
    return 0


def save(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `save`: save the weights of a model in the names and layout of another file."""
    try:
        model = _opened(arguments.model, _load)
        report = keras_initx.save_pretrained(
            model,
            arguments.out,
            _names(arguments.names),
            like=arguments.like,
            layout=arguments.layout,
            dtype=arguments.dtype,
            dry_run=arguments.dry_run,
        )
        if arguments.json:
            report.to_json(arguments.json)
    except Exception as error:  # A model may raise anything, and exit code 1 is reserved.
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(f"{report}\n")
    return int(not report.ok)


def _names(given: Path | str | None) -> Any:
    """Return names of arrays, or the path of a report that has them."""
    if given is None:
        return None
    content = parse_json(given.read_bytes() if isinstance(given, Path) else given)
    if isinstance(given, Path) and isinstance(content, dict) and "rows" in content:
        return given
    return parse_names(content) if isinstance(content, dict) else content


def _function_of(text: str) -> Any:
    """Return the function of `FILE.py:function`.

    Raises:
        ValueError: If the file has none of this name.
    """
    path, _, name = text.rpartition(":")
    folder = str(Path(path).resolve().parent)
    if folder not in sys.path:  # where Python looks when it runs the file
        sys.path.insert(0, folder)
    with _without_exit(path):
        found = runpy.run_path(path)
    function: Any = found.get(name)
    if not callable(function):
        functions = [key for key, value in found.items() if callable(value)]
        hint = did_you_mean(difflib.get_close_matches(name, functions))
        raise ValueError(f"{path} has no function {name!r}{hint}")

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        with _without_exit(text):
            return function(*args, **options)

    return called


@contextlib.contextmanager
def _without_exit(text: str) -> Iterator[None]:
    """Turn the end of the program by a file or a function of the user into an error.

    Its exit code would be taken for that of the command, where 1 means that something was found.
    """
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"{text} ended the program by `sys.exit({error.code!r})`") from error


def _roles(arguments: argparse.Namespace) -> dict[str, list[str]] | None:
    """Return the patterns of each role, or `None` without any."""
    if not arguments.role:
        return None
    roles: dict[str, list[str]] = {}
    for role, pattern in arguments.role:
        roles.setdefault(role, []).append(pattern)
    return roles


def _rules(arguments: argparse.Namespace) -> Any:
    """Return the name of the recipe, or the rules or the plan, or `None` without either."""
    if arguments.rules is None:
        return _checked_recipe(arguments.recipe)
    if is_plan(arguments.rules):
        return InitializationPlan.load(arguments.rules_file)
    if is_contract(arguments.rules):
        return Contract.load(arguments.rules_file)  # which is refused
    return arguments.rules


def _checked_recipe(given: str | None) -> str | None:
    """Return the option `recipe`, which names a recipe or the file of a plan."""
    if given is None or Path(given).is_file():
        return given
    named(given)
    return given
