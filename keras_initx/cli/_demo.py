"""The command `demo`: models trained on one backend give the same predictions on every other."""

import argparse

from keras_initx._extras import require


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="train three small networks and load them on every installed backend",
        description="Train three small networks on scikit-learn's digits with initializers named by string id, save "
        "them, load them on every installed backend, each in a fresh process, and compare weights and predictions. "
        "Trains on the backend in KERAS_BACKEND, or on the first installed one of jax, tensorflow and torch; "
        "everything runs on the CPU. The exit code is 1 if anything differs.",
    )

    def run(_arguments: argparse.Namespace) -> int:
        require(parser, "demo", {"rich": "rich", "sklearn": "scikit-learn"})
        from keras_initx.cli import _round_trip

        return _round_trip.run()

    parser.set_defaults(run=run)
