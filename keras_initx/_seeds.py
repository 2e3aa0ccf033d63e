"""Seeds: derived from one root by names, and those of initializers and their configs.

Also a warning of repeated ones.
"""

import hashlib
import inspect
import random
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_initx._checks import check_root
from keras_initx._keras import argument_name, layers_of, loads_a_model, variable_and_layers


def derived_seed(root: int, *path: str | int) -> int:
    """Return a seed in `[0, 2**31)` derived from `root` and `path`.

    Args:
        root: An integer.
        *path: Strings and integers.
    """
    digest = hashlib.sha256("/".join(map(str, (root, *path))).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def root_seed(seed: Any) -> int:
    """Return `seed`, checked; for `None`, draw one from Python's `random`."""
    if seed is None:
        return random.getrandbits(32)
    return check_root("seed", seed)


def initializer_of(value: Any) -> Any:
    """Return the initializer of a string id or a config, and any other value unchanged."""
    if isinstance(value, str) or (isinstance(value, dict) and "class_name" in value):
        return keras.initializers.get(value)
    return value


def seeded(initializer: Any, seed: int) -> Any:
    """Return `initializer` with draws derived from `seed`, different for each layer.

    Args:
        initializer: An initializer, its string id or config, or a dict, list or tuple of them.
            Anything else is returned unchanged, as is an initializer that takes no seed.
        seed: An integer.

    Raises:
        ValueError: If a string is not the id of an initializer, or an initializer has a seed or
            an argument that its config lacks.
    """
    initializer = initializer_of(initializer)
    if isinstance(initializer, dict):
        return {key: seeded(item, derived_seed(seed, key)) for key, item in initializer.items()}
    if type(initializer) in (list, tuple):
        items = [seeded(item, derived_seed(seed, i)) for i, item in enumerate(initializer)]
        return type(initializer)(items)
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if not takes_seed(config):
        return initializer
    result = type(initializer).from_config(_with_seeds(config, seed, initializer))
    _check_arguments(initializer, result)
    return result


def _check_arguments(initializer: Any, result: Any) -> None:
    """Raise `ValueError` if `result`, made from the config of `initializer`, lacks an argument."""
    for name in inspect.signature(type(initializer)).parameters:
        if name == "seed":
            continue
        for attribute in (name, f"_{name}"):
            own = vars(initializer).get(attribute)
            other = vars(result).get(attribute)
            is_plain = own is None or isinstance(own, str | bool | int | float)
            if type(own) is not type(other) or (is_plain and own != other):
                raise ValueError(
                    "`initializers` must have all their arguments in `get_config`, from which each "
                    f"trial makes a new one. Received: {initializer!r} without {name}"
                )


def takes_seed(config: Any) -> bool:
    """Return whether a config, or a config nested in it, has an argument `seed`."""
    if isinstance(config, list | tuple):
        return any(map(takes_seed, config))
    if isinstance(config, keras.initializers.Initializer):  # which a user's config may hold
        return takes_seed(config.get_config())
    if not isinstance(config, dict):
        return False
    return "seed" in config or any(map(takes_seed, config.values()))


def _with_seeds(config: Any, seed: int, initializer: Any) -> Any:
    """Return `config` with a generator for each seed, also of nested initializers.

    All seeds must be `None`.
    """
    if isinstance(config, list | tuple):
        items = enumerate(config)
        return [_with_seeds(item, derived_seed(seed, i), initializer) for i, item in items]
    if isinstance(config, keras.initializers.Initializer):
        return seeded(config, seed)
    if not isinstance(config, dict):
        return config
    if config.get("seed") is not None:
        raise ValueError(
            "`initializers` must not have seeds, because each repeat sets its own. "
            f"Received: {initializer!r} with seed={config['seed']!r}"
        )
    result = {}
    for key, item in config.items():
        result[key] = _with_seeds(item, derived_seed(seed, key), initializer)
    if "seed" in result:
        # With an integer, layers of the same shape would get the same values. A generator advances.
        result["seed"] = keras.saving.serialize_keras_object(keras.random.SeedGenerator(seed))
    return result


def initializers_within(initializer: Any) -> Iterator[Any]:
    """Yield an initializer, and all that are arguments of it or of one of these, also in a list."""
    yield initializer
    for value in vars(initializer).values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, keras.initializers.Initializer):
                yield from initializers_within(item)


def drawn_seed(initializer: keras.initializers.Initializer) -> int | None:
    """Return the first seed in an initializer that was drawn because none was given, or `None`."""
    for part in initializers_within(initializer):
        if getattr(part, "_init_seed", 0) is None:
            seed: int = part.seed
            return seed
    return None


def has_seed(config: Any) -> bool:
    """Return whether a config, or a config nested in it, has a seed."""
    if isinstance(config, list):
        return any(map(has_seed, config))
    if not isinstance(config, dict):
        return False
    return config.get("seed") is not None or any(map(has_seed, config.values()))


# Generators that were made from a config, each with the path of the first weight that was drawn
# from it, empty before.
_FIRST_WEIGHTS: weakref.WeakKeyDictionary[keras.random.SeedGenerator, str] = (
    weakref.WeakKeyDictionary()
)
# Of those that begin with the same values for the same shape, the first one.
_FIRST_COPIES: weakref.WeakValueDictionary[str, keras.random.SeedGenerator] = (
    weakref.WeakValueDictionary()
)


def note_copy(generator: keras.random.SeedGenerator) -> None:
    """Remember that `generator` was made from a config, and begins again with its first draw."""
    _FIRST_WEIGHTS.setdefault(generator, "")


def warn_of_twins(initializer: keras.initializers.Initializer, shape: tuple[int, ...]) -> None:
    """Warn if the weight being initialized gets the values of another one, by a copied seed.

    `MultiHeadAttention` and `Bidirectional` copy their initializer for each of their parts. Copies
    without a seed draw new ones. Copies with a seed give query and key, or both directions, the
    same values, and training may never break this symmetry. So do clones of layers that have shared
    a generator, because each has a copy of it. Layers that share one object may be intended;
    `diagnose` reports them.
    """
    variable, layers = variable_and_layers()
    if variable is None or not layers:
        return
    # In any case, because it notes this weight too.
    twin_by_generator = _twin_by_generator(initializer, variable, layers, shape)
    twin = _twin_in_layer(initializer, variable, layers, shape) or twin_by_generator
    if twin:
        warnings.warn(
            f"{initializer!r} gives {twin!r} and {variable.path!r} the same weights of shape "
            f"{shape}. For weights of their own use string ids, or give each layer a `clone()` of "
            "an initializer without a seed; `keras.utils.set_random_seed` makes them reproducible.",
            stacklevel=3,
        )


def _twin_in_layer(
    initializer: keras.initializers.Initializer,
    variable: keras.Variable,
    layers: Sequence[keras.Layer],
    shape: tuple[int, ...],
) -> str | None:
    """Return the path of a weight of this layer from another initializer with the same seed."""
    held: Any = getattr(layers[0], argument_name(variable.name), None)
    # A layer may call a copy of what it holds, with axes, and with the seed that was drawn.
    if type(held) is not type(initializer) or not has_seed(held.get_config()):
        return None
    # The outermost layer that is not a model.
    blocks = [layer for layer in layers if not isinstance(layer, keras.Model)] or layers
    for part in layers_of(blocks[-1]):
        for weight in vars(part).values():
            if not isinstance(weight, keras.Variable) or weight is variable:
                continue
            if tuple(weight.shape) != shape:
                continue
            other: Any = getattr(part, argument_name(weight.name), None)
            if other is held or type(other) is not type(held):
                continue
            if other.get_config() == held.get_config():
                return str(weight.path)
    return None


def _twin_by_generator(
    initializer: keras.initializers.Initializer,
    variable: keras.Variable,
    layers: Sequence[keras.Layer],
    shape: tuple[int, ...],
) -> str | None:
    """Return the path of the weight that was drawn first from another copy of the generator."""
    twin = None
    # A model is called differently each time it is copied, a layer is not.
    models = {layer.name for layer in layers if isinstance(layer, keras.Model)}
    path = "/".join(name for name in variable.path.split("/") if name not in models)
    for part in initializers_within(initializer):
        generator = getattr(part, "seed", None)
        if not isinstance(generator, keras.random.SeedGenerator):
            continue
        # Before Keras 3.14, configs have no names: copies of unrelated generators look alike.
        if "name" not in generator.get_config():
            continue
        if _FIRST_WEIGHTS.get(generator) != "":  # only a new copy begins with the values of another
            continue
        if loads_a_model():  # which overwrites these values
            return None
        _FIRST_WEIGHTS[generator] = path
        values = repr((type(initializer), initializer.get_config(), shape))
        first = _FIRST_COPIES.setdefault(values, generator)
        # A second clone of a layer has a weight of the same path, and is meant to be equal.
        if _FIRST_WEIGHTS[first] != path:
            twin = _FIRST_WEIGHTS[first]
    return twin
