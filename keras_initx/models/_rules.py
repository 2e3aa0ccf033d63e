"""Rules that map patterns, layer types and functions to initializers."""

import difflib
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers._nested import check_initializer
from keras_initx.initializers._twins import has_seed
from keras_initx.models._weights import ModelWeight

# A pattern for paths, a layer type, or a predicate on a weight.
Condition: TypeAlias = str | type[keras.Layer] | Callable[[ModelWeight], bool]
# Maps conditions to initializers, or to `None` for weights that are left unchanged.
Rules: TypeAlias = Mapping[Condition, InitializerLike | None]


def matched(rules: Rules | None, weights: Sequence[ModelWeight]) -> dict[str, keras.initializers.Initializer | None]:
    """Return the value of the first matching rule, by the path of each weight that a rule matches.

    Raises:
        TypeError: If `rules` is not a mapping of conditions to initializers.
        ValueError: If a rule matches no weight, or its value is not an initializer or has a seed.
    """
    if rules is None:
        return {}
    if not isinstance(rules, Mapping):
        raise TypeError(f"`rules` must be a dict from conditions to initializers. Received: rules={rules!r}")
    found: dict[str, keras.initializers.Initializer | None] = {}
    for condition, value in rules.items():
        initializer = _checked(condition, value)
        paths = [weight.path for weight in weights if _matches(condition, weight)]
        if not paths:
            raise ValueError(
                f"Each of `rules` must match a weight. Received: {condition!r}, which matches none"
                f"{_similar(condition, weights)}"
            )
        for path in paths:
            found.setdefault(path, initializer)
    return found


def _checked(condition: Any, value: InitializerLike | None) -> keras.initializers.Initializer | None:
    """Return the initializer of a rule."""
    if not (isinstance(condition, str | type) or callable(condition)) or (
        isinstance(condition, type) and not issubclass(condition, keras.Layer)
    ):
        raise TypeError(
            f"`rules` must have patterns, layer types or functions as keys. Received: {condition!r} as a key"
        )
    if value is None:
        return None
    initializer = check_initializer(f"rules[{condition!r}]", value)
    if has_seed(initializer.get_config()):
        raise ValueError(
            "`rules` must have initializers without seeds: each weight gets its own, derived from `seed`. "
            f"Received: {initializer!r} for {condition!r}"
        )
    return initializer


def _matches(condition: Condition, weight: ModelWeight) -> bool:
    if isinstance(condition, str):
        return fnmatch.fnmatchcase(weight.path, condition)
    if isinstance(condition, type):
        # Not biases, for which an initializer for kernels is unsuitable.
        return len(weight.shape) > 1 and any(isinstance(layer, condition) for layer in weight.layers)
    return bool(condition(weight))


def _similar(condition: Condition, weights: Sequence[ModelWeight]) -> str:
    """Return a hint with the paths that are close to a pattern, as the end of a sentence."""
    if not isinstance(condition, str):
        return ""
    close = difflib.get_close_matches(condition, [weight.path for weight in weights], cutoff=0.5)
    return (
        f"; close matches are {', '.join(map(repr, close))}" if close else f"; an existing path is {weights[0].path!r}"
    )
