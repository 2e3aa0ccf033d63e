"""The command `restarts`: train several draws of the initial weights, and keep the best."""

import argparse
import functools

from keras_initx.cli import _initializer_text
from keras_initx.cli import _study_command as _study


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "restarts",
        help="train several draws of the initial weights, stop the worse ones early, keep the best",
        description="Train several draws of the initial weights by successive halving, save the best model, and say "
        "how much of its lead is luck. Called again with the same arguments, it resumes where it stopped.",
    )
    parser.add_argument(
        "--initializer",
        default="he_normal",
        metavar="ID",
        help="string id, with arguments where it needs some, as 'initx.sparse(gain=relu)'; by default he_normal",
    )
    parser.add_argument("--n", type=_study.count, default=10, metavar="N", help="number of draws; by default 10")
    parser.add_argument("--checks", type=int, default=3, metavar="N", help="pairs that measure the gain; by default 3")
    _study.add_training_options(parser, epochs=16)

    def run(arguments: argparse.Namespace) -> int:
        build, data = _study.prepare(parser, arguments)
        from keras_initx.studies import RestartStudy, random_restarts

        with _study.exits_with(parser, ValueError):
            # Not one object, with which layers of one shape would start with the same weights.
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
