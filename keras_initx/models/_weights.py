"""What tells weights apart: the seed of each by its path, and a digest of all."""

import functools
import hashlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_initx._checks import check_root, check_type
from keras_initx._seeds import derived_seed
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.structure import check_model, find_weights

__all__ = ["seeds", "weights_digest"]


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
        >>> kernel = HeNormal(seed=seed("hidden/kernel"))
        >>> hidden = keras.layers.Dense(8, kernel_initializer=kernel, name="hidden")
        >>> model = keras.Sequential([keras.Input((4,)), hidden])
        >>> before = keras.ops.convert_to_numpy(hidden.kernel)
        >>> plan = initialize(model, seed=0)
        >>> bool((before == keras.ops.convert_to_numpy(hidden.kernel)).all())
        True
    """
    return functools.partial(derived_seed, check_root("root", root))


def weights_digest(model: keras.Model | Mapping[str, Any]) -> str:
    """Return a digest of all weights of `model`. Models with equal weights have equal digests.

    The digest covers the paths, dtypes, shapes and bits of all weights, sorted by path. It does not
    depend on the backend, the machine, the number of devices, or on other objects in the process.

    Args:
        model: A built model; or a dict from paths to arrays, such as weights in another framework
            under the names that they have in Keras.

    Returns:
        32 hexadecimal digits.

    Raises:
        TypeError: If `model` is neither.
        ValueError: If it is not built, or two weights have the same path.

    Example:
        >>> from keras_initx import initialize
        >>> from keras_initx.models import weights_digest
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> plan = initialize(model, seed=0)
        >>> weights_digest(model)
        '47ba36bc2d1d7b6714b98d459a3b46ad'
        >>> weights_digest({path: plan.draw(path) for path in ("dense/kernel", "dense/bias")})
        '47ba36bc2d1d7b6714b98d459a3b46ad'
    """
    values: dict[str, Any] = {}
    if isinstance(model, Mapping):
        values.update(model)
    else:
        check_type("model", model, keras.Model, "a Keras model, or a dict from paths to arrays")
        for weight in find_weights(check_model("model", model)):
            values[weight.path] = weight.variable.value
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted(values):
        array = as_array(values[path])
        whole.update(f"{path} {array.dtype.name} {array.shape}\n".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def as_array(value: Any) -> Array:
    """Return a tensor of the backend, or anything that NumPy takes, as an array."""
    if keras.ops.is_tensor(value):
        return backend.host_view(value)
    return np.asarray(value)


def array_digest(array: Array) -> str:
    """Return the digest of one weight, see `InitializationPlan.save`."""
    shape = "x".join(map(str, array.shape))
    whole = hashlib.blake2b(f"{array.dtype.name} {shape}\n".encode(), digest_size=16)
    if sys.byteorder == "big":
        array = array.byteswap()
    # As integers: NumPy gives no access to the memory of 16-bit floats of other packages.
    whole.update(np.ascontiguousarray(array).reshape(-1).view("uint8").data)
    return whole.hexdigest()
