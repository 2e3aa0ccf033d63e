"""The command `recipes`: the list of all recipes, or the initializers of one."""

import argparse
import difflib
import sys
import textwrap

from keras_initx._suggestions import did_you_mean
from keras_initx.recipes._layer_recipe import LayerRecipe
from keras_initx.recipes._named import RECIPES
from keras_initx.recipes._recipe import Recipe, describe_entry
from keras_initx.report._table import Column, Table
from keras_initx.report._terminal import line_width

# Of the table of all recipes: the name that options take, what it is for, and whose numbers.
_COLUMNS: list[Column[tuple[str, str, str]]] = [
    Column("recipe", lambda row: row[0], is_text=True, is_name=True),
    Column("for", lambda row: row[1], is_text=True),
    Column("whose numbers", lambda row: row[2], is_text=True),
]
# Of the table of one recipe: roles or layers, weights of these layers, and what they get.
_WEIGHTS: list[Column[tuple[str, str, str]]] = [
    Column("for", lambda row: row[0], is_text=True),
    Column("weights", lambda row: row[1], is_text=True),
    Column("initial weights", lambda row: row[2], is_text=True),
]


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `recipes`: print the table of all recipes, or the initializers of one."""
    if arguments.name is None:
        rows = [row for _, recipe in sorted(RECIPES.items()) for row in _list_sources(recipe)]
        sys.stdout.write(Table.fitted(_COLUMNS, rows, line_width()).as_text())
        return 0
    try:
        recipe = named(arguments.name)
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write(_write_page(recipe))
    return 0


def named(text: str) -> Recipe:
    """Find the recipe for a text: a name, or a name and a source joined by a colon.

    Raises:
        ValueError: If no recipe has the name. The message suggests similar names.
    """
    name, _, _ = text.partition(":")
    if name not in RECIPES:
        similar = difflib.get_close_matches(name.lower(), RECIPES)
        hint = did_you_mean(similar) or f"; there are {', '.join(sorted(RECIPES))}"
        raise ValueError(f"no recipe is named {name!r}{hint}")
    return RECIPES[name]


def _list_sources(recipe: Recipe) -> list[tuple[str, str, str]]:
    """List a line for each source: the name for options, the models, and the author."""
    if isinstance(recipe.sources, str):
        return [(recipe.name, recipe.kind, recipe.sources.replace("`", ""))]
    lines: list[tuple[str, str, str]] = []
    for source, text in recipe.sources.items():
        kind = "" if lines else recipe.kind
        lines.append((f"{recipe.name}:{source}", kind, text.replace("`", "")))
    return lines


def _write_page(recipe: Recipe) -> str:
    """Write the purpose of one recipe, and its initializers by each source."""
    parts = [textwrap.fill(f"{recipe.name}: for {recipe.kind}", line_width())]
    for (name, _, whose), lines in zip(_list_sources(recipe), _list_weights(recipe), strict=True):
        parts.append(textwrap.fill(f"{name}: {whose}", line_width()))
        if lines:
            parts.append(Table.fitted(_WEIGHTS, lines, line_width()).as_text().rstrip())
    return "\n\n".join(parts) + "\n"


def _list_weights(recipe: Recipe) -> list[list[tuple[str, str, str]]]:
    """List the lines with the initializers of a recipe, by each source."""
    if isinstance(recipe, LayerRecipe):
        lines = []
        for row in recipe.table():
            for text, paths in (row.by_text() or {"left": []}).items():
                lines.append((row.layers, ", ".join(paths), text))
        return [_drop_backticks(lines)]
    found = []
    for table in recipe.tables().values():
        roles: dict[str, list[str]] = {}
        for role, value in table.items():
            roles.setdefault(describe_entry(value), []).append(role)
        found.append(_drop_backticks([(", ".join(some), "", text) for text, some in roles.items()]))
    return found


def _drop_backticks(lines: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Drop the marks of code from lines of text, which a terminal does not show as such."""
    return [
        (first.replace("`", ""), second, last.replace("`", "")) for first, second, last in lines
    ]
