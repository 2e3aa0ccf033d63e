"""Rules that map patterns, layer types and functions to initializers, which are bound to one weight."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import close_matches
from keras_initx._gates import is_gru, is_lstm
from keras_initx._seeds import derived_seed, has_seed
from keras_initx._typing import InitializerLike, Shape
from keras_initx.initializers import (
    AxesInitializer,
    ChronoBias,
    Initializer,
    MatrixInitializer,
    RandomInitializer,
    are_equal,
    catalog,
    check_initializer,
    default_axes,
    is_array,
    parameters_of,
    with_seed,
)
from keras_initx.sampling import truncated_quantiles
from keras_initx.structure import ModelWeight

# A pattern for paths, a layer type, or a predicate on a weight.
Condition: TypeAlias = str | type[keras.Layer] | Callable[[ModelWeight], bool]
# Maps conditions to initializers, or to `None` for weights that are left unchanged.
Rules: TypeAlias = Mapping[Condition, InitializerLike | None]


def initializers_by_rule(
    rules: Rules | None, weights: Sequence[ModelWeight]
) -> dict[str, keras.initializers.Initializer | None]:
    """Return the value of the first matching rule, by the path of each weight that a rule matches.

    Raises:
        TypeError: If `rules` is not a mapping of conditions to initializers.
        ValueError: If a rule matches no weight, or its value is not an initializer or has a seed.
    """
    if rules is None:
        return {}
    if not isinstance(rules, Mapping):
        raise TypeError(
            f"`rules` must be a dict from conditions to initializers. Received: rules={rules!r}"
        )
    found: dict[str, keras.initializers.Initializer | None] = {}
    for condition, value in rules.items():
        initializer = _checked(condition, value)
        paths = [weight.path for weight in weights if _matches(condition, weight)]
        if not paths:
            hint = ""
            if isinstance(condition, str):
                like_it = close_matches(condition, [weight.path for weight in weights])
                hint = like_it or f"; an existing path is {weights[0].path!r}"
            raise ValueError(
                f"Each of `rules` must match a weight. Received: {condition!r}, which matches none{hint}"
            )
        for path in paths:
            found.setdefault(path, initializer)
    return found


def _checked(
    condition: Any, value: InitializerLike | None
) -> keras.initializers.Initializer | None:
    """Return the initializer of a rule."""
    is_layer_type = isinstance(condition, type) and issubclass(condition, keras.Layer)
    if not (
        is_layer_type
        or isinstance(condition, str)
        or (callable(condition) and not isinstance(condition, type))
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
        return matches_path(condition, weight.path)
    if isinstance(condition, type):
        # Not biases, for which an initializer for kernels is unsuitable.
        return len(weight.shape) > 1 and any(
            isinstance(layer, condition) for layer in weight.layers
        )
    return bool(condition(weight))


def matches_path(pattern: str, path: str) -> bool:
    """Return whether the path of a weight matches the pattern of a rule."""
    # Layers may have brackets in their names, so these stand for themselves.
    return fnmatch.fnmatchcase(path, pattern.replace("[", "[[]"))


# Keras classes whose counterparts here have the same distribution, and the same bits on every
# backend.
_NAMESAKES = {
    own: entry.cls
    for entry in catalog()
    if (own := getattr(keras.initializers, entry.cls.__name__, None))
}
_AXES = ("input_axes", "output_axes")


def with_seed_and_axes(
    initializer: keras.initializers.Initializer, seed: int, weight: ModelWeight
) -> keras.initializers.Initializer:
    """Return a copy of `initializer` for `weight`, with a seed, and with the axes of a kernel if it has none.

    An initializer of Keras is replaced by its counterpart in this package. Nested initializers get
    seeds and axes too. An initializer of a user whose config lacks an argument is returned itself:
    a copy would have other values.

    Args:
        initializer: An initializer. Its seed, if any, is replaced.
        seed: An integer.
        weight: A weight.
    """
    cls = _NAMESAKES.get(type(initializer), type(initializer))
    given = _arguments(initializer)
    if given is None:
        return initializer
    if type(initializer) is keras.initializers.TruncatedNormal:
        given["stddev"] *= truncated_quantiles(
            -2.0, 2.0
        ).stddev  # Keras takes the value before truncation.
    if "seed" in given:
        given["seed"] = seed
    if (
        isinstance(initializer, ChronoBias) and initializer.cell is None
    ):  # the layer does not call it here
        given["cell"] = "lstm" if is_lstm(weight.layer) else "gru" if is_gru(weight.layer) else None
    without_axes = given.get("input_axes") is given.get("output_axes") is None
    if without_axes and weight.axes and _needs_axes(cls, *weight.axes, len(weight.shape)):
        given["input_axes"], given["output_axes"] = map(list, weight.axes)
    try:
        arguments = {
            name: _argument_for(value, derived_seed(seed, name), weight)
            for name, value in given.items()
        }
        copy: keras.initializers.Initializer = cls.from_config(arguments)
    except (
        Exception
    ):  # A user's class may refuse its own config, or hold one that is not registered.
        return initializer
    if "seed" not in given and isinstance(copy, RandomInitializer):
        copy = with_seed(copy, seed)
    if without_axes and isinstance(copy, AxesInitializer):
        copy._groups = weight.groups
    return copy


def _arguments(initializer: keras.initializers.Initializer) -> dict[str, Any] | None:
    """Return the arguments of `initializer`, or `None` if they are not all known."""
    if isinstance(initializer, Initializer):
        # Not the config: a nested initializer of a user may lack one, or not be registered.
        return initializer._arguments()
    arguments = dict(initializer.get_config())
    return arguments if arguments.keys() >= parameters_of(type(initializer)).keys() else None


def _needs_axes(cls: type, inputs: Shape, units: Shape, rank: int) -> bool:
    """Return whether an initializer of type `cls` takes axes and its defaults would be different."""
    if not parameters_of(cls).keys() >= set(_AXES):
        return False
    if issubclass(cls, MatrixInitializer):  # which needs each axis exactly once
        return rank > 2 and sorted(inputs + units) == list(range(rank)) and bool(inputs and units)
    return (inputs, units) != default_axes(rank)


def _argument_for(value: Any, seed: int, weight: ModelWeight) -> Any:
    """Return an argument in which all initializers have a seed and axes."""
    if isinstance(value, list | tuple):
        return [_argument_for(item, derived_seed(seed, i), weight) for i, item in enumerate(value)]
    if isinstance(value, keras.initializers.Initializer):
        return with_seed_and_axes(value, seed, weight)
    if (
        isinstance(value, Mapping) and "class_name" in value
    ):  # in the config of a user's initializer
        inner = keras.saving.deserialize_keras_object(value)
        if isinstance(inner, keras.initializers.Initializer):
            return keras.saving.serialize_keras_object(with_seed_and_axes(inner, seed, weight))
    return value


def description(initializer: Callable[..., Any]) -> str:
    """Return an initializer as a constructor call, without seed, axes and default arguments, or a function's name."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return str(getattr(initializer, "__name__", type(initializer).__name__))
    parameters, arguments = parameters_of(type(initializer)), _arguments(initializer)
    if arguments is None:
        return f"{type(initializer).__name__}(...)"
    shown = (
        f"{name}={_argument_text(value)}"
        for name, value in arguments.items()
        if name not in ("seed", *_AXES)
        and (name not in parameters or not are_equal(value, parameters[name].default))
    )
    return f"{type(initializer).__name__}({', '.join(shown)})"


def _argument_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_argument_text, value))}]"
    if isinstance(value, keras.initializers.Initializer):
        return description(value)
    if is_array(value):
        return f"<array of shape {tuple(value.shape)}>"
    value = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
