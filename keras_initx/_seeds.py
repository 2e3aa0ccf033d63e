"""Seeds derived from one root: by names, for every weight of a model, for the initializers of a study."""

import contextlib
import functools
import hashlib
import numbers
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras


def derived_seed(root: int, *path: str | int) -> int:
    """Return a seed in `[0, 2**31)` derived from `root` and `path`.

    Args:
        root: An integer.
        *path: Strings and integers.
    """
    text = "/".join(map(str, (root, *path)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def seeds(root: int) -> Callable[[str], int]:
    """Return a function that derives the seed of a weight from its path.

    `initialize(model, seed=root)` uses these seeds. Use this function to define a model with the
    same seeds from the start. A seed depends only on the root and the path.

    Args:
        root: An integer in `[0, 2**32)`.

    Returns:
        A function that takes a path and returns an integer. A path is the names of the layers
        around a weight and its own name, joined by `/`, without the name of the model.

    Raises:
        TypeError: If `root` is not an integer.
        ValueError: If `root` is out of range.

    Example:
        >>> from keras_initx import HeNormal, initialize
        >>> seed = seeds(0)
        >>> hidden = keras.layers.Dense(8, kernel_initializer=HeNormal(seed=seed("hidden/kernel")), name="hidden")
        >>> model = keras.Sequential([keras.Input((4,)), hidden])
        >>> before = keras.ops.convert_to_numpy(hidden.kernel)
        >>> plan = initialize(model, seed=0)
        >>> bool((before == keras.ops.convert_to_numpy(hidden.kernel)).all())
        True
    """
    return functools.partial(derived_seed, check_root("root", root))


def root_seed(seed: Any) -> int:
    """Return `seed`, checked; for `None`, draw one from Python's `random`."""
    return random.getrandbits(32) if seed is None else check_root("seed", seed)


def check_root(name: str, value: Any) -> int:
    """Return `value`, which must be an integer in `[0, 2**32)`."""
    required = f"`{name}` must be an integer in [0, 2**32). Received: {name}={value!r}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(required)
    if not 0 <= (root := int(value)) < 1 << 32:
        raise ValueError(required)
    return root


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
