"""The subcommands for studies: `compare`, `restarts` and `report`."""

import contextlib
import functools
import sys
from pathlib import Path

from keras_initx._extras import require

_MODULES = {"joblib": "joblib", "matplotlib": "matplotlib", "rich": "rich", "scipy": "scipy", "sklearn": "scikit-learn"}
# What a shell expects of a program that Ctrl-C has ended.
_INTERRUPTED = 130


def _add_compare(commands):
    parser = commands.add_parser(
        "compare",
        help="compare initializers: train a network several times with each, and say which differences are real",
        description="Train a network several times with each of some initializers, under equal conditions, and write "
        "table, records, plots and a page to a folder. Called again with the same arguments, it resumes where it "
        "stopped.",
    )
    parser.add_argument(
        "--initializers",
        type=_names,
        default=["glorot_uniform", "he_normal", "initx.sparse", "initx.orthogonal"],
        metavar="A,B,C",
        help="string ids, of this package or of Keras; by default glorot_uniform,he_normal,initx.sparse,"
        "initx.orthogonal",
    )
    parser.add_argument("--repeats", type=_count, default=5, metavar="N", help="trials of each; by default 5")
    _add_training(parser, epochs=10)
    parser.add_argument("--threshold", type=float, metavar="X", help='value for "epochs to reach"')

    def run(arguments):
        build, data = _prepared(parser, arguments)
        from keras_initx.studies import Study, compare_initializers

        with _ended_by(parser, ValueError):
            _check_ids(arguments.initializers)
        return _run(
            parser,
            arguments,
            functools.partial(
                compare_initializers,
                build,
                arguments.initializers,
                (data.train, data.validation),
                repeats=arguments.repeats,
                threshold=arguments.threshold,
                title=f"{build.name} on {data.name}",
            ),
            functools.partial(Study.read, threshold=arguments.threshold),
        )

    parser.set_defaults(run=run)


def _add_restarts(commands):
    parser = commands.add_parser(
        "restarts",
        help="train several draws of the initial weights, stop the worse ones early, keep the best",
        description="Train several draws of the initial weights by successive halving, save the best model, and say "
        "how much of its lead is luck. Called again with the same arguments, it resumes where it stopped.",
    )
    parser.add_argument("--initializer", default="he_normal", metavar="ID", help="string id; by default he_normal")
    parser.add_argument("--n", type=_count, default=10, metavar="N", help="number of draws; by default 10")
    parser.add_argument("--checks", type=int, default=3, metavar="N", help="pairs that measure the gain; by default 3")
    _add_training(parser, epochs=16)

    def run(arguments):
        build, data = _prepared(parser, arguments)
        from keras_initx.studies import RestartStudy, random_restarts

        with _ended_by(parser, ValueError):
            _check_ids([arguments.initializer])
        return _run(
            parser,
            arguments,
            functools.partial(
                random_restarts,
                functools.partial(build, arguments.initializer),
                (data.train, data.validation),
                n=arguments.n,
                checks=arguments.checks,
                title=f"{build.name} on {data.name}, {arguments.initializer}",
            ),
            RestartStudy.read,
        )

    parser.set_defaults(run=run)


def _add_report(commands):
    parser = commands.add_parser(
        "report",
        help="draw tables, plots and page of a study again, finished or not",
        description="Write table, records, plots and page of a study again from what its folder holds, finished or "
        "not.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of `compare` or `restarts`")
    _add_judging(parser)
    parser.add_argument("--threshold", type=float, metavar="X", help='value for "epochs to reach", of `compare`')

    def run(arguments):
        require(parser, "studies", _MODULES)
        from keras_initx.studies import DamagedFileError, RestartStudy, Study
        from keras_initx.studies._folder import Folder

        judging = {"monitor": arguments.monitor, "mode": arguments.mode}
        with _ended_by(parser, OSError, ValueError, DamagedFileError):
            result: RestartStudy | Study
            if Folder(arguments.folder).header()["kind"] == "restarts":
                result = RestartStudy.read(arguments.folder, **judging)
            else:
                result = Study.read(arguments.folder, threshold=arguments.threshold, **judging)
            _write(result, arguments.folder)
        return 0

    parser.set_defaults(run=run)


COMMANDS = (_add_compare, _add_restarts, _add_report)


def _add_training(parser, epochs):
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
        help="mlp, cnn, vgg, resnet, lstm, or FILE.py:FUNCTION that takes an initializer and returns a compiled model; "
        "by default cnn",
    )
    parser.add_argument("--epochs", type=_count, default=epochs, metavar="N", help=f"by default {epochs}")
    parser.add_argument("--batch-size", type=_count, default=32, metavar="N", help="by default 32")
    parser.add_argument("--optimizer", default="sgd", metavar="NAME", help="as Keras calls it; by default sgd")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="by default that of the optimizer in Keras")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="root of all seeds; by default 0")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, -1 for all cores; by default 1")
    parser.add_argument("--out", type=Path, default=Path("study"), metavar="DIR", help="folder; by default study")
    _add_judging(parser)


def _add_judging(parser):
    parser.add_argument("--monitor", metavar="NAME", help="metric to compare by, as val_loss; by default val_accuracy")
    parser.add_argument(
        "--mode", choices=("auto", "max", "min"), default="auto", help="which value of it is best; by default by name"
    )


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def _count(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_count.__name__ = "positive integer"  # which argparse names in its error


def _check_ids(names):
    from keras_initx.studies._seeds import seeded

    for name in names:
        seeded(name, 0)


def _prepared(parser, arguments):
    """Return what builds a model of an initializer, and the data."""
    require(parser, "studies", _MODULES)
    from keras_initx.cli import _data, _networks

    with _ended_by(parser, ValueError, _data.DataError):
        data = _data.load(arguments.data)
        if arguments.model not in _networks.NAMES:
            return _networks.FileBuild.parse(arguments.model), data
        optimizer = arguments.optimizer, arguments.learning_rate
        build = _networks.Network(arguments.model, data.shape, data.classes, *optimizer)
        build("zeros")  # so that what does not fit the data is an error now
        return build, data


def _run(parser, arguments, function, read):
    """Run a study and write what came of it, also if it is interrupted."""
    from keras_initx.studies import DamagedFileError, SettingsError

    judging = {"monitor": arguments.monitor, "mode": arguments.mode}
    with _ended_by(parser, DamagedFileError, OSError, RuntimeError, SettingsError, ValueError):
        try:
            result = function(
                epochs=arguments.epochs,
                batch_size=arguments.batch_size,
                seed=arguments.seed,
                n_jobs=arguments.jobs,
                out=arguments.out,
                **judging,
            )
        except KeyboardInterrupt:
            sys.stderr.write("\nInterrupted; the same command goes on from here. So far:\n\n")
            _write(read(arguments.out, **judging), arguments.out)
            return _INTERRUPTED
        _write(result, arguments.out)
        _check_any_settled(result)
    return 0


def _check_any_settled(result):
    """Refuse a comparison of which every trial failed; `random_restarts` does so by itself."""
    trials = getattr(result, "trials", {}).values()
    if trials and all(trial.status == "failed" for trial in trials):
        raise RuntimeError(f"all {len(trials)} trials failed: {next(iter(trials)).end['error']}")


def _write(result, folder):
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
def _ended_by(parser, *errors):
    """End the command with the message of these errors."""
    try:
        yield
    except errors as error:
        parser.error(str(error))
