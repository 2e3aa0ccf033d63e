"""The commands that train networks repeatedly, `compare` and `restarts`, and `report`."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from keras_initx import _files, studies
from keras_initx._checks import check_choice
from keras_initx.cli import _data, _initializers, _networks, _options
from keras_initx.rendering import FILE_WIDTH, is_rich
from keras_initx.studies import Folder, write_plots_and_report

_Result: TypeAlias = studies.Study | studies.RestartStudy


def compare(_parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `compare`: train a network repeatedly with each of several initializers."""
    text = arguments.initializers
    if text is None:
        # An LSTM has no ReLUs.
        gain = "" if arguments.model == "lstm" else "(gain=relu)"
        text = _options.COMPARED.replace("(gain=relu)", gain)
    build, initializers, data = _prepare(arguments, _initializers.split(text))
    splits = (data.train, data.validation)
    study = partial(studies.compare_initializers, build, initializers, splits)
    return _run(
        arguments,
        study,
        title=f"{build.name} on {data.name}",
        repeats=arguments.repeats,
        threshold=arguments.threshold,
        diagnosis=not arguments.no_diagnosis,
    )


def restarts(_parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `restarts`: train from several draws of the initial weights and keep the best model."""
    name = arguments.initializer
    build, initializers, data = _prepare(arguments, [name])
    splits = (data.train, data.validation)
    study = partial(studies.random_restarts, partial(build, initializers[name]), splits)
    title = f"{build.name} on {data.name}, {name}"
    return _run(arguments, study, title=title, n=arguments.n, checks=arguments.checks)


def report(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `report`: write the table, plots and report of a study again."""
    with _exits_with(parser, OSError, ValueError, studies.DamagedFileError):
        _write(_read(arguments.folder, arguments), arguments.folder)
    return 0


def _prepare(
    arguments: argparse.Namespace, names: Sequence[str]
) -> tuple[_networks.FileBuild | _networks.Network, dict[str, Any], _data.Dataset]:
    """Return the function that builds a model, the initializers of these names, and the data.

    The data is last, because it may be downloaded.
    """
    own = None
    with _exits_with(arguments.parser, ValueError, _data.DataError):
        if arguments.model not in _options.NETWORKS:
            if arguments.optimizer or arguments.learning_rate:
                raise ValueError(
                    "--optimizer and --learning-rate are for built-in networks. Received: --model "
                    f"{arguments.model}, a function that compiles its model itself"
                )
            own = _networks.FileBuild.parse(arguments.model)  # may register initializers
        elif arguments.monitor is not None:
            check_choice("monitor", arguments.monitor, ("val_accuracy", "val_loss"))
        if len(set(names)) < len(names):
            raise ValueError(f"`initializers` must differ. Received: {', '.join(names)}")
        # Not objects, each of which would give layers of the same shape the same weights.
        initializers = {name: _initializers.identifier(name) for name in names}
        data = _data.load(arguments.data)
        return own or _network(arguments, data), initializers, data


def _network(arguments: argparse.Namespace, data: _data.Dataset) -> _networks.Network:
    """Return a built-in network.

    Raises:
        ValueError: If it does not fit the data, or has no such optimizer.
    """
    build = _networks.Network(
        arguments.model,
        data.shape,
        data.classes,
        optimizer=arguments.optimizer or "sgd",
        learning_rate=arguments.learning_rate,
    )
    try:
        build("zeros")
    except Exception as error:  # Keras raises any kind.
        raise ValueError(
            f"{build.name} with the optimizer {build.optimizer} cannot be built for inputs of "
            f"shape {data.shape} and {data.classes} classes: {type(error).__name__}: {error}"
        ) from error
    return build


def _run(arguments: argparse.Namespace, study: Callable[..., _Result], **own: Any) -> int:
    """Run a study and write its results, also if it is interrupted.

    Args:
        arguments: Those of the command, from which those of any study are taken.
        study: The function that runs it.
        **own: The arguments of this study alone.
    """
    folder = Path(arguments.out)
    names = ("epochs", "batch_size", "seed", "out", "monitor", "mode")
    shared = {name: getattr(arguments, name) for name in names}
    with _exits_with(arguments.parser, OSError, RuntimeError, ValueError, studies.DamagedFileError):
        if not is_rich(sys.stderr):  # where no progress is shown
            sys.stderr.write(f"Training {own['title']}; {folder} keeps what is done.\n")
        try:
            result = study(n_jobs=arguments.jobs, **shared, **own)
        except KeyboardInterrupt:
            sys.stderr.write("\nInterrupted; run the same command again to resume.\n\n")
            with contextlib.suppress(FileNotFoundError):  # if nothing has begun
                _write(_read(folder, arguments), folder)
            raise
        _write(result, folder)
    return 0


def _read(folder: Path, arguments: argparse.Namespace) -> _Result:
    """Return the study of a folder, which may be unfinished."""
    metric = {"monitor": arguments.monitor, "mode": arguments.mode}
    if Folder(folder).header()["kind"] == "restarts":
        return studies.RestartStudy.read(folder, **metric)
    return studies.Study.read(folder, threshold=arguments.threshold, **metric)


def _write(result: _Result, folder: Path) -> None:
    """Print a result and write its files to the folder."""
    sys.stdout.write(f"{result}\n")
    _files.write(folder / "table.txt", f"{result.as_text(FILE_WIDTH)}\n")
    write_plots_and_report(result, folder)
    if isinstance(result, studies.Study):
        result.to_csv(folder / "records.csv")
        result.to_jsonl(folder / "records.jsonl")
    elif result.model is not None:
        with _files.replacing(folder / "best.keras") as path:
            result.model.save(path)
    sys.stdout.write(f"\nRecords, plots and report.html are in {folder}.\n")


@contextlib.contextmanager
def _exits_with(parser: argparse.ArgumentParser, *errors: type[Exception]) -> Iterator[None]:
    """Exit with the message of these errors, without the usage."""
    try:
        yield
    except BrokenPipeError:  # of standard output, which `main` handles
        raise
    except errors as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
