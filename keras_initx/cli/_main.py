"""The entry point: read the arguments, run a command, and return an exit code."""

import contextlib
import difflib
import importlib
import io
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn, TextIO

from keras_initx import _startup
from keras_initx._suggestions import did_you_mean
from keras_initx.cli import _options, _parser

# The exit codes of shells after a write to a closed pipe and after Ctrl-C.
_CLOSED_PIPE = 141
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv`.

    Args:
        argv: The arguments, by default the arguments of the process.

    Returns:
        The exit code: 0 on success.

    Raises:
        SystemExit: With code 2 if the arguments are invalid, a required package is not installed,
            or the command fails.
    """
    _prepare_streams()
    try:
        try:
            return _run(argv)
        finally:
            _flush(sys.stdout)
    except BrokenPipeError:
        return _CLOSED_PIPE
    except OSError as error:  # also if standard output is on a full disk
        _exit(f"{_startup.program()}: error: {error}\n")
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{_startup.program()}: interrupted\n")
        return _INTERRUPTED
    except Exception:  # Python's exit code would be 1, which means that a problem was found.
        _exit(traceback.format_exc())
    finally:
        with contextlib.suppress(OSError):
            _flush(sys.stderr)


def _prepare_streams() -> None:
    """Make standard output and errors take any text, in any encoding, also if they are closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # This also takes the free descriptor, which else would be that of the next file: of the
            # model to save.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, open until the end
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser.build()
    if argv is None:
        argv = sys.argv[1:]
    command = "".join(argv[:1])
    if command not in _parser.COMMANDS:
        similar = difflib.get_close_matches(command, _parser.COMMANDS, n=1)
        if similar:
            parser.error(f"no command is named {command!r}{did_you_mean(similar)}")
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        parser.print_help()
        return 0
    _options.refuse_shared_files(arguments.parser, arguments)
    _options.read_rules(arguments.parser, arguments)
    # What `import keras_initx` does otherwise: choose a backend, import Keras, register the ids.
    try:
        _startup.use_installed_backend()
        importlib.import_module("keras_initx.initializers")
    except (ImportError, ValueError) as error:
        parser.error(f"Keras cannot be imported: {error}")
    run = pkgutil.resolve_name(arguments.run)
    return int(run(arguments.parser, arguments))


def _flush(stream: TextIO) -> None:
    """Write the contents of the buffer of `stream`.

    Python does this at exit, where errors change the exit code to 120.
    """
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python tries again
        raise


def _exit(message: str) -> NoReturn:
    """Exit with code 2, even if a full disk cannot take the message."""
    with contextlib.suppress(OSError):
        sys.stderr.write(message)
    raise SystemExit(2)
