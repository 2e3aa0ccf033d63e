"""A seed for every weight of a model, derived from one root and the path of the weight."""

import functools
import numbers
import random
from collections.abc import Callable
from typing import Any

from keras_initx.initializers._seeding import derived_seed


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
