"""Import optional dependencies, or raise an error that says how to install them."""

import argparse
import importlib
import importlib.util
from types import ModuleType


def import_optional(module: str, extra: str | None) -> ModuleType:
    """Import and return a module.

    Args:
        module: Name of the module.
        extra: Name of the extra that installs it, or `None`.

    Raises:
        ImportError: If it is not installed. The message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(_advice([module.split(".")[0]], extra)) from error


def require(parser: argparse.ArgumentParser, extra: str, distributions: dict[str, str]) -> None:
    """Exit a command with an error unless all modules of `extra` are installed.

    Args:
        parser: The command's parser.
        extra: Name of the extra.
        distributions: Dict from module names to distribution names.
    """
    missing = [name for module, name in distributions.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.error(_advice(missing, extra))


def _advice(missing: list[str], extra: str | None) -> str:
    # Name the packages first: pip finds the extra only if it knows where this package came from.
    text = f"{', '.join(missing)} not found; install with `pip install {' '.join(missing)}`"
    return f"{text}, or keras_initx with its extra `{extra}`" if extra else text
