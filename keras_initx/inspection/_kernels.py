"""Find the kernels among the weights, with the axes of their inputs and of their units.

    Dense                   (inputs, units)                       axes (0,), (1,)
    Conv2D                  (height, width, channels, filters)    axes (0, 1, 2), (0, 1, 3)
    Conv2DTranspose         (height, width, filters, channels)    axes (0, 1, 3), (0, 1, 2)
    DepthwiseConv2D         (height, width, channels, factor)     axes (0, 1), (0, 1, 3)
    EinsumDense "abc,cd->abd"  (inputs, units)                    axes (0,), (1,)
    torch's Conv2d          (filters, channels, height, width)    axes (1, 2, 3), (0, 2, 3)

The window of a convolution is in both, because fan-in and fan-out both count it.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras

from keras_initx._typing import Shape
from keras_initx.backends._current import backend
from keras_initx.initializers._scale import default_axes, fans
from keras_initx.inspection._names import list_own_weights

# The input and output axes of a kernel.
KernelAxes: TypeAlias = tuple[Shape, Shape]

# Layers that normalize the scale of their inputs.
NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)
CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
# Depthwise, with a kernel across channels behind.
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D, *SEPARABLE)
ALL_CONVOLUTIONS = (*CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE)
# These normalize inputs and weights.
_OTHER_NORMALIZATIONS = (keras.layers.Normalization, keras.layers.SpectralNormalization)
# Layers of Keras that wrap weights and operations of other packages.
FOREIGN = (keras.layers.JaxLayer, keras.layers.TFSMLayer, keras.layers.TorchModuleWrapper)
_KERNELS = ("embeddings", "kernel")
# The factors of the change that an adapter adds to a kernel, of LoRA and of DoRA.
FIRST_FACTORS = ("lora_kernel_a", "lora_embeddings_a", "dora_kernel_a", "dora_embeddings_a")
SECOND_FACTORS = ("lora_kernel_b", "lora_embeddings_b", "dora_kernel_b", "dora_embeddings_b")
# Weights that may have more than one dimension but are not kernels.
_NOT_KERNELS = ("alpha", "beta", "bias", "gamma", "scale")


def normalizes(operation: keras.Operation) -> bool:
    """Return whether a layer normalizes signals. A user's layer counts by its class name."""
    if not isinstance(operation, keras.Layer) or isinstance(operation, _OTHER_NORMALIZATIONS):
        return False
    # Those of KerasHub, such as `T5LayerNorm`, are classes of their own.
    is_named = type(operation).__name__.endswith(("Norm", "Normalization"))
    return is_named or isinstance(operation, NORMALIZATIONS)


def is_kernel(weight: keras.Variable) -> bool:
    """Return whether `weight` is a matrix or tensor that multiplies inputs."""
    # Quantized kernels are scaled integers.
    if "float" not in keras.backend.standardize_dtype(weight.dtype):
        return False
    size = math.prod(weight.shape)
    # One of a single input and a single unit has a single weight.
    if weight.name.endswith(_KERNELS) and len(weight.shape) > 1 and size > 0:
        return True
    if size < 2:
        return False
    if weight.name.endswith(_KERNELS):
        return True
    # By which `Normalization` shifts and divides: of several axes they are matrices.
    if not weight.trainable and weight.name in ("mean", "variance"):
        return False
    # In a custom layer the kernel may have any name. A weight with a single row is a token or an
    # offset.
    return math.prod(weight.shape[:-1]) > 1 and not weight.name.endswith(_NOT_KERNELS)


def multiplies_by_kernel(operation: keras.Operation | None) -> bool:
    """Return whether an operation is a layer with a kernel, its own or in a layer within it."""
    return isinstance(operation, keras.Layer) and any(map(is_kernel, operation.weights))


def multiplying_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights by which `layer` itself may multiply its inputs."""
    if isinstance(layer, keras.layers.RNN):
        return list(layer.weights)  # those of its cell
    return list_own_weights(layer)


def has_kernel(layer: keras.Layer) -> bool:
    """Return whether a kernel of `layer` multiplies its inputs."""
    return any(map(is_kernel, multiplying_weights(layer)))


def multiplies(layer: keras.Layer, weight: keras.Variable) -> bool:
    """Return whether `weight` is a trainable kernel, or the trainable scale of a normalization."""
    if not weight.trainable:
        return False
    is_scale = isinstance(layer, NORMALIZATIONS) and weight.name in ("gamma", "scale")
    return is_scale or is_kernel(weight)


def is_zero(layer: keras.Layer, weight: keras.Variable) -> bool:
    """Return whether all values are 0 in a trainable kernel, or in the scale of a normalization."""
    return multiplies(layer, weight) and not backend.has_nonzero(weight.value)


def is_depthwise(layer: keras.Layer, name: str) -> bool:
    """Return whether the kernel of this name is depthwise: it does not sum over channels."""
    # A separable convolution has two kernels.
    return isinstance(layer, DEPTHWISE) and name != "pointwise_kernel"


def convolves(layer: keras.Layer, kernel: keras.Variable) -> bool:
    """Return whether a kernel belongs to a convolution that sums over channels."""
    if isinstance(layer, keras.layers.TorchModuleWrapper):
        return hasattr(_find_torch_module(layer, kernel), "transposed")
    return isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED)) and is_kernel(kernel)


def is_adapter(name: str) -> bool:
    """Return whether a weight of this name belongs to an adapter of LoRA or DoRA."""
    return name in FIRST_FACTORS or name in SECOND_FACTORS or name == "dora_magnitude"


def kernel_axes(layer: keras.Layer, kernel: keras.Variable) -> KernelAxes:
    """Return the input and output axes of a kernel of `layer`."""
    rank = len(kernel.shape)
    window = tuple(range(rank - 2))
    if isinstance(layer, keras.layers.TorchModuleWrapper):
        return _read_torch_axes(layer, kernel)
    if is_depthwise(layer, kernel.name):
        return window, (*window, rank - 1)
    if isinstance(layer, TRANSPOSED):
        return (*window, rank - 1), (*window, rank - 2)
    # The second factor of an adapter is a matrix, whatever the kernel is.
    if isinstance(layer, keras.layers.EinsumDense) and kernel.name not in SECOND_FACTORS:
        return _read_einsum_axes(layer.equation)
    return default_axes(rank)


def knows_axes(layer: keras.Layer) -> bool:
    """Return whether the class of `layer` gives the axes of its kernels, as classes of Keras do.

    For a user's layer the axes are guessed from the shape.
    """
    keras_classes = [
        cls for cls in type(layer).__mro__ if cls.__module__.partition(".")[0] == "keras"
    ]
    return keras_classes[0] not in (keras.Layer, keras.Model)


def _read_torch_axes(layer: keras.layers.TorchModuleWrapper, kernel: keras.Variable) -> KernelAxes:
    # Torch has the units first and the window last.
    window = tuple(range(2, len(kernel.shape)))
    module = _find_torch_module(layer, kernel)
    if getattr(module, "transposed", False):
        return (0, *window), (1, *window)
    if hasattr(module, "num_embeddings"):
        return default_axes(len(kernel.shape))  # as a table of Keras
    return (1, *window), (0, *window)


def _read_einsum_axes(equation: str) -> KernelAxes:
    # The equation of an `EinsumDense`, such as `"abc,cd->abd"`.
    kernel, outputs = equation.split(",")[1].split("->")
    # Not all letters of the inputs: a batch axis of the kernel, such as that of experts, is in the
    # outputs too.
    summed = tuple(axis for axis, letter in enumerate(kernel) if letter not in outputs)
    kept = tuple(axis for axis, letter in enumerate(kernel) if letter in outputs)
    return summed, kept


def kernel_groups(layer: keras.Layer, kernel: keras.Variable) -> tuple[int, int]:
    """Return the numbers of groups of the inputs and of the units in a kernel of `layer`.

    Each unit is connected to the inputs of one group. A kernel has an axis with all units (or all
    inputs), and an axis with the inputs (or units) of one group. So one of the numbers is 1.
    """
    if isinstance(layer, CONVOLUTIONS):
        return 1, int(layer.groups)
    if isinstance(layer, keras.layers.TorchModuleWrapper):
        module = _find_torch_module(layer, kernel)
        if getattr(module, "transposed", False):
            return int(module.groups), 1
        if hasattr(module, "transposed"):
            return 1, int(module.groups)
    return 1, 1


def kernel_phases(layer: keras.Layer, kernel: keras.Variable) -> int:
    """Count the phases of the window of a transposed convolution; 1 for other kernels.

    With strides, an output sums over one phase of the window, for example every second element with
    strides of 2. The phase depends on the position of the output. If windows are smaller than the
    strides, outputs between the windows sum over no phase and do not count.
    """
    if isinstance(layer, TRANSPOSED):
        return _count_phases(kernel.shape[:-2], layer.strides, layer.dilation_rate)
    if isinstance(layer, keras.layers.TorchModuleWrapper):
        module = _find_torch_module(layer, kernel)
        if getattr(module, "transposed", False):
            return _count_phases(kernel.shape[2:], module.stride, module.dilation)
    return 1


def _count_phases(window: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> int:
    count = 1
    for length, stride, dilation in zip(window, strides, dilations, strict=False):
        # After a period of elements, dilated, an output is again a multiple of the stride away.
        period = stride // math.gcd(stride, dilation)
        count *= min(length, period)
    return count


def kernel_fans(layer: keras.Layer, kernel: keras.Variable) -> tuple[float, int]:
    """Return fan-in and fan-out of a kernel of `layer`.

    With strides the outputs of a transposed convolution may differ by one element of the window;
    then fan-in is the mean, which may be a fraction.
    """
    inputs, units = kernel_groups(layer, kernel)
    inputs *= kernel_phases(layer, kernel)
    return fans(tuple(kernel.shape), *kernel_axes(layer, kernel), (inputs, units))


def _find_torch_module(layer: keras.layers.TorchModuleWrapper, kernel: keras.Variable) -> Any:
    """Find the convolution or table of torch within the module of `layer` with this kernel.

    It is `None` if there is none.
    """
    for module in layer.module.modules():
        # Among attributes of its own, which is quicker where there are thousands.
        if vars(module).keys().isdisjoint(("transposed", "num_embeddings")):
            continue
        # Also those of the modules within it: a parametrization keeps the kernel in one.
        if any(parameter is kernel.value for parameter in module.parameters()):
            return module
    return None
