"""Kinds of options, initializers in the syntax of the command line, and packages for commands."""

import argparse
import ast
import importlib.util
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from keras_initx import _extras
from keras_initx._files import check_local, parse_json, replaced_file
from keras_initx.cli import _known

Number = TypeVar("Number", int, float)

# What `compare` compares. With the gain for ReLU, so that all but Glorot's preserve the signal
# scale.
COMPARED = "glorot_uniform,he_normal,initx.sparse(gain=relu),initx.orthogonal(gain=relu)"

# The formats that Keras saves models in, and the data and networks of `compare` and `restarts`, and
# the metrics of these networks.
FORMATS = (".keras", ".h5", ".hdf5")
DOWNLOADED = ("mnist", "fashion_mnist", "cifar10")
DATA = ("digits", *DOWNLOADED, "synthetic")
NETWORKS = ("mlp", "cnn", "image_study", "lstm")
METRICS = ("val_accuracy", "val_loss")

_EXTRAS = {
    "demo": ("rich", "scikit-learn"),
    "plot": ("matplotlib",),
    "studies": ("joblib", "matplotlib", "rich", "scipy", "scikit-learn"),
}
_MODULES = {"scikit-learn": "sklearn"}  # of distributions with another name


def require(parser: argparse.ArgumentParser, extra: str) -> None:
    """Exit the command of `parser` with an error unless all packages of `extra` are installed."""
    missing = []
    for name in _EXTRAS[extra]:
        module = _MODULES.get(name, name)
        if importlib.util.find_spec(module) is None:
            missing.append(name)
    if missing:
        parser.error(_extras.advice(missing, extra))


def _number(
    name: str,
    convert: Callable[[str], Number],
    allows: Callable[[Number], bool],
    metavar: str = "N",
) -> dict[str, Any]:
    """Return the type and the metavar of an option that takes a number.

    A number that is not allowed is refused with this name.
    """

    def parse(text: str) -> Number:
        value = convert(text)
        if not allows(value):
            raise ValueError
        return value

    parse.__name__ = name  # which argparse shows in the error
    return {"type": parse, "metavar": metavar}


class Output(str):
    """The path of a file or a folder that a command writes, see `refuse_shared_files`."""


def output_path(text: str) -> Output:
    """Parse the path of a file or a folder to write."""
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
    if not text.endswith(FORMATS):
        raise argparse.ArgumentTypeError(f"must end in one of {FORMATS}. Received: {text}")
    return output_path(text)


def refuse_shared_files(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Exit with an error if an output is also another output, or an input of the command.

    Outputs are all values of type `Output`, inputs those of type `Path`.
    """
    options = vars(arguments)
    used: dict[Path | None, str] = {}
    for value in options.values():
        if isinstance(value, Path):
            used[replaced_file(value)] = "which the command reads"
    for name, value in options.items():
        if not isinstance(value, Output):
            continue
        file = replaced_file(Path(value))
        if file is None:  # a device, which takes several texts
            continue
        if file in used:
            parser.error(f"--{name} must be a file of its own. Received: {value}, {used[file]}")
        used[file] = f"the file of --{name}"


# The kinds of options, as arguments of `add_argument`.
COUNT = _number("positive integer", int, lambda value: value > 0)
COUNT_OR_ZERO = _number("non-negative integer", int, lambda value: value >= 0)
PROCESSES = _number("integer other than 0", int, lambda value: value != 0)
SEED = _number("integer in [0, 2**32)", int, lambda value: 0 <= value < 1 << 32)
FINITE = _number("finite number", float, math.isfinite, "X")
POSITIVE = _number("positive number", float, lambda value: 0 < value < math.inf, "X")
INPUT: dict[str, Any] = {"type": input_path, "metavar": "FILE"}
OUTPUT: dict[str, Any] = {"type": output_path, "metavar": "FILE"}


def threshold(text: str) -> tuple[str, float]:
    """Parse the name and value of a threshold such as `vanishing=1e-4`."""
    name, _, number = text.partition("=")
    try:
        value = POSITIVE["type"](number)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "a threshold must have the form vanishing=1e-4, with a positive number. "
            f"Received: {text!r}"
        ) from None
    if name not in _known.THRESHOLDS:
        raise argparse.ArgumentTypeError(
            f"a threshold must be one of {', '.join(_known.THRESHOLDS)}. Received: {name}"
        )
    return name, value


def recipe(text: str) -> str:
    """Check the name of a recipe, or the name and one of its sources joined by a colon."""
    name, colon, source = text.partition(":")
    if name not in _known.RECIPES:
        raise argparse.ArgumentTypeError(
            f"a recipe must be one of {', '.join(_known.RECIPES)}. Received: {name}"
        )
    if not colon:
        return text
    sources = _known.RECIPES[name]
    if not sources:
        raise argparse.ArgumentTypeError(f"{name} has one source. Received: {text}")
    if source not in sources:
        raise argparse.ArgumentTypeError(
            f"the source of {name} must be one of {', '.join(sources)}. Received: {text}"
        )
    return text


def shape(text: str) -> tuple[int, ...]:
    """Parse a shape such as `3,3,16,32`."""
    lengths = []
    for length in text.split(","):
        if not length.strip().isdecimal() or int(length) == 0:
            raise argparse.ArgumentTypeError(
                "a shape must be positive integers separated by commas, e.g. 3,3,16,32. "
                f"Received: {text!r}"
            )
        lengths.append(int(length))
    return tuple(lengths)


def config(text: str) -> dict[str, Any]:
    """Parse a dict from JSON."""
    try:
        found = parse_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(
            f"a config must be a JSON object, e.g. '{{\"connections\": 3}}'. Received: {text!r}"
        )
    return found


def rules(text: str) -> Path | str:
    """Parse rules: a JSON object, or the path of a file with one."""
    if text.lstrip().startswith("{"):
        return text
    return input_path(text)


def dataset(text: str) -> Path | str:
    """Parse a name of a dataset, or the path of its file."""
    if text in DATA:
        return text
    if not text.endswith(".npz"):
        raise argparse.ArgumentTypeError(
            f"data must be one of {DATA} or the path of a .npz file. Received: {text!r}"
        )
    return input_path(text)


SHAPE: dict[str, Any] = {"type": shape, "metavar": "N,N..."}
CONFIG: dict[str, Any] = {"type": config, "metavar": "JSON"}
RULES: dict[str, Any] = {"type": rules, "metavar": "JSON"}
RECIPE: dict[str, Any] = {
    "type": recipe,
    "metavar": "NAME",
    "help": "a recipe, e.g. gpt2, or one of its sources, e.g. llama:olmo; see the documentation",
}
THRESHOLDS: dict[str, Any] = {
    "type": threshold,
    "metavar": "NAME=X",
    "action": "append",
    "default": [],
}


def python_function(text: str) -> tuple[str, str]:
    """Parse the path and the function of `FILE.py:function`.

    Raises:
        ValueError: If there is no such file.
    """
    path, _, function = text.rpartition(":")
    if not path.endswith(".py") or not Path(path).is_file():
        raise ValueError(
            f"a model must be one of {NETWORKS} or FILE.py:function. Received: {text!r}"
        )
    return path, function


def read_rules(given: Path | str) -> Any:
    """Return rules from JSON, or from a file with JSON.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not JSON, or has a key twice or a number that is not finite.
    """
    content: str | bytes
    if isinstance(given, Path):
        content = given.read_bytes()  # in any encoding: a shell of Windows writes UTF-16
    else:
        content = given
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{given} {error}") from None


def split_initializers(text: str) -> list[str]:
    """Split `text` into initializers at the commas that are not inside quotes or brackets."""
    parts = []
    depth = 0  # of brackets
    begin = 0
    for match in re.finditer(r"""'[^']*'|"[^"]*"|[()\[\]{},]""", text):
        mark = match[0]
        if mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
        elif mark == "," and depth == 0:
            parts.append(text[begin : match.start()])
            begin = match.end()
    parts.append(text[begin:])
    return [part.strip() for part in parts if part.strip()]


def parse_initializer(text: str) -> tuple[str, dict[str, Any]]:
    """Parse an initializer of the form `id` or `id(name=value, ...)` to its id and arguments.

    Raises:
        ValueError: If `text` does not have this form.
    """
    name, bracket, arguments = text.partition("(")
    if not bracket:
        return text, {}
    try:
        call = ast.parse(f"_({arguments}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        config: dict[str, Any] = {}
        for keyword in call.keywords:
            if keyword.arg is None:  # `**a`
                raise ValueError
            if keyword.arg in config:
                raise _ArgumentError(f"must have each argument once, and has {keyword.arg} twice")
            config[keyword.arg] = ast.literal_eval(_Words().visit(keyword.value))
    except _ArgumentError as error:
        raise ValueError(f"an initializer {error}. Received: {text}") from None
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(
            "an initializer with arguments must have the form id(name=value, ...) with numbers, "
            "words, strings in quotes, True, False, None or lists as values. "
            f"Received: {text}"
        ) from None
    return name.strip(), config


class _ArgumentError(ValueError):
    """Raised for what Python can read and no initializer may have."""


class _Words(ast.NodeTransformer):
    """Turn names into strings, as in `gain=relu` and `initializer=initx.orthogonal`."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id.lower() in ("inf", "infinity", "nan"):
            self._refuse(node)
        return ast.Constant(node.id)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if node.value == math.inf:  # such as 1e999
            self._refuse(node)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        self.generic_visit(node)
        names = [ast.unparse(key) for key in node.keys if key is not None]
        for name in names:
            if names.count(name) > 1:
                raise _ArgumentError(f"must have each key once, and has {name} twice")
        return node

    def _refuse(self, node: ast.expr) -> None:
        number = ast.unparse(node)
        raise _ArgumentError(f"must have finite numbers as arguments, and has {number}")

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant(ast.unparse(node))
