"""Optional dependencies, with an error that shows how to install them."""

import importlib
from types import ModuleType


def import_optional(module: str, extra: str | None) -> ModuleType:
    """Import and return a module.

    Args:
        module: Name of the module.
        extra: Name of the extra that installs it, or `None`.

    Raises:
        ImportError: If it is not installed. The message shows how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(advice(module.split(".")[0], extra)) from error


def advice(package: str, extra: str | None) -> str:
    """Return how to install a package that is missing, of this extra."""
    # Name the package first: pip finds the extra only if it knows where this package came from.
    text = f"{package} not found; install with `pip install {package}`"
    if extra:
        text += f", or keras_initx with its extra `{extra}`"
    return text
