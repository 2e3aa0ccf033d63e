"""The command `show`: the documentation of one initializer, statistics and a plot of a sample."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from keras_initx._extras import require
from keras_initx.cli import _initializer_text


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "show",
        help="show one initializer: its documentation, statistics of a sample, a plot",
        description="Show the documentation of one initializer and statistics of a sample, including the singular "
        "values of a kernel. An initializer whose arguments have no defaults has a sample with arguments only.",
    )
    parser.add_argument(
        "name",
        help='id or class of the initializer: "initx.sparse", "sparse" or "Sparse"; with arguments for its sample, if '
        'you like: "sparse(gain=relu)"',
    )
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

    def run(arguments: argparse.Namespace) -> int:
        from keras_initx.cli import _sample

        try:
            name, config = _initializer_text.parse(arguments.name)
            entry = _sample.find(name)
        except (LookupError, ValueError) as error:
            parser.error(error.args[0])
        if arguments.plot:
            require(parser, "plot", {"matplotlib": "matplotlib"})
        sys.stdout.write(_sample.about(entry))
        sys.stdout.flush()  # before any error
        required = _sample.required(entry.cls)
        config |= arguments.config or {}
        options = arguments.config, arguments.shape, arguments.seed, arguments.plot
        if required and not config and all(option is None for option in options):
            example = ", ".join(f'"{name}": ...' for name in required)
            sys.stdout.write(f"\nFor a sample, give its arguments: --config '{{{example}}}'\n")
            return 0
        try:
            initializer, values = _sample.sample(entry.cls, config, arguments.shape, arguments.seed or 0)
        except (MemoryError, OSError, TypeError, ValueError) as error:
            parser.error(f"no sample of {entry.cls.__name__}: {error}\n--config gives arguments, --shape the shape")
        sys.stdout.write(f"\n{_sample.statistics(initializer, values)}")
        if arguments.plot:
            from keras_initx.cli import _sample_plot

            try:
                _sample_plot.plot(arguments.plot, initializer, values)
            except (OSError, ValueError) as error:
                parser.error(f"no plot: {error}")
        return 0

    parser.set_defaults(run=run)


def _shape(text: str) -> tuple[int, ...]:
    """Return the shape that is written as `3,3,16,32`."""
    lengths = text.split(",")
    if not all(length.strip().isdecimal() and int(length) for length in lengths):
        raise argparse.ArgumentTypeError(f"a shape is positive integers and commas, as 3,3,16,32. Received: {text!r}")
    return tuple(map(int, lengths))


def _config(text: str) -> dict[str, Any]:
    """Return the dict that is written as JSON."""
    try:
        config = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}. Received: {text!r}") from None
    if not isinstance(config, dict):
        raise argparse.ArgumentTypeError(f"a config is an object, as '{{\"connections\": 3}}'. Received: {text!r}")
    return config
