"""The extras of the package: modules that are imported where they are used, and what to install for them."""

import argparse
import importlib
import importlib.util
from types import ModuleType


def needed(module: str, extra: str | None) -> ModuleType:
    """Return the module of this name.

    Args:
        module: Name of the module.
        extra: Name of the extra that it comes with, `None` if it comes with none.

    Raises:
        ImportError: If it is not installed; says how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(_advice([module.split(".")[0]], extra)) from error


def require(parser: argparse.ArgumentParser, extra: str, distributions: dict[str, str]) -> None:
    """End a command with an error unless all modules that `extra` brings are there.

    Args:
        parser: The command's parser.
        extra: Name of the extra.
        distributions: Dict from the name of a module to that of the distribution it comes with.
    """
    missing = [name for module, name in distributions.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.error(_advice(missing, extra))


def _advice(missing: list[str], extra: str | None) -> str:
    # By their own names first: pip finds the extra only if it is told again where this package came from.
    text = f"{', '.join(missing)} not found; install with `pip install {' '.join(missing)}`"
    return f"{text}, or keras_initx with its extra `{extra}`" if extra else text
