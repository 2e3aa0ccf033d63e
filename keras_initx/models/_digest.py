"""A digest of all weights of a model."""

import hashlib

import keras
import numpy as np

from keras_initx.models._weights import find_weights


def weights_digest(model: keras.Model) -> str:
    """Return a digest of all weights of `model`. Models with equal weights have equal digests.

    The digest covers the paths, dtypes, shapes and bits of all weights, sorted by path. It does not
    depend on the backend, the machine, the number of devices, or on other objects in the process.

    Args:
        model: A built model.

    Returns:
        32 hexadecimal digits.

    Raises:
        ValueError: If two weights have the same path.

    Example:
        >>> from keras_initx import initialize
        >>> from keras_initx.models import weights_digest
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> plan = initialize(model, seed=0)
        >>> weights_digest(model)
        '47ba36bc2d1d7b6714b98d459a3b46ad'
    """
    whole = hashlib.blake2b(digest_size=16)
    for weight in sorted(find_weights(model), key=lambda weight: weight.path):
        whole.update(f"{weight.path} {weight.dtype} {weight.shape}\n".encode())
        whole.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight.variable.value)).tobytes())
    return whole.hexdigest()
