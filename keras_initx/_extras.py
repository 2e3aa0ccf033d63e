"""The extras of the package: modules that are imported where they are used, and what to install for them."""

import importlib
import importlib.util


def needed(module, extra):
    """Return the module of this name, which comes with `extra`.

    Raises:
        ImportError: If it is not installed; says how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(_advice([module.split(".")[0]])) from error


def require(parser, extra, distributions):
    """End a command with an error unless all modules that `extra` brings are there.

    Args:
        parser: The command's parser.
        extra: Name of the extra.
        distributions: Dict from the name of a module to that of the distribution it comes with.
    """
    missing = [name for module, name in distributions.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.error(_advice(missing))


def _advice(missing: list[str]) -> str:
    # Not the extra, which pip finds only if it is told again where this package came from.
    return f"{', '.join(missing)} not found; install with `pip install {' '.join(missing)}`"
