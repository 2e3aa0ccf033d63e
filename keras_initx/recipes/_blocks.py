"""The blocks of a model: how many there are, and checks whether and where they normalize."""

from typing import Any

import keras

from keras_initx._checks import check_count
from keras_initx.recipes._network import network_of
from keras_initx.recipes._recipe import known
from keras_initx.structure import (
    ModelWeight,
    check_model,
    find_weights,
    matches_path,
    matching_paths,
)


def paths(model: keras.Model) -> list[str]:
    """Return the paths of all weights of a model."""
    return [weight.path for weight in find_weights(model)]


def matching(model: keras.Model, pattern: str) -> list[ModelWeight]:
    """Return the weights of a model whose paths match a pattern."""
    return [weight for weight in find_weights(model) if matches_path(pattern, weight.path)]


def matched(name: str, model: keras.Model, *patterns: str) -> list[str]:
    """Return the paths of the weights of a model that match the last of `patterns`.

    Args:
        name: Name of the argument.
        model: A built model.
        patterns: Path patterns. Each must match a weight, because a recipe must not be applied in
            part.

    Raises:
        ValueError: If the model is not built, or has no weights that match one of the patterns.
    """
    found = paths(check_model(name, model))
    for pattern in patterns:
        result = matching_paths(pattern, found)
        if not result:
            raise ValueError(
                f"`{name}` must be a model with weights that match {pattern!r}; otherwise write "
                f"your own rules. Received: {name}={model.name!r} with {found[-1]!r}"
            )
    return result


def count_of(name: str, value: Any, *patterns: str) -> int:
    """Return `value` if it is a number, otherwise the number of weights that match.

    Args:
        name: Name of the argument.
        value: A number, or a model.
        patterns: See `matched`.

    Raises:
        TypeError: If `value` is neither.
        ValueError: If it is not positive, or for the reasons of `matched`.
    """
    if isinstance(value, keras.Model):
        return len(matched(name, value, *patterns))
    return int(check_count(name, value))


def check_not_normalized(name: str, model: Any, instead: str) -> None:
    """Raise `ValueError` if `model` is a model with normalization layers.

    Args:
        name: Name of the argument.
        model: A model, or a number of blocks.
        instead: What to use for such a model.
    """
    if not isinstance(model, keras.Model):
        return
    found = network_of(name, model).norms
    if found:
        examples = [repr(path) for path in found[:3]]
        if len(found) > 3:
            examples.append("...")
        raise ValueError(
            f"`{name}` must be a model without normalization layers: build it without them, use "
            f"{instead} instead, or pass `strict=False` to keep them. Received: "
            f"{name}={model.name!r} with {len(found)} of them, {', '.join(examples)}"
        )


def check_normalization(name: str, model: Any, *, is_first: bool) -> None:
    """Raise `ValueError` if a transformer normalizes elsewhere than a recipe requires.

    Args:
        name: Name of the argument.
        model: A model, or a number of blocks.
        is_first: Whether it must normalize before each branch, and not after each sum.
    """
    if not isinstance(model, keras.Model):
        return
    network = network_of(name, model)
    order = network.normalization
    if order is None or order[0] == is_first:
        return
    places = ("before each branch, as GPT-2 does", "after each sum, as BERT does")
    required, other = places if is_first else reversed(places)
    instead = " or ".join(f"`{recipe}`" for recipe in known(network))
    raise ValueError(
        f"`{name}` must be a model that normalizes {required}; for one that normalizes {other}, "
        f"use {instead or '`deepnorm`'}. Received: {name}={model.name!r} with {order[1]}"
    )
