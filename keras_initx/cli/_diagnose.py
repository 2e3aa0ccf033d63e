"""The command `diagnose`: problems of the weights of a saved model."""

import argparse
from pathlib import Path

from keras_initx._extras import require


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diagnose",
        help="tell what the weights of a saved model do to a batch, and what is wrong with them",
        description="Run a batch through a saved model, with labels also backward, show statistics of each layer, and "
        "name what is wrong, where, and what to use instead. The exit code is 1 if anything of the level --fail-on, or "
        "more serious, is found, otherwise 0.",
    )
    parser.add_argument("model", type=Path, help="the model, a .keras file")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="the inputs: a .npy file; or a .npz file with x, and y for the labels, or with an array for each input "
        "under its name",
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="the labels, a .npy file: for gradients")
    parser.add_argument("--loss", metavar="NAME", help="the loss, unless the model is compiled with one")
    parser.add_argument("--batch-size", type=int, default=1024, metavar="N", help="use only the first N examples")
    parser.add_argument(
        "--threshold",
        type=_threshold,
        action="append",
        default=[],
        metavar="NAME=X",
        help="where a problem begins, as vanishing=1e-4; the documentation of keras_initx.diagnose lists all",
    )
    parser.add_argument(
        "--fail-on",
        choices=("error", "warning", "note"),
        default="warning",
        help="the least serious level at which the exit code is 1, by default warning",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to a file as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table to a file as CSV")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw to a file; its suffix says in which format")

    def run(arguments: argparse.Namespace) -> int:
        if arguments.plot:
            require(parser, "plot", {"matplotlib": "matplotlib"})
        from keras_initx.cli import _saved_model

        try:
            x, y = _saved_model.read_data(arguments.data, arguments.labels)
        except (OSError, ValueError) as error:
            parser.error(f"no data: {error}")
        try:
            report = _saved_model.diagnose(
                arguments.model,
                x,
                y,
                loss=arguments.loss,
                batch_size=arguments.batch_size,
                **dict(arguments.threshold),
            )
        except Exception as error:  # A model may raise anything, and the exit code 1 has a meaning.
            parser.error(f"no diagnosis of {arguments.model}: {error}")
        try:
            _saved_model.write(report, arguments.json, arguments.csv, arguments.plot)
        except (OSError, ValueError) as error:
            parser.error(f"not written: {error}")
        return int(report.fails_on(arguments.fail_on))

    parser.set_defaults(run=run)


def _threshold(text: str) -> tuple[str, float]:
    """Return the name and the number that are written as `vanishing=1e-4`."""
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a threshold is written as vanishing=1e-4. Received: {text!r}") from None
