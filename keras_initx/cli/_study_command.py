"""What the commands for studies share: options, data and model, and what is written to the folder."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_initx._extras import require

if TYPE_CHECKING:
    from keras_initx.cli._data import Dataset
    from keras_initx.cli._networks import FileBuild, Network

MODULES = {"joblib": "joblib", "matplotlib": "matplotlib", "rich": "rich", "scipy": "scipy", "sklearn": "scikit-learn"}


def add_training_options(parser: argparse.ArgumentParser, epochs: int) -> None:
    """Add what a study trains with, and where it is recorded."""
    parser.add_argument(
        "--data",
        default="digits",
        metavar="NAME",
        help="digits, mnist, fashion_mnist, cifar10, PATH.npz with x_train, y_train, x_test and y_test, or synthetic: "
        "made-up images of the shape of CIFAR-10's; by default digits",
    )
    parser.add_argument(
        "--model",
        default="cnn",
        metavar="NAME",
        help="mlp, cnn, image_study, vgg, resnet, lstm, or FILE.py:FUNCTION that takes an initializer and returns a "
        "compiled model; by default cnn",
    )
    parser.add_argument("--epochs", type=count, default=epochs, metavar="N", help=f"by default {epochs}")
    parser.add_argument("--batch-size", type=count, default=32, metavar="N", help="by default 32")
    parser.add_argument("--optimizer", default="sgd", metavar="NAME", help="as Keras calls it; by default sgd")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="by default that of the optimizer in Keras")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="root of all seeds; by default 0")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, -1 for all cores; by default 1")
    parser.add_argument("--out", type=Path, default=Path("study"), metavar="DIR", help="folder; by default study")
    add_metric_options(parser)


def add_metric_options(parser: argparse.ArgumentParser) -> None:
    """Add which metric decides."""
    parser.add_argument("--monitor", metavar="NAME", help="metric to rank by, as val_loss; by default val_accuracy")
    parser.add_argument(
        "--mode", choices=("auto", "max", "min"), default="auto", help="which value of it is best; by default by name"
    )


def count(text: str) -> int:
    """Return the positive integer that `text` is."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


count.__name__ = "positive integer"  # which argparse names in its error


def prepare(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> "tuple[FileBuild | Network, Dataset]":
    """Return what builds a model of an initializer, and the data."""
    require(parser, "studies", MODULES)
    from keras_initx.cli import _data, _networks

    with exits_with(parser, ValueError, _data.DataError):
        data = _data.load(arguments.data)
        if arguments.model not in _networks.NAMES:
            return _networks.FileBuild.parse(arguments.model), data
        optimizer = arguments.optimizer, arguments.learning_rate
        build = _networks.Network(arguments.model, data.shape, data.classes, *optimizer)
        build("zeros")  # so that what does not fit the data is an error now
        return build, data


def run(
    parser: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    function: Callable[..., Any],
    read: Callable[..., Any],
) -> int:
    """Run a study and write what came of it, also if it is interrupted."""
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
            sys.stderr.write("\nInterrupted; the same command resumes from here. So far:\n\n")
            write(read(arguments.out, **metric), arguments.out)
            raise
        write(result, arguments.out)
        _check_any_settled(result)
    return 0


def _check_any_settled(result: Any) -> None:
    """Refuse a comparison of which every trial failed; `random_restarts` does so by itself."""
    trials = getattr(result, "trials", {}).values()
    if trials and all(trial.status == "failed" for trial in trials):
        raise RuntimeError(f"all {len(trials)} trials failed: {next(iter(trials)).end['error']}")


def write(result: Any, folder: Path) -> None:
    """Print a result, and write all that can be made of it to its folder."""
    sys.stdout.write(f"{result}\n")
    folder.joinpath("table.txt").write_text(f"{result}\n", encoding="utf-8")
    result.plot(folder / "plots")
    result.report(folder / "report.html")
    if hasattr(result, "records"):
        result.to_csv(folder / "records.csv")
        result.to_jsonl(folder / "records.jsonl")
    if getattr(result, "model", None) is not None:
        result.model.save(folder / "best.keras")
    sys.stdout.write(f"\nRecords, plots and report.html are in {folder}.\n")


@contextlib.contextmanager
def exits_with(parser: argparse.ArgumentParser, *errors: type[Exception]) -> Iterator[None]:
    """End the command with the message of these errors, and nothing else: its usage is not what is wrong."""
    try:
        yield
    except errors as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
