"""Rules that map patterns, layer types and functions to initializers, which are bound to one weight."""

import difflib
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._seeds import derived_seed
from keras_initx._typing import InitializerLike
from keras_initx.diagnostics._verdicts import Axes
from keras_initx.initializers import Initializer, catalog
from keras_initx.initializers._base import parameters_of
from keras_initx.initializers._composition import check_initializer
from keras_initx.initializers._scale import AxesInitializer, MatrixInitializer, default_axes
from keras_initx.initializers._twins import has_seed
from keras_initx.models._weights import ModelWeight
from keras_initx.sampling._stream import truncated_quantiles

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


# Keras classes whose counterparts here have the same distribution, and the same bits on every backend.
_NAMESAKES = {
    getattr(keras.initializers, entry.cls.__name__): entry.cls
    for entry in catalog()
    if hasattr(keras.initializers, entry.cls.__name__)
}
_AXES = ("input_axes", "output_axes")


def bound(
    initializer: keras.initializers.Initializer, seed: int, weight: ModelWeight
) -> keras.initializers.Initializer:
    """Return a copy of `initializer` for `weight`, with a seed, and with the axes of a kernel if it has none.

    An initializer of Keras is replaced by its counterpart in this package. Nested initializers are
    bound too. An initializer of a user whose config lacks an argument is returned itself: a copy
    would have other values.

    Args:
        initializer: An initializer. Its seed, if any, is replaced.
        seed: An integer.
        weight: A weight.
    """
    cls = _NAMESAKES.get(type(initializer), type(initializer))
    given = _arguments(initializer)
    if not _is_complete(initializer, given):
        return initializer
    if type(initializer) is keras.initializers.TruncatedNormal:
        given["stddev"] *= truncated_quantiles(-2.0, 2.0).stddev  # Keras takes the value before truncation.
    without_axes = given.get("input_axes") is given.get("output_axes") is None
    if without_axes and _takes(cls, weight.axes, len(weight.shape)):
        given["input_axes"], given["output_axes"] = map(list, weight.axes or ())
    try:
        copy: keras.initializers.Initializer = cls.from_config(
            {
                name: seed if name == "seed" else _bound_within(value, derived_seed(seed, name), weight)
                for name, value in given.items()
            }
        )
    except Exception:  # A user's class may refuse its own config, or hold one that is not registered.
        return initializer
    if without_axes and isinstance(copy, AxesInitializer):
        copy._groups = weight.groups
    return copy


def _arguments(initializer: keras.initializers.Initializer) -> dict[str, Any]:
    """Return the arguments of `initializer`, as far as they are known."""
    if isinstance(initializer, Initializer):
        # Not the config: a nested initializer of a user may lack one, or not be registered.
        return initializer._arguments()
    return dict(initializer.get_config())


def _is_complete(initializer: keras.initializers.Initializer, arguments: Mapping[str, Any]) -> bool:
    return arguments.keys() >= parameters_of(type(initializer)).keys()


def _bound_within(value: Any, seed: int, weight: ModelWeight) -> Any:
    """Return an argument with all initializers in it bound."""
    if isinstance(value, list | tuple):
        return [_bound_within(item, derived_seed(seed, i), weight) for i, item in enumerate(value)]
    if isinstance(value, keras.initializers.Initializer):
        return bound(value, seed, weight)
    if isinstance(value, Mapping) and "class_name" in value:  # in the config of a user's initializer
        inner = keras.saving.deserialize_keras_object(value)
        if isinstance(inner, keras.initializers.Initializer):
            return keras.saving.serialize_keras_object(bound(inner, seed, weight))
    return value


def _takes(cls: type, axes: tuple[Axes, Axes] | None, rank: int) -> bool:
    """Return whether to set the axes of `cls`: whether it takes them and its defaults would be different."""
    if axes is None or not parameters_of(cls).keys() >= set(_AXES):
        return False
    inputs, units = axes
    if issubclass(cls, MatrixInitializer):  # which needs each axis exactly once
        return rank > 2 and sorted(inputs + units) == list(range(rank)) and bool(inputs and units)
    return axes != default_axes(rank)


def description(initializer: keras.initializers.Initializer) -> str:
    """Return an initializer as a constructor call, without seed, axes and default arguments."""
    parameters, arguments = parameters_of(type(initializer)), _arguments(initializer)
    if not _is_complete(initializer, arguments):
        return f"{type(initializer).__name__}(...)"
    shown = {
        name: value
        for name, value in arguments.items()
        if name not in ("seed", *_AXES) and (name not in parameters or value != parameters[name].default)
    }
    return f"{type(initializer).__name__}({', '.join(f'{name}={_text(value)}' for name, value in shown.items())})"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, keras.initializers.Initializer):
        return description(value)
    value = value.item() if isinstance(value, np.generic) else value
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
