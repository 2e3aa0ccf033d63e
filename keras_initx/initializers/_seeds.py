"""Seeds: derived from one root by names, and the seeds of initializers and their configs."""

import hashlib
import inspect
import itertools
import random
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._checks import check_root
from keras_initx._keras import keeps_seed, read_given_seed
from keras_initx._received import show


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


def resolve_initializer(value: Any) -> Any:
    """Return the initializer of a string id or a config, and any other value unchanged.

    A string may also be the name of a class or function that the user has registered.

    Raises:
        TypeError: If it needs arguments that a string id does not give.
        ValueError: If Keras does not know the string.
    """
    if isinstance(value, str) and keras.saving.get_registered_object(value) is not None:
        # `get` looks up a text only among Keras' own names since Keras 3.16.
        return keras.initializers.deserialize({"class_name": value, "config": {}})
    if isinstance(value, str) or (isinstance(value, dict) and "class_name" in value):
        return keras.initializers.get(value)
    return value


def seed_initializer(initializer: Any, seed: int) -> Any:
    """Return `initializer` with draws derived from `seed`, different for each layer.

    Args:
        initializer: An initializer, its string id or config, or a dict, list or tuple of them.
            Anything else is returned unchanged, as is an initializer that takes no seed.
        seed: An integer.

    Raises:
        ValueError: If a string is not the id of an initializer, or an initializer has a seed or
            an argument that its config lacks.
    """
    initializer = resolve_initializer(initializer)
    if isinstance(initializer, dict):
        return {
            key: seed_initializer(item, derived_seed(seed, key))
            for key, item in initializer.items()
        }
    if type(initializer) in (list, tuple):
        items = [
            seed_initializer(item, derived_seed(seed, i)) for i, item in enumerate(initializer)
        ]
        return type(initializer)(items)
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if not takes_seed(config):
        return initializer
    cls = type(initializer)
    given = _with_seeds(config, seed, initializer)
    # Only Keras' classes, and ours, take a serialized generator for the seed in a config.
    if "seed" in config and not keeps_seed(initializer):
        cls = _with_own_seeds(cls, seed)
        given["seed"] = None
    result = cls.from_config(given)
    _check_arguments(initializer, result)
    return result


def _with_own_seeds(cls: Any, seed: int) -> Any:
    """Return a subclass of a user's class that draws with another integer at each call.

    All initializers take an integer as a seed. If all calls used the same one, layers of the same
    shape would get the same values.
    """
    calls = itertools.count()

    def drawn(self: Any, shape: Any, dtype: Any = None, **options: Any) -> Any:
        config = {**self.get_config(), "seed": derived_seed(seed, next(calls))}
        return cls.from_config(config)(shape, dtype, **options)

    return type(cls.__name__, (cls,), {"__call__": drawn})


def _check_arguments(initializer: Any, result: Any) -> None:
    """Raise `ValueError` if `result`, made from the config of `initializer`, lacks an argument."""
    for name in inspect.signature(type(initializer)).parameters:
        if name == "seed":
            continue
        for attribute in (name, f"_{name}"):
            own = vars(initializer).get(attribute)
            other = vars(result).get(attribute)
            is_plain = own is None or isinstance(own, str | bool | int | float)
            if not isinstance(other, type(own)) or (is_plain and own != other):
                raise ValueError(
                    "`initializers` must have all their arguments in `get_config`, because each "
                    f"trial makes a new one from it. Received: {show(initializer)} without {name}"
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
        return seed_initializer(config, seed)
    if not isinstance(config, dict):
        return config
    if config.get("seed") is not None:
        raise ValueError(
            "`initializers` must not have seeds, because each repeat sets its own. "
            f"Received: {show(initializer)} with seed={show(config['seed'])}"
        )
    if config.get("registered_name"):
        inner = keras.saving.deserialize_keras_object(config)
        if isinstance(inner, keras.initializers.Initializer) and not keeps_seed(inner):
            return seed_initializer(inner, derived_seed(seed, "config"))
    result = {}
    for key, item in config.items():
        result[key] = _with_seeds(item, derived_seed(seed, key), initializer)
    if "seed" in result:
        # With an integer, layers of the same shape would get the same values. A generator advances.
        result["seed"] = keras.saving.serialize_keras_object(keras.random.SeedGenerator(seed))
    return result


def initializers_within(initializer: Any) -> Iterator[Any]:
    """Yield an initializer and all initializers among its arguments, also nested and in lists."""
    yield initializer
    for value in vars(initializer).values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, keras.initializers.Initializer):
                yield from initializers_within(item)


def drawn_seed(initializer: keras.initializers.Initializer) -> int | None:
    """Return the first seed in an initializer that was drawn because none was given, or `None`."""
    for part in initializers_within(initializer):
        if keeps_seed(part) and read_given_seed(part) is None:
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
