"""Bind an initializer to one weight: set its seed and its input and output axes."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_initx.diagnostics._types import Axes
from keras_initx.initializers import catalog
from keras_initx.initializers._axes import MatrixInitializer
from keras_initx.initializers._base import parameters_of
from keras_initx.initializers._fans import default_axes
from keras_initx.initializers._seeding import derived_seed
from keras_initx.sampling._truncated import truncated_quantiles

# Keras classes whose counterparts here have the same distribution, and the same bits on every backend.
_NAMESAKES = {
    getattr(keras.initializers, entry.cls.__name__): entry.cls
    for entry in catalog()
    if hasattr(keras.initializers, entry.cls.__name__)
}
_AXES = ("input_axes", "output_axes")


def bound(
    initializer: keras.initializers.Initializer, seed: int, axes: tuple[Axes, Axes] | None, rank: int
) -> keras.initializers.Initializer:
    """Return a copy of `initializer` with a seed, and with the axes of a kernel if it takes them and has none.

    An initializer of Keras is replaced by its counterpart in this package. Nested initializers are
    bound too.

    Args:
        initializer: An initializer. Its seed, if any, is replaced.
        seed: An integer.
        axes: The input and output axes of a kernel, or `None` for other weights.
        rank: Number of dimensions of the weight.
    """
    cls = _NAMESAKES.get(type(initializer), type(initializer))
    config = {
        name: seed if name == "seed" else _bound_within(value, derived_seed(seed, name), axes, rank)
        for name, value in initializer.get_config().items()
    }
    if type(initializer) is keras.initializers.TruncatedNormal:
        config["stddev"] *= truncated_quantiles(-2.0, 2.0).stddev  # Keras takes the value before truncation.
    if _takes(cls, axes, rank) and config.get("input_axes") is config.get("output_axes") is None:
        config["input_axes"], config["output_axes"] = map(list, axes or ())
    result: keras.initializers.Initializer = cls.from_config(config)
    return result


def _bound_within(value: Any, seed: int, axes: tuple[Axes, Axes] | None, rank: int) -> Any:
    """Return a config value with all initializers in it bound."""
    if isinstance(value, list | tuple):
        return [_bound_within(item, derived_seed(seed, i), axes, rank) for i, item in enumerate(value)]
    if isinstance(value, Mapping) and "class_name" in value:
        inner = keras.saving.deserialize_keras_object(value)
        if isinstance(inner, keras.initializers.Initializer):
            return keras.saving.serialize_keras_object(bound(inner, seed, axes, rank))
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
    parameters = parameters_of(type(initializer))
    config = {
        name: value
        for name, value in initializer.get_config().items()
        if name not in ("seed", *_AXES) and (name not in parameters or value != parameters[name].default)
    }
    return f"{type(initializer).__name__}({', '.join(f'{name}={_plain(value)}' for name, value in config.items())})"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, dict) and "class_name" in value:
        inner = keras.saving.deserialize_keras_object(value)
        return description(inner) if isinstance(inner, keras.initializers.Initializer) else repr(inner)
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
