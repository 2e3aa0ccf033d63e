"""Checks of arguments that need neither Keras nor NumPy, so that a slip is answered at once.

Each function takes the parser of its command and the arguments, and exits with an error.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import keras_initx
from keras_initx import _names
from keras_initx.cli import _known, _options


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
    """Check the name of the loss, and the packages for a plot."""
    if arguments.plot:
        _options.require(parser, "plot")
    if arguments.loss is not None:
        _refuse_slip(parser, "loss", arguments.loss, _known.LOSSES, {})


def initialize(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check the rules, and that there is either a file to save to or a dry run."""
    if arguments.dry_run == (arguments.out is not None):
        parser.error("either --out or --dry-run is required")
    _check_rules(parser, arguments.rules)


def audit(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check the rules, and the packages for a plot."""
    if arguments.plot:
        _options.require(parser, "plot")
    _check_rules(parser, arguments.rules)


def demo(parser: argparse.ArgumentParser, _arguments: argparse.Namespace) -> None:
    """Check the packages."""
    _options.require(parser, "demo")


def compare(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check packages and network, and the form and the names of the initializers."""
    _check_study(parser, arguments)
    names = arguments.initializers or ()
    for name in names:
        _check_initializer(parser, arguments, name)
    if len(set(names)) < len(names):
        _fail(parser, f"`initializers` must differ. Received: {', '.join(names)}")


def restarts(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check packages and network, and the form and the name of the initializer."""
    _check_study(parser, arguments)
    _check_initializer(parser, arguments, arguments.initializer)


def report(parser: argparse.ArgumentParser, _arguments: argparse.Namespace) -> None:
    """Check the packages."""
    _options.require(parser, "studies")


def _check_study(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    _options.require(parser, "studies")
    model = arguments.model
    if model in _options.NETWORKS:
        if arguments.monitor not in (None, *_options.METRICS):
            required = f"`monitor` must be one of {_options.METRICS}"
            _fail(parser, f"{required}. Received: monitor={arguments.monitor!r}")
        if arguments.optimizer is not None:
            _refuse_slip(parser, "optimizer", arguments.optimizer, _known.OPTIMIZERS, {})
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


def _check_rules(parser: argparse.ArgumentParser, given: Path | str | None) -> None:
    """Check that rules can be read, and the ids of this package in them."""
    if given is None:
        return
    try:
        rules = _options.read_rules(given)
    except (OSError, ValueError) as error:
        _fail(parser, str(error))
    if isinstance(rules, dict):
        for expected in rules.values():
            if isinstance(expected, str) and expected.startswith("initx."):
                _check_name(parser, expected)


def _check_initializer(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, text: str
) -> None:
    """Check the form and the name of an initializer."""
    try:
        name, _ = _options.parse_initializer(text)
    except ValueError as error:
        _fail(parser, str(error))
    if name.startswith("initx."):
        _check_name(parser, name)
    elif arguments.model in _options.NETWORKS:  # a file of the user may register names of its own
        _refuse_slip(parser, "initializer", name, _known.INITIALIZERS, _ids())


def _check_name(parser: argparse.ArgumentParser, name: str) -> None:
    """Refuse what is no name of an initializer of this package."""
    ids = _ids()
    if _names.spelling(name) in ids:
        return
    close = _names.close_ids(name, ids)
    if not close:
        _fail(parser, f"no initializer is named {name!r}; `list` shows all ids.")
    _refuse(parser, "initializer", name, close)


def _refuse_slip(
    parser: argparse.ArgumentParser,
    kind: str,
    name: str,
    known: Iterable[str],
    ids: Mapping[str, str],
) -> None:
    """Refuse a name that is none of `known`, names of Keras, but like one of them or of `ids`.

    Others are left to Keras: a later version may know more.
    """
    by_spelling = {_names.spelling(one): one for one in known}
    if _names.spelling(name) in by_spelling:
        return
    close = _names.close_ids(name, {**ids, **by_spelling})
    if close:
        _refuse(parser, kind, name, close)


def _refuse(parser: argparse.ArgumentParser, kind: str, name: str, close: Iterable[str]) -> None:
    _fail(parser, f"no {kind} is named {name!r}; did you mean {' or '.join(close)}?")


def _ids() -> dict[str, str]:
    """Return the id of each initializer of this package, by its spelling and its other names.

    Only Keras knows the ids as they are written. They are the names of the classes in another
    spelling.
    """
    ids = {_names.spelling(other): string_id for other, string_id in _names.ELSEWHERE.items()}
    for public in keras_initx.__all__:
        if public[0].isupper():
            ids[_names.spelling(public)] = f"initx.{public}"
    return ids


def _fail(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """Exit with a message, without the usage."""
    parser.exit(2, f"{parser.prog}: error: {message}\n")
