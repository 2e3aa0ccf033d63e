"""Checks of arguments that need neither Keras nor NumPy, so that a slip is answered at once.

Each function takes the parser of its command and the arguments, and exits with an error.
"""

import argparse
from pathlib import Path

from keras_initx.cli import _options


def nothing(_parser: argparse.ArgumentParser, _arguments: argparse.Namespace) -> None:
    """Check nothing: the command has no such arguments."""


def show(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check the form of the initializer, and the packages for a plot."""
    try:
        _options.parse_initializer(arguments.name)
    except ValueError as error:
        parser.error(str(error))
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
    """Check packages, data and network, and the form of the initializers."""
    _check_study(parser, arguments)
    names = arguments.initializers or ()
    for name in names:
        _check_form(parser, name)
    if len(set(names)) < len(names):
        _fail(parser, f"`initializers` must differ. Received: {', '.join(names)}")


def restarts(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check packages, data and network, and the form of the initializer."""
    _check_study(parser, arguments)
    _check_form(parser, arguments.initializer)


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


def _check_form(parser: argparse.ArgumentParser, text: str) -> None:
    try:
        _options.parse_initializer(text)
    except ValueError as error:
        _fail(parser, str(error))


def _require_files(parser: argparse.ArgumentParser, *paths: Path | None) -> None:
    for path in paths:
        if path is not None and not path.exists():
            _fail(parser, f"no such file or folder: {path}")


def _fail(parser: argparse.ArgumentParser, message: str) -> None:
    """Exit with a message, without the usage."""
    parser.exit(2, f"{parser.prog}: error: {message}\n")
