"""How the process starts: as the command line or not, and with which backend.

Does not import Keras.

Keras uses TensorFlow by default and fails if it is not installed. It also writes this default into
its configuration file, so "tensorflow" there may not be the user's choice. Keras reads the
environment variable and the file when it is first imported, so the backend is chosen before.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

BACKENDS = ("jax", "tensorflow", "torch")


def program() -> str:
    """Return the command that was used to start the command line."""
    if Path(*sys.argv[:1]).name in ("initx", "initx.exe"):
        return "initx"
    return "python -m keras_initx"


def is_starting() -> bool:
    """Return whether the command line is starting, through `initx` or `python -m keras_initx`.

    While Python imports the package given by `-m`, `sys.argv[0]` is "-m", and the name is only in
    `sys.orig_argv`.
    """
    if program() == "initx":
        return True
    return sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] == "keras_initx"


def installed_backends() -> list[str]:
    """Return the names of the installed backends, in order of preference."""
    return [backend for backend in BACKENDS if importlib.util.find_spec(backend)]


def use_installed_backend() -> None:
    """Set `KERAS_BACKEND` if Keras would use TensorFlow and TensorFlow is not installed.

    Raises:
        ImportError: If the chosen backend is not installed, or if no backend is installed.
    """
    if "keras" in sys.modules:
        return
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen:
        _check_installed(chosen)
        return
    if _configured_backend() != "tensorflow":
        return
    installed = installed_backends()
    if not installed:
        raise ImportError(
            f"Keras needs one of the backends {BACKENDS}, and none is installed; "
            "install one, such as JAX with `pip install jax`."
        )
    if "tensorflow" not in installed:
        os.environ["KERAS_BACKEND"] = installed[0]


def _check_installed(chosen: str) -> None:
    """Raise an error that names the remedy. Keras' error would only name a module.

    If the backend is unknown, Keras raises the error.
    """
    installed = installed_backends()
    if chosen in BACKENDS and chosen not in installed:
        raise ImportError(
            f"KERAS_BACKEND is {chosen!r}, which is not installed; install it with "
            f"`pip install {chosen}`, or set another. Installed: {', '.join(installed) or 'none'}."
        )


def _configured_backend() -> str:
    home = os.environ.get("KERAS_HOME", "~/.keras")
    try:
        config = json.loads(Path(home, "keras.json").expanduser().read_text())
    except (OSError, ValueError):  # no file, or one that Keras ignores too
        config = {}
    return str(config.get("backend", "tensorflow"))
