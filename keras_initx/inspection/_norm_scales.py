"""Find how a normalization uses its scale: as `scale * x`, or as `(1 + scale) * x`.

A call with a scale of 0 shows it: if the outputs are not 0, it is `(1 + scale) * x`.
"""

import math

import keras
import numpy as np

from keras_initx.inspection._names import list_own_weights

# Weights of normalizations that are no scales.
_NOT_SCALES = ("beta", "bias", "moving_mean", "moving_variance")
# In place of a length that is not known.
_LENGTH = 2


def adds_one_to_scale(layer: keras.Layer) -> bool | None:
    """Return whether a normalization multiplies by 1 plus its scale; `None` if it is not known."""
    weights = list_own_weights(layer)
    scales = [weight for weight in weights if weight.name not in _NOT_SCALES]
    if len(scales) != 1 or math.prod(scales[0].shape) < 2:
        return None
    shape = (layer.get_build_config() or {}).get("input_shape") or (None, *scales[0].shape)
    if not all(length is None or isinstance(length, int) for length in shape):
        return None
    lengths = [_LENGTH if length is None else length for length in shape]
    inputs = np.random.default_rng(0).normal(size=lengths).astype("float32")
    try:
        with keras.StatelessScope() as scope:
            for weight in weights:
                if weight.name not in ("moving_mean", "moving_variance"):
                    scope.add_update((weight, keras.ops.zeros(weight.shape, weight.dtype)))
            outputs = keras.ops.convert_to_numpy(layer(inputs))
    except Exception:  # whatever the `call` of a user's layer raises
        return None
    return bool(np.any(outputs.astype("float32") != 0))
