"""Checks of arguments that need neither Keras nor NumPy, so that a slip is answered at once.

Each function takes the parser of its command and the arguments, and exits with an error.
"""

import argparse
from pathlib import Path

import keras_initx
from keras_initx import _names
from keras_initx.cli import _options


def nothing(_parser: argparse.ArgumentParser, _arguments: argparse.Namespace) -> None:
    """Check nothing: the command has no such arguments."""


def show(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check the form and the name of the initializer, and the packages for a plot."""
    try:
        name, _ = _options.parse_initializer(arguments.name)
    except ValueError as error:
        parser.error(str(error))
    _check_name(parser, name)
    if arguments.plot:
        _options.require(parser, "plot")


def diagnose(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check the files to read, and the packages for a plot."""
    if arguments.plot:
        _options.require(parser, "plot")
    _require_files(parser, arguments.model, arguments.data, arguments.labels)


def initialize(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check the model to read, and where to save the new one."""
    if arguments.dry_run == (arguments.out is not None):
        parser.error("either --out or --dry-run is required")
    if arguments.out and not str(arguments.out).endswith(_options.FORMATS):
        parser.error(f"--out must end in one of {_options.FORMATS}. Received: {arguments.out}")
    _require_files(parser, arguments.model)


def audit(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check the file to read, and the packages for a plot."""
    if arguments.plot:
        _options.require(parser, "plot")
    _require_files(parser, arguments.weights)


def demo(parser: argparse.ArgumentParser, _arguments: argparse.Namespace) -> None:
    """Check the packages."""
    _options.require(parser, "demo")


def compare(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check packages, data and network, and the form and the names of the initializers."""
    _check_study(parser, arguments)
    names = arguments.initializers or ()
    for name in names:
        _check_initializer(parser, name)
    if len(set(names)) < len(names):
        _fail(parser, f"`initializers` must differ. Received: {', '.join(names)}")


def restarts(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check packages, data and network, and the form and the name of the initializer."""
    _check_study(parser, arguments)
    _check_initializer(parser, arguments.initializer)


def report(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check the packages and the folder."""
    _options.require(parser, "studies")
    _require_files(parser, arguments.folder)


def _check_study(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    _options.require(parser, "studies")
    data = arguments.data
    if data not in _options.DATA and Path(data).suffix != ".npz":
        _fail(
            parser,
            f"data must be one of {_options.DATA} or the path of a .npz file. Received: {data!r}",
        )
    model = arguments.model
    if model in _options.NETWORKS:
        if arguments.monitor not in (None, *_options.METRICS):
            required = f"`monitor` must be one of {_options.METRICS}"
            _fail(parser, f"{required}. Received: monitor={arguments.monitor!r}")
        return
    if arguments.optimizer or arguments.learning_rate:
        _fail(
            parser,
            "--optimizer and --learning-rate are for built-in networks. Received: --model "
            f"{model}, a function that compiles its model itself",
        )
    try:
        _options.python_function(model)
    except ValueError as error:
        _fail(parser, str(error))


def _check_initializer(parser: argparse.ArgumentParser, text: str) -> None:
    """Check the form of an initializer and, if it is of this package, its name."""
    try:
        name, _ = _options.parse_initializer(text)
    except ValueError as error:
        _fail(parser, str(error))
    if name.startswith("initx."):
        _check_name(parser, name)


def _check_name(parser: argparse.ArgumentParser, name: str) -> None:
    """Refuse what is no name of an initializer of this package.

    The ids are known to Keras only. They are the names of the classes in another spelling.
    """
    known = {_names.spelling(other): string_id for other, string_id in _names.ELSEWHERE.items()}
    for public in keras_initx.__all__:
        if public[0].isupper():
            known[_names.spelling(public)] = f"initx.{public}"
    if _names.spelling(name) in known:
        return
    hint = "`list` shows all ids."
    close = _names.close_ids(name, known)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    parser.error(f"no initializer is named {name!r}; {hint}")


def _require_files(parser: argparse.ArgumentParser, *paths: Path | None) -> None:
    for path in paths:
        if path is not None and not path.exists():
            _fail(parser, f"no such file or folder: {path}")


def _fail(parser: argparse.ArgumentParser, message: str) -> None:
    """Exit with a message, without the usage."""
    parser.exit(2, f"{parser.prog}: error: {message}\n")
