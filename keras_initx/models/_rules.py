"""Rules: patterns, layer types and functions, each with the initializer of the weights that it matches."""

import difflib
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers._nested import check_initializer
from keras_initx.initializers._twins import has_seed
from keras_initx.models._weights import ModelWeight

# What a rule matches: a pattern for paths, a type of layers, or a function of a weight.
Condition: TypeAlias = str | type[keras.Layer] | Callable[[ModelWeight], bool]
# Each condition with an initializer, or with `None` for weights that are left as they are.
Rules: TypeAlias = Mapping[Condition, InitializerLike | None]


def matched(rules: Rules | None, weights: Sequence[ModelWeight]) -> dict[str, keras.initializers.Initializer | None]:
    """Return what the first rule that matches gives, for the path of each weight that a rule matches.

    Raises:
        TypeError: If `rules` is not a mapping of conditions to initializers.
        ValueError: If a rule matches no weight, or an initializer is none or has a seed.
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
                f"`rules` must each match a weight. Received: {condition!r}, which matches none"
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
            "`rules` must have initializers without seeds: each weight gets one of its own, from `seed`. "
            f"Received: {initializer!r} for {condition!r}"
        )
    return initializer


def _matches(condition: Condition, weight: ModelWeight) -> bool:
    if isinstance(condition, str):
        return fnmatch.fnmatchcase(weight.path, condition)
    if isinstance(condition, type):
        # Not the biases, which no initializer for kernels suits.
        return len(weight.shape) > 1 and any(isinstance(layer, condition) for layer in weight.layers)
    return bool(condition(weight))


def _similar(condition: Condition, weights: Sequence[ModelWeight]) -> str:
    """Return the paths that a pattern may have been meant for, as the end of a sentence."""
    if not isinstance(condition, str):
        return ""
    close = difflib.get_close_matches(condition, [weight.path for weight in weights], cutoff=0.5)
    return f"; close to it are {', '.join(map(repr, close))}" if close else f"; there is {weights[0].path!r}"
