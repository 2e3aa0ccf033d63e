"""Initializers as they are written on the command line: ids, with arguments or without."""

import ast
import re
from typing import Any

# A comma within a quoted string or within brackets separates no initializers.
_MARKS = re.compile(r"""'[^']*'|"[^"]*"|[()\[\]{},]""")


def split(text: str) -> list[str]:
    """Return the initializers that commas separate in `text`."""
    parts, depth, begin = [], 0, 0
    for match in _MARKS.finditer(text):
        mark = match[0]
        depth += (mark in "([{") - (mark in ")]}")
        if mark == "," and depth == 0:
            parts.append(text[begin : match.start()])
            begin = match.end()
    return [part.strip() for part in (*parts, text[begin:]) if part.strip()]


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Return the id and the arguments of an initializer that is written as `id` or `id(name=value, ...)`.

    Raises:
        ValueError: If `text` is not written so.
    """
    name, bracket, arguments = text.partition("(")
    if not bracket:
        return text, {}
    try:
        call = ast.parse(f"_({arguments}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        config = {keyword.arg: ast.literal_eval(_Words().visit(keyword.value)) for keyword in call.keywords}
        if None in config or len(config) < len(call.keywords):  # as with `**a`, or with a name that comes twice
            raise ValueError
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(
            "an initializer with arguments is written as id(name=value, ...), each value a number, a word, a string "
            f"in quotes, True, False, None or a list. Received: {text}"
        ) from None
    return name.strip(), {str(key): value for key, value in config.items()}


class _Words(ast.NodeTransformer):
    """Makes strings of words: in `gain=relu` and in `initializer=initx.orthogonal` there are no variables."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant(ast.unparse(node))


def identifier(text: str) -> str | dict[str, Any]:
    """Return what `text` is for `keras.initializers.get` and for layers: an id, or a config.

    Raises:
        ValueError: If it is not an initializer, or one with a seed.
    """
    import keras

    from keras_initx.studies._seeds import seeded

    name, config = parse(text)
    found: str | dict[str, Any] = {"class_name": name, "config": config} if config else name
    try:
        seeded(keras.initializers.get(found), 0)
    except (TypeError, ValueError) as error:
        # Keras wraps what is wrong with an argument into a page about saved models.
        raise ValueError(f"{text}: {error.__context__ or error}") from error
    return found
