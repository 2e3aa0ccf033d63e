"""The command `show`: documentation, sample statistics and plots of one initializer."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from keras_initx._extras import require
from keras_initx.cli import _initializer_text, _numbers


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "show",
        help="show the documentation and sample statistics of one initializer, optionally with a plot",
        description="Show the documentation of one initializer and statistics of a sample, including the singular "
        "values of a kernel. If the initializer has required arguments, a sample needs these arguments.",
    )
    parser.add_argument(
        "name",
        help='id or class of the initializer: "initx.sparse", "sparse" or "Sparse", optionally with arguments: '
        '"sparse(gain=relu)"',
    )
    parser.add_argument(
        "--shape", type=_shape, metavar="N,N...", help="shape of the sample, e.g. 3,3,16,32; default: a suitable one"
    )
    parser.add_argument(
        "--config", type=_config, metavar="JSON", help="arguments of the class, e.g. '{\"connections\": 3}'"
    )
    parser.add_argument("--seed", type=_numbers.seed, metavar="N", help="seed, if --config has none; default: 0")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="plot the values, and the singular values of a kernel, to a file; the suffix sets the format",
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
            sys.stdout.write(f"\nFor a sample, pass the required arguments: --config '{{{example}}}'\n")
            return 0
        try:
            initializer, values = _sample.sample(entry.cls, config, arguments.shape, arguments.seed or 0)
        except (MemoryError, OSError, TypeError, ValueError) as error:
            parser.error(
                f"no sample of {entry.cls.__name__}: {error}\nuse --config to set arguments, --shape to set the shape"
            )
        sys.stdout.write(f"\n{_sample.statistics(initializer, values)}")
        if arguments.plot:
            from keras_initx.cli import _sample_plot

            try:
                _sample_plot.plot(arguments.plot, initializer, values)
            except (OSError, ValueError) as error:
                parser.error(f"cannot plot: {error}")
        return 0

    parser.set_defaults(run=run)


def _shape(text: str) -> tuple[int, ...]:
    """Parse a shape such as `3,3,16,32`."""
    lengths = text.split(",")
    if not all(length.strip().isdecimal() and int(length) for length in lengths):
        raise argparse.ArgumentTypeError(
            f"a shape must be positive integers separated by commas, e.g. 3,3,16,32. Received: {text!r}"
        )
    return tuple(map(int, lengths))


def _config(text: str) -> dict[str, Any]:
    """Parse a dict from JSON."""
    try:
        config = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}. Received: {text!r}") from None
    if not isinstance(config, dict):
        raise argparse.ArgumentTypeError(
            f"a config must be a JSON object, e.g. '{{\"connections\": 3}}'. Received: {text!r}"
        )
    return config
