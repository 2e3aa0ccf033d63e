"""Seed the initializers of a study, and isolate random generators from other threads."""

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
    """Reserve the global random generators of this process for the block of this context.

    Global seeds belong to the process, so threads that train wait for each other. Python's
    `random`, from which Keras draws the seeds of layers, is replaced by a generator for this
    thread, because for example the event loop of a Dask worker draws from the shared one twice a
    second.
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
    """Return `initializer` with draws derived from `seed`, different for each layer.

    Args:
        initializer: An initializer, its string id, or a dict, list or tuple of initializers.
            Anything else is returned unchanged.
        seed: An integer.

    Raises:
        ValueError: If a string is not the id of an initializer, or an initializer has a seed.
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
    """Return `config` with a generator for each seed that is `None`, also in nested initializers."""
    if isinstance(config, list | tuple):
        return [_with_seeds(item, derived_seed(seed, i), initializer) for i, item in enumerate(config)]
    if not isinstance(config, dict):
        return config
    if config.get("seed") is not None:
        raise ValueError(
            "`initializers` must not have seeds, because each repeat sets its own. "
            f"Received: {initializer!r} with seed={config['seed']!r}"
        )
    config = {key: _with_seeds(item, derived_seed(seed, key), initializer) for key, item in config.items()}
    if "seed" in config:
        # With an integer, layers of the same shape would get the same values. A generator advances.
        config["seed"] = keras.saving.serialize_keras_object(keras.random.SeedGenerator(seed))
    return config
