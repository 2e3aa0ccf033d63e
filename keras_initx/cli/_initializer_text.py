"""Parse initializers on the command line: ids, with or without arguments."""

import ast
import re
from typing import Any

# Commas inside quotes or brackets do not separate initializers.
_MARKS = re.compile(r"""'[^']*'|"[^"]*"|[()\[\]{},]""")


def split(text: str) -> list[str]:
    """Split `text` into initializers at the separating commas."""
    parts, depth, begin = [], 0, 0
    for match in _MARKS.finditer(text):
        mark = match[0]
        depth += (mark in "([{") - (mark in ")]}")
        if mark == "," and depth == 0:
            parts.append(text[begin : match.start()])
            begin = match.end()
    return [part.strip() for part in (*parts, text[begin:]) if part.strip()]


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
        config = {keyword.arg: ast.literal_eval(_Words().visit(keyword.value)) for keyword in call.keywords}
        if None in config or len(config) < len(call.keywords):  # `**a`, or a repeated name
            raise ValueError
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(
            "an initializer with arguments must have the form id(name=value, ...) with numbers, words, strings "
            f"in quotes, True, False, None or lists as values. Received: {text}"
        ) from None
    return name.strip(), {str(key): value for key, value in config.items()}


class _Words(ast.NodeTransformer):
    """Turn names into strings, as in `gain=relu` and `initializer=initx.orthogonal`."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant(ast.unparse(node))


def identifier(text: str) -> str | dict[str, Any]:
    """Return `text` as an id or a config for `keras.initializers.get` and layers.

    Raises:
        ValueError: If it is not an initializer, or has a seed.
    """
    import keras

    from keras_initx._seeds import seeded

    name, config = parse(text)
    found: str | dict[str, Any] = {"class_name": name, "config": config} if config else name
    try:
        seeded(keras.initializers.get(found), 0)
    except (TypeError, ValueError) as error:
        # Keras wraps the error about an argument in a long message about saved models.
        raise ValueError(f"{text}: {error.__context__ or error}") from error
    return found
