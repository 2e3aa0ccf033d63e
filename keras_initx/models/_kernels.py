"""Find the kernels of a layer that can be initialized and scaled, and the reasons why others cannot."""

from dataclasses import dataclass

import keras

from keras_initx._checks import DTYPES
from keras_initx.diagnostics._kernels import is_kernel, is_zero
from keras_initx.diagnostics._layers import own_weights


@dataclass(frozen=True)
class Kernels:
    """The kernels of a layer.

    Attributes:
        free: The kernels that multiply its inputs and may be changed.
        reason: Why no kernel may be changed; empty if one may.
    """

    free: tuple[keras.Variable, ...]
    reason: str


def is_quantized(layer: keras.layers.Layer) -> bool:
    """Return whether `layer` stores quantized integers: then its scales and biases are values of these integers."""
    # Layers without integers may have a quantization mode too: with float8, and from a global dtype policy.
    return layer.quantization_mode is not None and any(
        keras.backend.standardize_dtype(weight.dtype) not in DTYPES for weight in own_weights(layer)
    )


def input_kernel(layer: keras.layers.RNN) -> keras.Variable | None:
    """Return the matrix or filters by which the cell of `layer` multiplies its inputs, or `None` if it is not known.

    The recurrent kernel multiplies the state, and the inside of a loop over several cells is not accessible.
    """
    kernel = getattr(layer.cell, "kernel", None)
    return kernel if isinstance(kernel, keras.Variable) and len(kernel.shape) > 1 else None


def kernels_of(layer: keras.layers.Layer) -> Kernels | None:
    """Return the `Kernels` of `layer`, or `None` if it has none."""
    if is_quantized(layer):
        return Kernels((), "quantized")
    if isinstance(layer, keras.layers.RNN):
        kernel = input_kernel(layer)
        if kernel is None:
            return Kernels((), "the kernels of its cell are not known") if layer.weights else None
        found = [kernel]
    else:
        found = [weight for weight in own_weights(layer) if len(weight.shape) > 1 and is_kernel(weight)]
    # The factors of LoRA start a change of the kernel at zero. While they train, it is frozen.
    found = [weight for weight in found if not weight.name.startswith("lora_")]
    if not found:
        return None
    free = [weight for weight in found if weight.trainable]
    if not free:
        return Kernels((), "frozen")
    # Embeddings are looked up or added, not multiplied.
    free = [weight for weight in free if not isinstance(layer, keras.layers.Embedding) and "embed" not in weight.name]
    if not free:
        return Kernels((), "an embedding, which does not multiply its input")
    free = [weight for weight in free if not is_zero(layer, weight)]
    return Kernels(tuple(free), "" if free else "its kernel is zero")
