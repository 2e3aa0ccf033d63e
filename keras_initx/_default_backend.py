"""Let Keras start with a backend that is installed.

Keras takes TensorFlow unless told otherwise, and fails where it is not installed. It also writes that
default into its configuration file, so "tensorflow" there need not be anyone's choice. Keras reads both
when it is first imported: this module has to be imported before.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

BACKENDS = ("jax", "tensorflow", "torch")


def installed_backends() -> list[str]:
    """Return the names of the installed backends, the preferred one first."""
    return [backend for backend in BACKENDS if importlib.util.find_spec(backend)]


def use_installed_backend() -> None:
    """Set `KERAS_BACKEND` if Keras would otherwise look for a TensorFlow that is not there."""
    if "keras" in sys.modules or os.environ.get("KERAS_BACKEND") or _configured_backend() != "tensorflow":
        return
    installed = installed_backends()
    if not installed:
        raise ImportError(
            f"Keras needs one of the backends {BACKENDS}, and none is installed; "
            "install one, such as JAX with `pip install jax`."
        )
    if "tensorflow" not in installed:
        os.environ["KERAS_BACKEND"] = installed[0]


def _configured_backend() -> str:
    home = os.environ.get("KERAS_HOME", "~/.keras")
    try:
        config = json.loads(Path(home, "keras.json").expanduser().read_text())
    except (OSError, ValueError):  # No file, or one that Keras ignores too.
        config = {}
    backend: str = config.get("backend", "tensorflow")
    return backend


use_installed_backend()
