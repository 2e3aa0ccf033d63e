"""How the call of a layer and its activation are replaced while a model is watched.

Keras has no hooks for it. What is replaced is always an attribute of an object, never of a class:
the method by which Keras calls a layer, its activation, the cast of its inputs, and the call of an
operation that is no layer.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator

import keras

from keras_initx._typing import Tensor

__all__ = [
    "HOOKS",
    "LIMITS",
    "activation_name",
    "activation_of",
    "call_name",
    "is_bounded",
    "replaced",
    "unit_axis",
]

# Held while calls are replaced: two threads would restore them in the wrong order.
HOOKS = threading.RLock()


@contextlib.contextmanager
def replaced(layer: keras.Operation, name: str, value: Callable[..., Tensor]) -> Iterator[None]:
    """Replace an attribute temporarily, bypassing Keras' attribute tracking."""
    attributes = vars(layer)
    before = {name: attributes[name]} if name in attributes else {}
    attributes[name] = value
    try:
        yield
    finally:
        del attributes[name]
        attributes.update(before)


def call_name(layer: keras.Layer) -> str:
    """Return the name of the method by which Keras calls `layer`."""
    if layer.quantization_mode is None:
        return "call"
    return "quantized_call"


def unit_axis(layer: keras.Layer, rank: int) -> int:
    """Return the axis of the units in an output of `layer` with `rank` dimensions."""
    order = getattr(layer, "data_format", None)
    if order is None and rank > 3 and not layer.weights:
        order = keras.config.image_data_format()
    if order == "channels_first" and rank > 2:
        return 1
    return -1


# Bounded activations and their limits.
LIMITS: dict[str, tuple[float, float]] = {
    "hard_sigmoid": (0.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "softsign": (-1.0, 1.0),
    "sparse_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}

# Layers that only apply an activation and have no `activation` attribute.
_ACTIVATION_LAYERS = {
    keras.layers.ELU: "elu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.PReLU: "prelu",
    keras.layers.ReLU: "relu",
}


def activation_of(layer: keras.Layer) -> Callable[..., Tensor] | None:
    """Return the function or layer in `layer.activation`, or `None` if it is missing or linear."""
    # That of a recurrent layer is a property: its cell calls it.
    if isinstance(getattr(type(layer), "activation", None), property):
        return None
    activation: Callable[..., Tensor] | None = getattr(layer, "activation", None)
    if activation is keras.activations.linear or not callable(activation):
        return None
    return activation


def activation_name(layer: keras.Layer) -> str | None:
    """Return the name of the activation that `layer` applies, or `None` if it applies none."""
    activation = activation_of(layer)
    if activation is None:
        return _ACTIVATION_LAYERS.get(type(layer))
    return getattr(activation, "__name__", type(activation).__name__)


def is_bounded(activation: str | None) -> bool:
    """Return whether the activation of this name is bounded."""
    return activation in LIMITS or activation == "softmax"
