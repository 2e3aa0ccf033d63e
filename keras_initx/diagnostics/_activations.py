"""Find the activation of a layer, its name, and its properties."""

from collections.abc import Callable

import keras

from keras_initx._typing import Tensor
from keras_initx.diagnostics._types import Limits

# Bounded activations and their limits.
LIMITS: dict[str, Limits] = {
    "hard_sigmoid": (0.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "softsign": (-1.0, 1.0),
    "sparse_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}

# Activations for which He initialization is suitable.
_RELU_LIKE = {"relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "swish", "mish", "softplus"}

# Layers that only apply an activation and have no `activation` attribute.
_ACTIVATION_LAYERS = {
    keras.layers.ELU: "elu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.PReLU: "prelu",
    keras.layers.ReLU: "relu",
}


def activation_of(layer: keras.layers.Layer) -> Callable[..., Tensor] | None:
    """Return the function or layer in `layer.activation`, or `None` if it is missing or linear."""
    if isinstance(getattr(type(layer), "activation", None), property):  # of a recurrent layer, whose cell calls it
        return None
    activation = getattr(layer, "activation", None)
    return activation if callable(activation) and activation is not keras.activations.linear else None


def is_activation(layer: keras.layers.Layer) -> bool:
    """Return whether `layer` is itself an activation, so that its input is the value before the activation."""
    return type(layer) in _ACTIVATION_LAYERS


def activation_name(layer: keras.layers.Layer) -> str | None:
    """Return the name of the activation that `layer` applies, or `None` if it applies none."""
    activation = activation_of(layer)
    if activation is None:
        return _ACTIVATION_LAYERS.get(type(layer))
    return getattr(activation, "__name__", type(activation).__name__)


def is_bounded(activation: str | None) -> bool:
    """Return whether the activation of this name is bounded."""
    return activation in LIMITS or activation == "softmax"


def gives_probabilities(activation: str | None) -> bool:
    """Return whether the outputs of the activation of this name are usually probabilities."""
    return activation in ("sigmoid", "softmax")


def suitable_initializer(activation: str | None) -> str:
    """Return a suitable initializer for the activation of this name."""
    if activation == "selu":
        return "LecunNormal()"
    return "HeNormal()" if activation in _RELU_LIKE else "GlorotUniform()"
