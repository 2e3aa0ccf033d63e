"""The command line, `python -m keras_initx`: one function for each subcommand."""

import argparse
import importlib.util

import keras_initx


def main(argv=None) -> int:
    """Run the command given by `argv`, by default the process' own arguments.

    Args:
        argv: List of arguments.

    Returns:
        The exit code: 0 if all went well.

    Raises:
        SystemExit: With code 2, if the arguments are wrong or an extra of the package is missing.
    """
    parser = argparse.ArgumentParser(prog="python -m keras_initx", description=keras_initx.__doc__)
    parser.add_argument("--version", action="version", version=f"keras_initx {keras_initx.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    for add_command in (_add_demo,):
        add_command(commands)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


def _add_demo(commands):
    parser = commands.add_parser(
        "demo",
        help="train three small networks and load them again on every installed backend",
        description="Train three small networks on scikit-learn's digits with initializers named by string id, save "
        "them, load them on every installed backend, each in a fresh process, and compare weights and predictions. "
        "Trains on the backend that KERAS_BACKEND names, by default the first installed of jax, tensorflow and torch; "
        "everything runs on the CPU. The exit code is 1 if anything differs.",
    )

    def run(_arguments):
        _require(parser, "demo", {"rich": "rich", "sklearn": "scikit-learn"})
        from keras_initx import _demo

        return _demo.run()

    parser.set_defaults(run=run)


def _require(parser, extra, distributions):
    """End with an error unless all modules that the `extra` brings are there.

    Args:
        parser: The command's parser.
        extra: Name of the extra.
        distributions: Dict from the name of a module to that of the distribution it comes with.
    """
    missing = [name for module, name in distributions.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.error(f'{" and ".join(missing)} not found; install with `pip install "keras_initx[{extra}]"`')
