"""Adapt a recipe to a model: count its blocks, and select the rules that match."""

import fnmatch
from typing import Any, TypeAlias

import keras

from keras_initx._checks import check_count
from keras_initx._typing import InitializerLike
from keras_initx.models._weights import check_model, find_weights

# Maps patterns to initializers.
Recipe: TypeAlias = dict[str, InitializerLike | None]


def paths(model: keras.Model) -> list[str]:
    """Return the paths of all weights of a model."""
    return [weight.path for weight in find_weights(model)]


def count_of(name: str, value: Any, *patterns: str) -> int:
    """Return `value` if it is a number, or the number of weights of a model that match the last of `patterns`.

    Args:
        name: Name of the argument.
        value: A positive integer or a built model.
        patterns: Path patterns. Each must match a weight, because a recipe must not be applied in
            part.

    Raises:
        TypeError: If `value` is neither.
        ValueError: If it is not positive, or is a model without weights that match one of the
            patterns.
    """
    if not isinstance(value, keras.Model):
        return int(check_count(name, value))
    found = paths(check_model(name, value))
    counts = [len(fnmatch.filter(found, pattern)) for pattern in patterns]
    for pattern, count in zip(patterns, counts, strict=True):
        if not count:
            raise ValueError(
                f"`{name}` must be a model with weights that match {pattern!r}; otherwise pass the number and edit the "
                f"patterns in the returned dict. Received: {name}={value.name!r} with {found[-1]!r}"
            )
    return counts[-1]


def for_model(recipe: Recipe, model: Any) -> Recipe:
    """Return the rules that match a weight of `model`, or all rules if it is not a model."""
    if not isinstance(model, keras.Model):
        return recipe
    found = paths(model)
    return {pattern: value for pattern, value in recipe.items() if fnmatch.filter(found, pattern)}
