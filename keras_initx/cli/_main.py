"""The command line: reads the arguments, and turns what goes wrong into an exit code."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import keras_initx
from keras_initx._command import program
from keras_initx.cli import _compare, _demo, _diagnose, _initialize, _list, _report, _restarts, _show

_COMMANDS = (_list, _show, _diagnose, _initialize, _demo, _compare, _restarts, _report)
# What a shell reports of a program that writes to a closed pipe, and of one that Ctrl-C has ended.
_CLOSED_PIPE = 141
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command given by `argv`, by default the process' own arguments.

    Args:
        argv: The arguments.

    Returns:
        The exit code: 0 if all went well.

    Raises:
        SystemExit: With code 2, if the arguments are wrong or something that the command needs is not installed.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # here, because nothing can be done about an error at exit
    except OSError as error:  # also a full disk below the standard output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        if isinstance(error, BrokenPipeError):
            return _CLOSED_PIPE
        sys.stderr.write(f"{program()}: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog=program(), description=keras_initx.__doc__)
    parser.add_argument("--version", action="version", version=f"keras_initx {keras_initx.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    arguments = parser.parse_args(argv)
    _load_package(parser)
    exit_code: int = arguments.run(arguments)
    return exit_code


def _load_package(parser: argparse.ArgumentParser) -> None:
    """Do what `import keras_initx` does elsewhere: choose a backend, import Keras, register the ids."""
    try:
        importlib.import_module("keras_initx._default_backend")
        importlib.import_module("keras_initx.initializers")
    except (ImportError, ValueError) as error:
        parser.error(f"Keras cannot be imported: {error}")
