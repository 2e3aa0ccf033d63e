"""Shared code of the study commands: options, data and model, and output files."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_initx._extras import require
from keras_initx.cli import _numbers

if TYPE_CHECKING:
    from keras_initx.cli._data import Dataset
    from keras_initx.cli._networks import FileBuild, Network

MODULES = {"joblib": "joblib", "matplotlib": "matplotlib", "rich": "rich", "scipy": "scipy", "sklearn": "scikit-learn"}


def add_training_options(parser: argparse.ArgumentParser, epochs: int) -> None:
    """Add the options for training and for the output folder."""
    parser.add_argument(
        "--data",
        default="digits",
        metavar="NAME",
        help="digits, mnist, fashion_mnist, cifar10, synthetic (random images with the shape of CIFAR-10), or PATH.npz "
        "with x_train, y_train, x_test and y_test; default: digits",
    )
    parser.add_argument(
        "--model",
        default="cnn",
        metavar="NAME",
        help="mlp, cnn, image_study, vgg, resnet, lstm, or FILE.py:FUNCTION, a function that takes an initializer and "
        "returns a compiled model; default: cnn",
    )
    parser.add_argument(
        "--epochs", type=_numbers.count, default=epochs, metavar="N", help=f"number of epochs; default: {epochs}"
    )
    parser.add_argument("--batch-size", type=_numbers.count, default=32, metavar="N", help="default: 32")
    parser.add_argument("--optimizer", default="sgd", metavar="NAME", help="name of a Keras optimizer; default: sgd")
    parser.add_argument(
        "--learning-rate", type=_numbers.positive, metavar="X", help="default: that of the Keras optimizer"
    )
    parser.add_argument("--seed", type=_numbers.seed, default=0, metavar="N", help="root of all seeds; default: 0")
    parser.add_argument(
        "--jobs",
        type=_numbers.processes,
        default=1,
        metavar="N",
        help="number of processes, -1 for all cores; default: 1",
    )
    parser.add_argument("--out", type=Path, default=Path("study"), metavar="DIR", help="output folder; default: study")
    add_metric_options(parser)


def add_metric_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the metric to rank by."""
    parser.add_argument("--monitor", metavar="NAME", help="metric to rank by, e.g. val_loss; default: val_accuracy")
    parser.add_argument(
        "--mode",
        choices=("auto", "max", "min"),
        default="auto",
        help="whether larger or smaller values are better; default: as known for the metrics of Keras",
    )


def prepare(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> "tuple[FileBuild | Network, Dataset]":
    """Return the function that builds a model from an initializer, and the data."""
    require(parser, "studies", MODULES)
    from keras_initx.cli import _data, _networks

    with exits_with(parser, ValueError, _data.DataError):
        data = _data.load(arguments.data)
        if arguments.model not in _networks.NAMES:
            return _networks.FileBuild.parse(arguments.model), data
        optimizer = arguments.optimizer, arguments.learning_rate
        build = _networks.Network(arguments.model, data.shape, data.classes, *optimizer)
        build("zeros")  # so that a model that does not fit the data fails now
        return build, data


def run(
    parser: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    function: Callable[..., Any],
    read: Callable[..., Any],
) -> int:
    """Run a study and write its results, also if it is interrupted."""
    from keras_initx.studies import DamagedFileError, SettingsError

    metric = {"monitor": arguments.monitor, "mode": arguments.mode}
    with exits_with(parser, DamagedFileError, OSError, RuntimeError, SettingsError, ValueError):
        try:
            result = function(
                epochs=arguments.epochs,
                batch_size=arguments.batch_size,
                seed=arguments.seed,
                n_jobs=arguments.jobs,
                out=arguments.out,
                **metric,
            )
        except KeyboardInterrupt:
            sys.stderr.write("\nInterrupted; run the same command again to resume. Results so far:\n\n")
            write(read(arguments.out, **metric), arguments.out)
            raise
        write(result, arguments.out)
        _check_any_settled(result)
    return 0


def _check_any_settled(result: Any) -> None:
    """Raise `RuntimeError` if every trial of a comparison failed; `random_restarts` checks this itself."""
    trials = getattr(result, "trials", {}).values()
    if trials and all(trial.status == "failed" for trial in trials):
        raise RuntimeError(f"all {len(trials)} trials failed: {next(iter(trials)).end['error']}")


def write(result: Any, folder: Path) -> None:
    """Print a result and write its files to the folder."""
    from keras_initx.studies._result import write_plots_and_report

    sys.stdout.write(f"{result}\n")
    folder.joinpath("table.txt").write_text(f"{result}\n", encoding="utf-8")
    write_plots_and_report(result, folder)
    if hasattr(result, "records"):
        result.to_csv(folder / "records.csv")
        result.to_jsonl(folder / "records.jsonl")
    if getattr(result, "model", None) is not None:
        result.model.save(folder / "best.keras")
    sys.stdout.write(f"\nRecords, plots and report.html are in {folder}.\n")


@contextlib.contextmanager
def exits_with(parser: argparse.ArgumentParser, *errors: type[Exception]) -> Iterator[None]:
    """Exit with the message of these errors, without the usage."""
    try:
        yield
    except BrokenPipeError:  # of standard output, which `main` handles
        raise
    except errors as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
