"""The command `diagnose`: find problems with the weights of a saved model."""

import argparse
import sys
from pathlib import Path

from keras_initx._extras import require
from keras_initx.cli import _numbers


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diagnose",
        help="run a batch through a saved model and report problems caused by its weights",
        description="Run a batch forward through a saved model, and backward if labels are given. Show statistics of "
        "each layer, and report each problem with its location and a remedy. The exit code is 1 if a problem of the "
        "--fail-on level or higher is found, otherwise 0.",
    )
    parser.add_argument("model", type=Path, help="the model, a .keras file")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="the inputs: a .npy file, or a .npz file with x and optionally y for the labels, or with an array for "
        "each named input",
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="the labels, a .npy file; needed for gradients")
    parser.add_argument("--loss", metavar="NAME", help="the loss; default: the one that the model is compiled with")
    parser.add_argument(
        "--batch-size", type=_numbers.count, default=1024, metavar="N", help="use only the first N examples"
    )
    parser.add_argument(
        "--threshold",
        type=_threshold,
        action="append",
        default=[],
        metavar="NAME=X",
        help="change a threshold, e.g. vanishing=1e-4; the documentation of keras_initx.diagnose lists all",
    )
    parser.add_argument(
        "--fail-on",
        choices=("error", "warning", "note"),
        default="warning",
        help="the lowest level at which the exit code is 1; default: warning",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to a file as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to a file as CSV")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="plot the report to a file; the suffix sets the format"
    )

    def run(arguments: argparse.Namespace) -> int:
        if arguments.plot:
            require(parser, "plot", {"matplotlib": "matplotlib"})
        from keras_initx.cli import _saved_model

        try:
            x, y = _saved_model.read_data(arguments.data, arguments.labels)
        except (OSError, ValueError) as error:
            parser.error(f"cannot read data: {error}")
        try:
            report = _saved_model.diagnose(
                arguments.model,
                x,
                y,
                loss=arguments.loss,
                batch_size=arguments.batch_size,
                **dict(arguments.threshold),
            )
        except Exception as error:  # A model may raise anything, and exit code 1 is reserved.
            parser.error(f"cannot diagnose {arguments.model}: {error}")
        sys.stdout.write(f"{report}\n")
        try:
            _saved_model.write(report, arguments.json, arguments.csv, arguments.plot)
        except (OSError, ValueError) as error:
            parser.error(f"cannot write: {error}")
        return int(report.fails_on(arguments.fail_on))

    parser.set_defaults(run=run)


def _threshold(text: str) -> tuple[str, float]:
    """Parse the name and value of a threshold such as `vanishing=1e-4`."""
    name, _, number = text.partition("=")
    try:
        return name, _numbers.positive(number)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a threshold must have the form vanishing=1e-4, with a positive number. Received: {text!r}"
        ) from None
