"""Kinds of options, initializers in the syntax of the command line, and packages for commands."""

import argparse
import ast
import importlib.util
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from keras_initx import _extras
from keras_initx._files import check_local
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


def local_path(text: str) -> Path:
    """Parse the path of a file or a folder on this machine."""
    try:
        return Path(check_local("path", text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# The kinds of options, as arguments of `add_argument`.
COUNT = _number("positive integer", int, lambda value: value > 0)
COUNT_OR_ZERO = _number("non-negative integer", int, lambda value: value >= 0)
PROCESSES = _number("integer other than 0", int, lambda value: value != 0)
SEED = _number("integer in [0, 2**32)", int, lambda value: 0 <= value < 1 << 32)
FINITE = _number("finite number", float, math.isfinite, "X")
POSITIVE = _number("positive number", float, lambda value: 0 < value < math.inf, "X")
FILE: dict[str, Any] = {"type": local_path, "metavar": "FILE"}


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
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}. Received: {text!r}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(
            f"a config must be a JSON object, e.g. '{{\"connections\": 3}}'. Received: {text!r}"
        )
    return found


SHAPE: dict[str, Any] = {"type": shape, "metavar": "N,N..."}
CONFIG: dict[str, Any] = {"type": config, "metavar": "JSON"}
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


def read_rules(text: str) -> Any:
    """Return rules from JSON, or from a file with JSON.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not JSON.
    """
    try:
        if text.lstrip().startswith("{"):
            return json.loads(text)
        # A file may have any Unicode encoding: a shell of Windows writes UTF-16.
        return json.loads(Path(text).read_bytes())
    except ValueError as error:
        raise ValueError(f"{text} is not JSON: {error}") from None


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
            if keyword.arg is None or keyword.arg in config:  # `**a`, or a repeated name
                raise ValueError
            config[keyword.arg] = ast.literal_eval(_Words().visit(keyword.value))
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(
            "an initializer with arguments must have the form id(name=value, ...) with numbers, "
            "words, strings in quotes, True, False, None or lists as values. "
            f"Received: {text}"
        ) from None
    return name.strip(), config


class _Words(ast.NodeTransformer):
    """Turn names into strings, as in `gain=relu` and `initializer=initx.orthogonal`."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant(ast.unparse(node))
