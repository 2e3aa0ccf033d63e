"""Whether this process is the command line. Imported before Keras, which it does not need."""

import sys
from pathlib import Path

_SCRIPTS = ("initx", "initx.exe")


def program() -> str:
    """Return how the command line was called."""
    return "initx" if _is_script() else "python -m keras_initx"


def is_starting() -> bool:
    """Return whether the command line is being started, by `initx` or by `python -m keras_initx`.

    While Python imports the package that `-m` names, `sys.argv[0]` is "-m", and the name is in `sys.orig_argv` only.
    """
    return _is_script() or (sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] == "keras_initx")


def _is_script() -> bool:
    return Path(*sys.argv[:1]).name in _SCRIPTS
