"""The entry point: parse the arguments, run a command, and return an exit code."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import keras_initx
from keras_initx._command import program
from keras_initx.cli import _compare, _demo, _diagnose, _initialize, _list, _report, _restarts, _show

_COMMANDS = (_list, _show, _diagnose, _initialize, _demo, _compare, _restarts, _report)
# The exit codes of shells after a write to a closed pipe and after Ctrl-C.
_CLOSED_PIPE = 141
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv`.

    Args:
        argv: The arguments, by default those of the process.

    Returns:
        The exit code: 0 on success.

    Raises:
        SystemExit: With code 2 if the arguments are invalid or a required package is not installed.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # here, because errors at exit cannot be handled
    except OSError as error:  # also if standard output is on a full disk
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
    """Do what `import keras_initx` does otherwise: choose a backend, import Keras, register the ids."""
    try:
        importlib.import_module("keras_initx._default_backend")
        importlib.import_module("keras_initx.initializers")
    except (ImportError, ValueError) as error:
        parser.error(f"Keras cannot be imported: {error}")
