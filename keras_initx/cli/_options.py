"""Kinds of options."""

import argparse
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from keras_initx import _extras
from keras_initx._initializer_names import find_class_name
from keras_initx._received import show
from keras_initx.files._local import check_local, file_to_replace, parse_json

Number = TypeVar("Number", int, float)

# The formats that Keras saves models in.
FORMATS = (".keras", ".h5", ".hdf5")
_WEIGHTS = ".weights.h5"


def _number(
    name: str,
    convert: Callable[[str], Number],
    allows: Callable[[Number], bool],
    metavar: str = "N",
) -> dict[str, Any]:
    """Return the type and the metavar of an option that takes a number.

    The error about a number that is not allowed has this name.
    """

    def parse(text: str) -> Number:
        value = convert(text)
        if not allows(value):
            raise ValueError
        return value

    parse.__name__ = name  # which argparse shows in the error
    return {"type": parse, "metavar": metavar}


class Output(str):
    """The path of a file that a command writes, see `refuse_shared_files`."""


def output_path(text: str) -> Output:
    """Parse the path of a file to write."""
    return Output(_local_path(text))


def input_path(text: str) -> Path:
    """Parse the path of a file or a folder to read, which must exist."""
    path = _local_path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"no such file or folder: {path}")
    return path


def _local_path(text: str) -> Path:
    try:
        return Path(check_local("path", text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def saved_model(text: str) -> Output:
    """Parse the path of a model to save."""
    if text.endswith(_WEIGHTS):
        raise argparse.ArgumentTypeError(
            f"{_WEIGHTS} is how Keras names files of weights alone, and this writes a whole model: "
            f"use .keras. Received: {text}"
        )
    if not text.endswith(FORMATS):
        raise argparse.ArgumentTypeError(f"must end in one of {FORMATS}. Received: {text}")
    return output_path(text)


def plot_path(text: str) -> Output:
    """Parse the path of a plot, for which a package must be installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError(_extras.advice("matplotlib", "plot"))
    return output_path(text)


def refuse_shared_files(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Exit with an error if an output is also another output, or an input of the command.

    Outputs are all values of type `Output`. Inputs are all values of type `Path` and the files of
    functions.
    """
    options = vars(arguments)
    used: dict[Path | None, str] = {}
    for value in options.values():
        if isinstance(value, str) and _is_function(value):
            value = Path(value.rpartition(":")[0])
        if isinstance(value, Path):
            used[file_to_replace(value)] = "which the command reads"
    for name, value in options.items():
        if not isinstance(value, Output):
            continue
        file = file_to_replace(Path(value))
        if file is None:  # a device, which takes several texts
            continue
        if file in used:
            parser.error(f"--{name} must be a file of its own. Received: {value}, {used[file]}")
        used[file] = f"the file of --{name}"


# The kinds of options, as arguments of `add_argument`.
COUNT = _number("positive integer", int, lambda value: value > 0)
COUNT_OR_ZERO = _number("non-negative integer", int, lambda value: value >= 0)
SEED = _number("integer in [0, 2**32)", int, lambda value: 0 <= value < 1 << 32)
POSITIVE = _number("positive number", float, lambda value: 0 < value < math.inf, "X")
INPUT: dict[str, Any] = {"type": input_path, "metavar": "FILE"}
OUTPUT: dict[str, Any] = {"type": output_path, "metavar": "FILE"}


def shape(text: str) -> tuple[int, ...]:
    """Parse a shape such as `3,3,16,32`."""
    lengths = []
    for length in text.split(","):
        if not length.strip().isdecimal() or int(length) == 0:
            raise argparse.ArgumentTypeError(
                "a shape must be positive integers separated by commas, e.g. 3,3,16,32. "
                f"Received: {show(text)}"
            )
        lengths.append(int(length))
    return tuple(lengths)


def config(text: str) -> dict[str, Any]:
    """Parse the arguments of a class from JSON."""
    return _json_object(text, "a config", '{"connections": 3}')


def _json_object(text: str, what: str, example: str) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(
            f"{what} must be a JSON object, e.g. '{example}'. Received: {show(text)}"
        )
    return found


def rules(text: str) -> Path | str:
    """Parse rules: a JSON object or an array of these and names of recipes, or a file with one."""
    if text.lstrip().startswith(("{", "[")):
        return text
    return input_path(text)


def initializer(text: str) -> str:
    """Parse the name of an initializer of this package, and return the name of its class."""
    try:
        return find_class_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_rules(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Replace the option `rules` by the rules in its JSON, or exit with an error.

    Ids of this package must exist, unless the model is made by a function, whose file may register
    others.
    """
    given = getattr(arguments, "rules", None)
    if given is None:
        return
    try:
        # In any encoding: a shell of Windows writes UTF-16.
        text = given.read_bytes() if isinstance(given, Path) else given
        found = parse_json(text)
    except (OSError, ValueError) as error:
        parser.error(f"{given} {error}")
    arguments.rules, arguments.rules_file = found, given
    if not isinstance(arguments.model, Path):
        return
    for member in found if isinstance(found, list) else [found]:
        values = member.values() if isinstance(member, dict) else ()
        for value in values:
            if isinstance(value, str) and value.startswith("initx."):
                try:
                    find_class_name(value)
                except ValueError as error:
                    parser.error(f"--rules: {error}")


def _is_function(text: str) -> bool:
    """Return whether a text is `FILE.py:function`, with a file that exists."""
    path, _, _ = text.rpartition(":")
    return path.endswith(".py") and Path(path).is_file()


def path_or_function(text: str) -> Path | str:
    """Parse the path of a model, of weights or of data, or `FILE.py:function` that makes one."""
    if text.endswith(".py"):
        raise argparse.ArgumentTypeError(
            f"a function must have the form FILE.py:FUNCTION. Received: {show(text)}"
        )
    path, _, _ = text.rpartition(":")
    if path.endswith(".py"):
        input_path(path)
        return text
    return input_path(text)


def names(text: str) -> Path | str:
    """Parse names of arrays: a JSON object, a file with one, or a function that returns them."""
    if text.lstrip().startswith("{"):
        return text
    return path_or_function(text)


def recording(text: str) -> Output:
    """Parse the path of a file of recorded outputs to write."""
    if not text.endswith(".npz"):
        raise argparse.ArgumentTypeError(f"must end in .npz. Received: {text}")
    return output_path(text)


MODEL: dict[str, Any] = {
    "type": path_or_function,
    "metavar": "MODEL",
    "help": "a saved model, or FILE.py:FUNCTION, a function without arguments that returns a built "
    "one",
}
DATA: dict[str, Any] = {"type": path_or_function, "metavar": "FILE", "required": True}
SHAPE: dict[str, Any] = {"type": shape, "metavar": "N,N..."}
CONFIG: dict[str, Any] = {"type": config, "metavar": "JSON"}
NAMES: dict[str, Any] = {"type": names, "metavar": "JSON"}
FUNCTION: dict[str, Any] = {"type": path_or_function, "metavar": "FILE.py:NAME"}
RULES: dict[str, Any] = {"type": rules, "metavar": "JSON"}
RECIPE: dict[str, Any] = {
    "metavar": "NAME",
    "help": "a recipe, e.g. torch or gpt2, or one of its sources, e.g. bert:transformers; the "
    "command recipes lists all",
}
