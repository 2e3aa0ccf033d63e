"""What a recipe asks a model: how many blocks it has, and which of the rules are for it."""

import fnmatch
from typing import Any, TypeAlias

import keras

from keras_initx._checks import check_count
from keras_initx._typing import InitializerLike
from keras_initx.models._weights import find_weights

# Rules by patterns, which a user can change.
Recipe: TypeAlias = dict[str, InitializerLike | None]


def check_model(name: str, model: Any) -> keras.Model:
    """Return `model`, a built model."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"`{name}` must be a Keras model. Received: {name}={model!r}")
    if not model.weights:
        raise ValueError(
            f"`{name}` must be built: give it a `keras.Input`, or call it once. Received: {name}={model.name!r} "
            "without weights"
        )
    return model


def paths(model: keras.Model) -> list[str]:
    """Return the paths of all weights of a model."""
    return [weight.path for weight in find_weights(model)]


def count_of(name: str, value: Any, *patterns: str) -> int:
    """Return a number that is given, or the number of weights of a model that match one of `patterns`.

    Args:
        name: Name of the argument.
        value: A positive integer or a built model.
        patterns: Patterns of paths.

    Raises:
        TypeError: If `value` is neither.
        ValueError: If it is no positive number, or a model without such weights.
    """
    if not isinstance(value, keras.Model):
        return int(check_count(name, value))
    found = paths(check_model(name, value))
    count = sum(any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns) for path in found)
    if not count:
        raise ValueError(
            f"`{name}` must be a model with weights at {' or '.join(map(repr, patterns))}: give the number instead, "
            f"and put patterns for your names into the dict. Received: {name}={value.name!r} with {found[0]!r}"
        )
    return count


def for_model(recipe: Recipe, model: Any) -> Recipe:
    """Return the rules that match a weight of `model`, all of them if it is not a model."""
    if not isinstance(model, keras.Model):
        return recipe
    found = paths(model)
    return {pattern: value for pattern, value in recipe.items() if fnmatch.filter(found, pattern)}
