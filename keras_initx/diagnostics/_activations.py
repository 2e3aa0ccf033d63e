"""The activation of a layer: where it is, what it is called, and what follows from its name."""

from collections.abc import Callable

import keras

from keras_initx._typing import Tensor
from keras_initx.diagnostics._types import Limits

# Activations that stay between two limits.
LIMITS: dict[str, Limits] = {
    "hard_sigmoid": (0.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "softsign": (-1.0, 1.0),
    "sparse_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}

# Activations for which He's variance is right.
_RELU_LIKE = {"relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "swish", "mish", "softplus"}

# Layers that do nothing but apply an activation, which they do not have in an attribute.
_ACTIVATION_LAYERS = {
    keras.layers.ELU: "elu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.PReLU: "prelu",
    keras.layers.ReLU: "relu",
}


def activation_of(layer: keras.layers.Layer) -> Callable[..., Tensor] | None:
    """Return the function or layer in `layer.activation`, `None` if there is none or it changes nothing."""
    if isinstance(getattr(type(layer), "activation", None), property):  # a recurrent layer's, which its cell calls
        return None
    activation = getattr(layer, "activation", None)
    return activation if callable(activation) and activation is not keras.activations.linear else None


def is_activation(layer: keras.layers.Layer) -> bool:
    """Return whether `layer` is an activation that is not in an attribute: its input is what comes before."""
    return type(layer) in _ACTIVATION_LAYERS


def activation_name(layer: keras.layers.Layer) -> str | None:
    """Return the name of the activation that `layer` applies, `None` if it applies none."""
    activation = activation_of(layer)
    if activation is None:
        return _ACTIVATION_LAYERS.get(type(layer))
    return getattr(activation, "__name__", type(activation).__name__)


def is_bounded(activation: str | None) -> bool:
    """Return whether the activation of this name stays between two limits."""
    return activation in LIMITS or activation == "softmax"


def gives_probabilities(activation: str | None) -> bool:
    """Return whether the outputs of the activation of this name are mostly read as probabilities."""
    return activation in ("sigmoid", "softmax")


def suitable_initializer(activation: str | None) -> str:
    """Return the initializer that suits the activation of this name."""
    if activation == "selu":
        return "LecunNormal()"
    return "HeNormal()" if activation in _RELU_LIKE else "GlorotUniform()"
