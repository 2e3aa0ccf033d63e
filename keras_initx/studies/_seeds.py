"""Initializers that draw from seeds of a study, and random generators isolated from the rest."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_initx.initializers._seeding import derived_seed

_LOCK = threading.RLock()


@contextlib.contextmanager
def isolated_rng() -> Iterator[None]:
    """Let nothing in this process but the block of this context draw from global random generators.

    Global seeds belong to a process: where several threads train, one waits for the other. And Python's `random`,
    from which Keras makes up the seeds of layers, is a generator of this thread's own meanwhile: the event loop of
    a Dask worker draws from the common one twice a second.
    """
    thread, own = threading.get_ident(), random.Random()

    def by_thread(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def draw(*args: Any, **kwargs: Any) -> Any:
            return (getattr(own, name) if threading.get_ident() == thread else function)(*args, **kwargs)

        return draw

    with _LOCK:
        common = {name: getattr(random, name) for name in random.__all__ if hasattr(random.Random, name)}
        vars(random).update({name: by_thread(name, function) for name, function in common.items()})
        try:
            yield
        finally:
            vars(random).update(common)


def seeded(initializer: Any, seed: int) -> Any:
    """Return `initializer` such that what it draws follows from `seed`, and each layer gets another draw.

    Args:
        initializer: An initializer, the string id of one, or a dict, list or tuple of initializers.
            Anything else is returned unchanged.
        seed: An integer.

    Raises:
        ValueError: If a string is not the id of an initializer, or an initializer has a seed of its own.
    """
    if isinstance(initializer, dict):
        return {key: seeded(item, derived_seed(seed, key)) for key, item in initializer.items()}
    if isinstance(initializer, list | tuple):
        return type(initializer)(seeded(item, derived_seed(seed, i)) for i, item in enumerate(initializer))
    if isinstance(initializer, str):
        initializer = keras.initializers.get(initializer)
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = _with_seeds(initializer.get_config(), seed, initializer)
    return type(initializer).from_config(config)


def _with_seeds(config: Any, seed: int, initializer: Any) -> Any:
    """Return `config` with a generator in place of each seed that was left open, those of initializers within too."""
    if isinstance(config, list | tuple):
        return [_with_seeds(item, derived_seed(seed, i), initializer) for i, item in enumerate(config)]
    if not isinstance(config, dict):
        return config
    if config.get("seed") is not None:
        raise ValueError(
            "`initializers` must not have seeds of their own: each repeat gives them another. "
            f"Received: {initializer!r} with seed={config['seed']!r}"
        )
    config = {key: _with_seeds(item, derived_seed(seed, key), initializer) for key, item in config.items()}
    if "seed" in config:
        # An initializer with an integer gives layers of one shape the same values; a generator moves on.
        config["seed"] = keras.saving.serialize_keras_object(keras.random.SeedGenerator(seed))
    return config
