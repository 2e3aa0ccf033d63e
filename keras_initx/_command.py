"""Detect whether this process is the command line. Does not import Keras."""

import sys
from pathlib import Path

_SCRIPTS = ("initx", "initx.exe")


def program() -> str:
    """Return the command that was used to start the command line."""
    return "initx" if _is_script() else "python -m keras_initx"


def is_starting() -> bool:
    """Return whether the command line is starting, through `initx` or `python -m keras_initx`.

    While Python imports the package given by `-m`, `sys.argv[0]` is "-m", and the name is only in
    `sys.orig_argv`.
    """
    return _is_script() or (sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] == "keras_initx")


def _is_script() -> bool:
    return Path(*sys.argv[:1]).name in _SCRIPTS
