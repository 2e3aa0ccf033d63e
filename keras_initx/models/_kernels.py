"""Which weights of a layer are kernels that can be drawn and scaled anew, and why others cannot."""

from dataclasses import dataclass

import keras

from keras_initx.diagnostics._kernels import is_kernel, is_zero
from keras_initx.diagnostics._layers import own_weights


@dataclass(frozen=True)
class Kernels:
    """The kernels of a layer.

    Attributes:
        free: Those that act on its inputs and may be changed.
        reason: Why none may be changed, empty if one may.
    """

    free: tuple[keras.Variable, ...]
    reason: str


def kernels_of(layer: keras.layers.Layer) -> Kernels | None:
    """Return the `Kernels` of `layer`, `None` if it has none."""
    if isinstance(layer, keras.layers.RNN):
        # Its recurrent kernel acts on its state, and what is in a loop of several cells cannot be seen.
        kernel = getattr(layer.cell, "kernel", None)
        if not isinstance(kernel, keras.Variable):
            return Kernels((), "the kernels of its cell are not known") if layer.weights else None
        found = [kernel]
    else:
        found = [weight for weight in own_weights(layer) if len(weight.shape) > 1 and is_kernel(weight)]
    if not found:
        return None
    free = [weight for weight in found if weight.trainable]
    if not free:
        return Kernels((), "frozen")
    # What is looked up or added is not multiplied by anything.
    free = [weight for weight in free if not isinstance(layer, keras.layers.Embedding) and "embed" not in weight.name]
    if not free:
        return Kernels((), "an embedding, which multiplies no input")
    free = [weight for weight in free if not is_zero(layer, weight)]
    return Kernels(tuple(free), "" if free else "its kernel is zero")
