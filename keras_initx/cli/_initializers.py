"""Initializers in the syntax of the command line: `id` or `id(name=value, ...)`."""

import ast
import math
import re
from typing import Any

import keras

from keras_initx import _seeds
from keras_initx._suggestions import did_you_mean
from keras_initx.initializers import ids_like


def split(text: str) -> list[str]:
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


def parse(text: str) -> tuple[str, dict[str, Any]]:
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


def identifier(text: str) -> str | dict[str, Any]:
    """Return `text` as an id or a config for `keras.initializers.get` and layers.

    Raises:
        ValueError: If it is not an initializer, or has a seed.
    """
    name, config = parse(text)
    found: str | dict[str, Any] = name
    if config:
        found = {"class_name": name, "config": config}
    try:
        _seeds.seeded(keras.initializers.get(found), 0)
    except (TypeError, ValueError) as error:
        # Keras wraps the error about an argument in a long message about saved models.
        reason = f"{text}: {error.__context__ or error}"
        raise ValueError(f"{reason}{did_you_mean(ids_like(name))}") from error
    return found


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
