"""The command `compare`: train a network several times with each of some initializers."""

import argparse
import functools

from keras_initx.cli import _study_command as _study


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="compare initializers: train a network several times with each, and say which differences are real",
        description="Train a network several times with each of some initializers, under equal conditions, and write "
        "table, records, plots and a page to a folder. Called again with the same arguments, it resumes "
        "where it stopped.",
    )
    parser.add_argument(
        "--initializers",
        type=_names,
        default=["glorot_uniform", "he_normal", "initx.sparse", "initx.orthogonal"],
        metavar="A,B,C",
        help="string ids, of this package or of Keras; by default glorot_uniform,he_normal,initx.sparse,"
        "initx.orthogonal",
    )
    parser.add_argument("--repeats", type=_study.count, default=5, metavar="N", help="trials of each; by default 5")
    _study.add_training_options(parser, epochs=10)
    parser.add_argument("--threshold", type=float, metavar="X", help='value for "epochs to reach"')
    parser.add_argument("--no-diagnosis", action="store_true", help="do not diagnose the first batch of each trial")

    def run(arguments: argparse.Namespace) -> int:
        build, data = _study.prepare(parser, arguments)
        from keras_initx.studies import Study, compare_initializers

        with _study.exits_with(parser, ValueError):
            _study.check_ids(arguments.initializers)
        return _study.run(
            parser,
            arguments,
            functools.partial(
                compare_initializers,
                build,
                arguments.initializers,
                (data.train, data.validation),
                repeats=arguments.repeats,
                threshold=arguments.threshold,
                diagnosis=not arguments.no_diagnosis,
                title=f"{build.name} on {data.name}",
            ),
            functools.partial(Study.read, threshold=arguments.threshold),
        )

    parser.set_defaults(run=run)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
