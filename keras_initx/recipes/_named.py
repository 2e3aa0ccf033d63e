"""The recipes by their names."""

import difflib
import functools
from collections.abc import Callable
from typing import Any

from keras_initx._received import show
from keras_initx._suggestions import did_you_mean
from keras_initx.initializers._as_ours import list_meant_ids
from keras_initx.recipes import _frameworks, _images, _networks, _state_spaces, _transformers
from keras_initx.recipes._recipe import Recipe

RECIPES: dict[str, Recipe] = {
    value.name: value
    for file in (_transformers, _images, _networks, _state_spaces, _frameworks)
    for value in vars(file).values()
    if isinstance(value, Recipe)
}


def parse_recipe(text: str) -> Callable[..., Any] | None:
    """Find the recipe for a text: a name, or a name and a source joined by a colon.

    It is `None` if no recipe has this name.
    """
    name, _, source = text.partition(":")
    recipe = RECIPES.get(name)
    if recipe is None or not source:
        return recipe
    return functools.partial(recipe, source=source)


def is_recipe(given: Any) -> bool:
    """Return whether an object is a recipe, or a `functools.partial` of one."""
    while isinstance(given, functools.partial):
        given = given.func
    return isinstance(given, Recipe)


def similar_recipes(text: str) -> list[str]:
    """Find the names of the recipes that are similar to a word. A file path has none."""
    name, _, _ = text.partition(":")
    if not name.isidentifier():
        return []
    return difflib.get_close_matches(name.lower(), RECIPES)


def may_be_name(text: str) -> bool:
    """Return whether a text that names no recipe looks like a name and not like a file path."""
    return bool(list_meant_ids(text) or similar_recipes(text))


def unknown_recipe_error(text: str) -> ValueError:
    required = "`rules` must be a dict from conditions to initializers"
    ids = list_meant_ids(text)
    if ids:
        required += f", such as {{'*kernel': {ids[0]!r}}}"
    similar = did_you_mean(map(repr, similar_recipes(text)))
    return ValueError(f"{required}, or a recipe. Received: rules={show(text)}{similar}")
