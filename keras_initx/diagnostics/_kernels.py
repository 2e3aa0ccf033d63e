"""Find the kernels among the weights of a layer, their axes, and their intended standard deviation."""

import math

import keras

from keras_initx.diagnostics._layers import NORMALIZATIONS
from keras_initx.diagnostics._types import Axes
from keras_initx.diagnostics._values import weight_array
from keras_initx.initializers import ICNR
from keras_initx.initializers._fans import default_axes
from keras_initx.initializers._variance import stddev_for

_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_DEPTHWISE = (
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
# Weights that may have more than one dimension but are not kernels.
_NOT_KERNELS = ("alpha", "beta", "bias", "gamma", "scale")
_KERNELS = ("embeddings", "kernel")


def is_kernel(weight: keras.Variable) -> bool:
    """Return whether `weight` is a matrix or tensor that multiplies inputs."""
    # Quantized kernels are scaled integers.
    if math.prod(weight.shape) < 2 or "float" not in keras.backend.standardize_dtype(weight.dtype):
        return False
    if weight.name.endswith(_KERNELS):
        return True
    # In a custom layer the kernel may have any name. A weight with a single row is a token or an offset.
    return math.prod(weight.shape[:-1]) > 1 and not weight.name.endswith(_NOT_KERNELS)


def is_zero(layer: keras.layers.Layer, weight: keras.Variable) -> bool:
    """Return whether `weight` is a trainable kernel, or the scale of a normalization, and all 0."""
    is_scale = isinstance(layer, NORMALIZATIONS) and weight.name in ("gamma", "scale")
    return bool(weight.trainable and (is_scale or is_kernel(weight)) and not weight_array(weight).any())


def kernel_axes(layer: keras.layers.Layer, name: str, rank: int) -> tuple[Axes, Axes]:
    """Return the input and output axes of a kernel.

    Args:
        layer: The layer.
        name: Name of its kernel.
        rank: Number of dimensions of the kernel.
    """
    window = tuple(range(rank - 2))
    if is_depthwise(layer, name):
        return window, (*window, rank - 1)
    if isinstance(layer, _TRANSPOSED):
        return (*window, rank - 1), (*window, rank - 2)
    if isinstance(layer, keras.layers.Embedding):
        return (), (1,)
    if isinstance(layer, keras.layers.EinsumDense):
        inputs, kernel = layer.equation.split("->")[0].replace("...", "").split(",")
        summed = tuple(axis for axis, letter in enumerate(kernel) if letter in inputs)
        return summed, tuple(axis for axis in range(rank) if axis not in summed)
    return default_axes(rank)


def expected_std(layer: keras.layers.Layer, name: str, fan_in: int, fan_out: int) -> float | None:
    """Return the std that the initializer of a depthwise or transposed kernel intends, or `None` for other kernels."""
    if is_depthwise(layer, name):
        initializer = layer.depthwise_initializer
    elif isinstance(layer, _TRANSPOSED):
        initializer = layer.kernel_initializer
    else:
        return None
    # Other subclasses, such as `Orthogonal`, have no scale.
    if not isinstance(initializer, keras.initializers.VarianceScaling) or not hasattr(initializer, "scale"):
        return None
    return float(stddev_for(initializer.scale, initializer.mode, fan_in, fan_out))


def repeats_units(layer: keras.layers.Layer, name: str) -> bool:
    """Return whether units are identical on purpose, in an upsampling kernel."""
    return name == "kernel" and isinstance(getattr(layer, "kernel_initializer", None), ICNR)


def is_depthwise(layer: keras.layers.Layer, name: str) -> bool:
    """Return whether the kernel of this name is depthwise: it does not sum over channels."""
    # A separable convolution has two kernels.
    return isinstance(layer, _DEPTHWISE) and name != "pointwise_kernel"
