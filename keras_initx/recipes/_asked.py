"""What a recipe asks a model: how many blocks it has, and which of the rules are for it."""

import fnmatch
from typing import Any, TypeAlias

import keras

from keras_initx._checks import check_count
from keras_initx._typing import InitializerLike
from keras_initx.models._weights import check_model, find_weights

# Rules by patterns, which a user can change.
Recipe: TypeAlias = dict[str, InitializerLike | None]


def paths(model: keras.Model) -> list[str]:
    """Return the paths of all weights of a model."""
    return [weight.path for weight in find_weights(model)]


def count_of(name: str, value: Any, *patterns: str) -> int:
    """Return a number that is given, or the number of weights of a model that match the last of `patterns`.

    Args:
        name: Name of the argument.
        value: A positive integer or a built model.
        patterns: Patterns of paths. Each has to match: a recipe of which half does not fit would be another one.

    Raises:
        TypeError: If `value` is neither.
        ValueError: If it is not positive, or a model without weights at one of the patterns.
    """
    if not isinstance(value, keras.Model):
        return int(check_count(name, value))
    found = paths(check_model(name, value))
    counts = [len(fnmatch.filter(found, pattern)) for pattern in patterns]
    for pattern, count in zip(patterns, counts, strict=True):
        if not count:
            raise ValueError(
                f"`{name}` must be a model with weights at {pattern!r}: give the number instead, and put patterns for "
                f"your names into the dict. Received: {name}={value.name!r} with {found[-1]!r}"
            )
    return counts[-1]


def for_model(recipe: Recipe, model: Any) -> Recipe:
    """Return the rules that match a weight of `model`, all of them if it is not a model."""
    if not isinstance(model, keras.Model):
        return recipe
    found = paths(model)
    return {pattern: value for pattern, value in recipe.items() if fnmatch.filter(found, pattern)}
