"""The extras of the package, where a command needs them."""

import importlib.util


def require(parser, extra, distributions):
    """End with an error unless all modules that the `extra` brings are there.

    Args:
        parser: The command's parser.
        extra: Name of the extra.
        distributions: Dict from the name of a module to that of the distribution it comes with.
    """
    missing = [name for module, name in distributions.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.error(f'{" and ".join(missing)} not found; install with `pip install "keras_initx[{extra}]"`')
