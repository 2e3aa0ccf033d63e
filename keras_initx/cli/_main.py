"""The command line, `python -m keras_initx`: one function for each subcommand."""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

import keras_initx
from keras_initx._extras import require
from keras_initx.cli import _studies

_PROGRAM = "python -m keras_initx"
# What a shell reports of a program that writes to a closed pipe.
_CLOSED_PIPE = 141


def main(argv=None) -> int:
    """Run the command given by `argv`, by default the process' own arguments.

    Args:
        argv: List of arguments.

    Returns:
        The exit code: 0 if all went well.

    Raises:
        SystemExit: With code 2, if the arguments are wrong or something that the command needs is not installed.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # here, because nothing can be done about an error at exit
    except OSError as error:  # also a full disk below the standard output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        if isinstance(error, BrokenPipeError):
            return _CLOSED_PIPE
        sys.stderr.write(f"{_PROGRAM}: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return _studies._INTERRUPTED


def _run(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=keras_initx.__doc__)
    parser.add_argument("--version", action="version", version=f"keras_initx {keras_initx.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    for add_command in (_add_list, _add_show, _add_diagnose, _add_demo, *_studies.COMMANDS):
        add_command(commands)
    arguments = parser.parse_args(argv)
    _load_package(parser)
    return arguments.run(arguments)


def _load_package(parser: argparse.ArgumentParser) -> None:
    """Do what `import keras_initx` does elsewhere: choose a backend, import Keras, register the ids."""
    try:
        importlib.import_module("keras_initx._default_backend")
        importlib.import_module("keras_initx.initializers")
    except (ImportError, ValueError) as error:
        parser.error(f"Keras cannot be imported: {error}")


def _add_list(commands):
    parser = commands.add_parser(
        "list",
        help="list all initializers",
        description="List all initializers: the ids by which a layer can name them, the class, what the values are and "
        "when to use them.",
    )
    parser.add_argument("--markdown", action="store_true", help="as a table in Markdown")

    def run(arguments):
        from keras_initx.cli import _list

        if arguments.markdown:
            sys.stdout.write(_list.markdown(keras_initx.catalog()))
        else:
            _list.write(keras_initx.catalog())
        return 0

    parser.set_defaults(run=run)


def _add_show(commands):
    parser = commands.add_parser(
        "show",
        help="show one initializer: its documentation, statistics of a sample, a plot",
        description="Show the documentation of one initializer and statistics of a sample, including the singular "
        "values of a kernel. An initializer whose arguments have no defaults has a sample with --config only.",
    )
    parser.add_argument("name", help='id or class of the initializer: "initx.sparse", "sparse" or "Sparse"')
    parser.add_argument(
        "--shape", type=_shape, metavar="N,N...", help="shape of the sample, as 3,3,16,32; by default one that suits"
    )
    parser.add_argument(
        "--config", type=_config, metavar="JSON", help="arguments of the class, as '{\"connections\": 3}'"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed, where --config has none; by default 0")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw the values, and the singular values of a kernel, to a file; its suffix says in which format",
    )

    def run(arguments):
        from keras_initx.cli import _show

        try:
            entry = _show.find(arguments.name)
        except LookupError as error:
            parser.error(error.args[0])
        if arguments.plot:
            require(parser, "plot", {"matplotlib": "matplotlib"})
        sys.stdout.write(_show.about(entry))
        sys.stdout.flush()  # before any error
        required = _show.required(entry.cls)
        options = arguments.config, arguments.shape, arguments.seed, arguments.plot
        if required and all(option is None for option in options):
            example = ", ".join(f'"{name}": ...' for name in required)
            sys.stdout.write(f"\nFor a sample, give its arguments: --config '{{{example}}}'\n")
            return 0
        try:
            initializer, values = _show.draw(entry.cls, arguments.config or {}, arguments.shape, arguments.seed or 0)
        except (MemoryError, OSError, TypeError, ValueError) as error:
            parser.error(f"no sample of {entry.cls.__name__}: {error}\n--config gives arguments, --shape the shape")
        sys.stdout.write(f"\n{_show.statistics(initializer, values)}")
        if arguments.plot:
            from keras_initx.cli import _show_plot

            try:
                _show_plot.plot(arguments.plot, initializer, values)
            except (OSError, ValueError) as error:
                parser.error(f"no plot: {error}")
        return 0

    parser.set_defaults(run=run)


def _shape(text):
    """Return the shape that is written as `3,3,16,32`."""
    lengths = text.split(",")
    if not all(length.strip().isdecimal() and int(length) for length in lengths):
        raise argparse.ArgumentTypeError(f"a shape is positive integers and commas, as 3,3,16,32. Received: {text!r}")
    return tuple(map(int, lengths))


def _config(text):
    """Return the dict that is written as JSON."""
    try:
        config = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}. Received: {text!r}") from None
    if not isinstance(config, dict):
        raise argparse.ArgumentTypeError(f"a config is an object, as '{{\"connections\": 3}}'. Received: {text!r}")
    return config


def _add_diagnose(commands):
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

    def run(arguments):
        if arguments.plot:
            require(parser, "plot", {"matplotlib": "matplotlib"})
        from keras_initx.cli import _diagnose

        try:
            x, y = _diagnose.read_data(arguments.data, arguments.labels)
        except (OSError, ValueError) as error:
            parser.error(f"no data: {error}")
        try:
            report = _diagnose.diagnose(
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
            _diagnose.write(report, arguments.json, arguments.csv, arguments.plot)
        except (OSError, ValueError) as error:
            parser.error(f"not written: {error}")
        return int(report.fails_on(arguments.fail_on))

    parser.set_defaults(run=run)


def _threshold(text):
    """Return the name and the number that are written as `vanishing=1e-4`."""
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a threshold is written as vanishing=1e-4. Received: {text!r}") from None


def _add_demo(commands):
    parser = commands.add_parser(
        "demo",
        help="train three small networks and load them again on every installed backend",
        description="Train three small networks on scikit-learn's digits with initializers named by string id, save "
        "them, load them on every installed backend, each in a fresh process, and compare weights and predictions. "
        "Trains on the backend that KERAS_BACKEND names, by default the first installed of jax, tensorflow and torch; "
        "everything runs on the CPU. The exit code is 1 if anything differs.",
    )

    def run(_arguments):
        require(parser, "demo", {"rich": "rich", "sklearn": "scikit-learn"})
        from keras_initx.cli import _demo

        return _demo.run()

    parser.set_defaults(run=run)
