"""Warn if two weights get the same values from the same seed.

`MultiHeadAttention` and `Bidirectional` copy their initializer for each of their parts. Copies
without a seed draw new seeds. Copies with a seed give query and key, or both directions, the same
values, and training may never break this symmetry. The same happens if one object, with or without
a seed, is used for several weights.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._keras import argument_name, asking, layers_of


def warn_of_twins(initializer: keras.initializers.Initializer, shape: tuple[int, ...]) -> None:
    """Warn if the weight being initialized gets the same values as another weight of the same block."""
    if next(seeds_within(initializer), None) is None:
        return
    variable, layers = asking()
    if variable is None or not layers:
        return
    held = _argument(layers[0], variable)
    if held is not initializer and not _rebuilt(held, initializer):
        return
    for twin in _twins(variable, shape, layers, held):
        warnings.warn(
            f"{held!r} gives {twin.path!r} and {variable.path!r} the same weights of shape {shape}. For weights of "
            "their own use string ids, or give each layer a `clone()` of an initializer without a seed; "
            "`keras.utils.set_random_seed` makes them reproducible.",
            stacklevel=2,
        )
        return


def seeds_within(initializer: keras.initializers.Initializer) -> Iterator[int | keras.random.SeedGenerator]:
    """Yield the seeds, given or drawn, of an initializer and of all initializers inside it."""
    for name, value in vars(initializer).items():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, keras.initializers.Initializer):
                yield from seeds_within(item)
            elif name == "seed" and item is not None:
                yield item


def _twins(
    variable: keras.Variable, shape: tuple[int, ...], layers: list[keras.Layer], held: keras.initializers.Initializer
) -> Iterator[keras.Variable]:
    """Yield the weights near `variable` with the same shape and with values from `held` or a copy of it."""
    block, model = ([layer for layer in layers if not isinstance(layer, keras.Model)] or layers)[-1], layers[-1]
    parts = layers_of(block)
    if model is not block and not has_seed(held.get_config()):
        # Layers of a model may have the same seed on purpose. A shared object is more likely a mistake.
        name = argument_name(variable)
        parts += [part for part in layers_of(model) if vars(part).get(name) is held]
    for part in parts:
        for weight in vars(part).values():
            if not isinstance(weight, keras.Variable) or weight is variable or tuple(weight.shape) != shape:
                continue
            if _gives_the_same(_argument(part, weight), held):
                yield weight


def _argument(layer: keras.Layer, weight: keras.Variable) -> Any:
    """Return the initializer of `weight` in `layer`, found by name, or `None`."""
    return getattr(layer, argument_name(weight), None)


def _rebuilt(held: Any, initializer: keras.initializers.Initializer) -> bool:
    """Return whether a layer rebuilt `initializer` from `held` to set its axes."""
    return type(held) is type(initializer) and getattr(held, "seed", held) == getattr(initializer, "seed", None)


def _gives_the_same(other: Any, held: keras.initializers.Initializer) -> bool:
    if other is held:
        # With a generator, each call returns new values.
        return not any(isinstance(seed, keras.random.SeedGenerator) for seed in seeds_within(held))
    return type(other) is type(held) and has_seed(held.get_config()) and other.get_config() == held.get_config()


def has_seed(config: Any) -> bool:
    """Return whether a config, or a config nested in it, has a seed."""
    if isinstance(config, list):
        return any(map(has_seed, config))
    return isinstance(config, dict) and any(
        has_seed(value) or (name == "seed" and value is not None) for name, value in config.items()
    )
