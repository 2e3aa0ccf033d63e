"""The command `restarts`: train from several draws of the initial weights and keep the best model."""

import argparse
import functools

from keras_initx.cli import _initializer_text, _numbers
from keras_initx.cli import _study_command as _study


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "restarts",
        help="train from several draws of the initial weights, stop the worst early, and keep the best model",
        description="Train from several draws of the initial weights by successive halving, save the best model, and "
        "estimate how much of its lead is luck. Run it again with the same arguments to resume an interrupted study.",
    )
    parser.add_argument(
        "--initializer",
        default="he_normal",
        metavar="ID",
        help="string id, optionally with arguments, e.g. 'initx.sparse(gain=relu)'; default: he_normal",
    )
    parser.add_argument("--n", type=_numbers.count, default=10, metavar="N", help="number of draws; default: 10")
    parser.add_argument(
        "--checks",
        type=_numbers.count_or_zero,
        default=3,
        metavar="N",
        help="number of pairs that measure the gain; default: 3",
    )
    _study.add_training_options(parser, epochs=16)

    def run(arguments: argparse.Namespace) -> int:
        build, data = _study.prepare(parser, arguments)
        from keras_initx.studies import RestartStudy, random_restarts

        with _study.exits_with(parser, ValueError):
            # Not a single object, which would give layers of the same shape the same weights.
            initializer = _initializer_text.identifier(arguments.initializer)
        return _study.run(
            parser,
            arguments,
            functools.partial(
                random_restarts,
                functools.partial(build, initializer),
                (data.train, data.validation),
                n=arguments.n,
                checks=arguments.checks,
                title=f"{build.name} on {data.name}, {arguments.initializer}",
            ),
            RestartStudy.read,
        )

    parser.set_defaults(run=run)
