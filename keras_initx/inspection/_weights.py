"""Describe a weight of a model: its path, its kind, its axes, and its names in a torch module."""

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import keras

from keras_initx._checks import DTYPES
from keras_initx._keras import is_made_to_train
from keras_initx._typing import DType, Shape
from keras_initx.inspection._kernels import (
    KernelAxes,
    is_adapter,
    is_kernel,
    kernel_axes,
    kernel_fans,
    kernel_groups,
    kernel_phases,
    knows_axes,
)
from keras_initx.inspection._names import list_own_weights

# What a weight of a model is.
Kind: TypeAlias = Literal["parameter", "statistic", "state", "buffer", "counter"]


@dataclass(frozen=True, eq=False)
class ModelWeight:
    """A weight of a model.

    Attributes:
        path: The names of the layers around it and its own name, joined by `/`, without the name of
            the model. Automatic names are renumbered within each layer or model: `dense`,
            `dense_1`. Seeds, plans and contracts use this path.
        shown: The path that people read and write. In it a parameter of a torch module has its name
            in the module, not the number that Keras gives it.
        variable: The variable of Keras.
        layers: The layers around it, from the model to the layer that holds it.
        layer_paths: The paths of these layers. The path of the model is empty.
    """

    path: str
    shown: str
    variable: keras.Variable
    layers: tuple[keras.Layer, ...]
    layer_paths: tuple[str, ...]

    @property
    def layer(self) -> keras.Layer:
        """The layer that holds it."""
        return self.layers[-1]

    @property
    def name(self) -> str:
        """Its name in the layer, e.g. `"kernel"`."""
        return str(self.variable.name)

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return tuple(self.variable.shape)

    @property
    def dtype(self) -> DType:
        """The name of its dtype. A buffer of torch may have one that Keras lacks."""
        if not isinstance(self.variable, keras.Variable):
            return str(self.variable.dtype)
        return str(keras.backend.standardize_dtype(self.variable.dtype))

    @property
    def kind(self) -> Kind:
        """Its kind: parameter, statistic, buffer, state or counter.

        - A parameter is made to be trained. It stays one if it is frozen or quantized later.
        - A statistic is a mean or a variance of data that a `BatchNormalization` or a
          `Normalization` keeps.
        - A buffer is an array that torch saves for a module in addition to its parameters.
        - A state is any other value that a layer keeps, such as the last state of a recurrent
          layer.
        - A counter is a buffer or a state of a single number that is no floating-point number, such
          as the `num_batches_tracked` of torch.
        """
        variable = self.variable
        layer = self.layer
        is_variable = isinstance(variable, keras.Variable)
        if isinstance(layer, keras.layers.TorchModuleWrapper) and is_variable:
            return "parameter"
        if is_variable and (is_made_to_train(layer, variable) or is_quantized(layer)):
            return "parameter"
        if not self.shape and "float" not in self.dtype:
            return "counter"
        if not is_variable:
            return "buffer"
        if isinstance(layer, keras.layers.BatchNormalization | keras.layers.Normalization):
            return "statistic"
        return "state"

    @property
    def is_quantized(self) -> bool:
        """Whether it holds integers of a quantized layer, or belongs to them, such as their scale.

        The factors of an adapter next to them are floating-point numbers.
        """
        return is_quantized(self.layer) and not is_adapter(self.name)

    @property
    def axes(self) -> KernelAxes | None:
        """The input and output axes if this is a kernel, or `None` if not."""
        if not is_kernel(self.variable):
            return None
        return kernel_axes(self.layer, self.variable)

    @property
    def has_guessed_axes(self) -> bool:
        """Whether these axes are guessed from the shape, as for a layer of the user."""
        return is_kernel(self.variable) and not knows_axes(self.layer)

    @property
    def groups(self) -> tuple[int, int]:
        """The numbers of groups of the inputs and of the units of a kernel, see `kernel_groups`."""
        if not is_kernel(self.variable):
            return 1, 1
        return kernel_groups(self.layer, self.variable)

    @property
    def phases(self) -> int:
        """The number of phases of the window of a transposed convolution, see `kernel_phases`."""
        if not is_kernel(self.variable):
            return 1
        return kernel_phases(self.layer, self.variable)

    @property
    def fans(self) -> tuple[float, int] | None:
        """Fan-in and fan-out if this is a kernel, or `None` if not.

        If outputs sum over different numbers of inputs, fan-in is their mean.
        """
        if not is_kernel(self.variable):
            return None
        return kernel_fans(self.layer, self.variable)


def has_memory(weight: ModelWeight) -> bool:
    """Return whether a weight has values: a buffer of torch on the meta device has none."""
    return not weight.dtype.startswith("meta ")


def module_weight_name(weight: ModelWeight) -> str:
    """Return the name that a weight of a `TorchModuleWrapper` has in the module."""
    for name, parameter in weight.layer.module.named_parameters():
        if parameter is weight.variable.value:
            return str(name)
    return weight.name


def computed_weight_name(weight: ModelWeight) -> str | None:
    """Return the name of the weight that torch computes from a parameter, or `None`.

    Two kinds of code in torch compute weights:

        0.parametrizations.weight.original0    `0.weight`, by a parametrization
        0.weight_g, 0.weight_v, 0.weight_orig  `0.weight`, by older weight and spectral norms and
                                               pruning, if `weight` is no parameter
    """
    return _computed_name(weight.layer.module, module_weight_name(weight))


def _computed_name(module: Any, name: str) -> str | None:
    prefix, separator, suffix = name.partition("parametrizations.")
    if separator:
        return prefix + suffix.split(".")[0]
    used = re.sub("_(orig|g|v)$", "", name)
    owner, _, attribute = used.rpartition(".")
    is_computed = used != name and attribute in vars(module.get_submodule(owner))
    return used if is_computed else None


class ComputedWeight(NamedTuple):
    """A weight that torch computes from parameters.

    Attributes:
        name: Its name in the module.
        path: Its path in the model, which no parameter has.
        parameters: The paths of the parameters from which it is computed.
        others: The paths of the other parameters of the layer of torch that has it.
    """

    name: str
    path: str
    parameters: list[str]
    others: list[str]


def find_computed_weight(weight: ModelWeight) -> ComputedWeight | None:
    """Find the weight that torch computes from a parameter, or `None` if the parameter is used."""
    used = computed_weight_name(weight)
    if used is None:
        return None
    module = weight.layer.module
    prefix = weight.shown.removesuffix(module_weight_name(weight))
    parameters, others = [], []
    for name, _ in module.named_parameters():
        computed = _computed_name(module, name)
        if computed == used:
            parameters.append(f"{prefix}{name}")
        elif computed is None and name.rpartition(".")[0] == used.rpartition(".")[0]:
            others.append(f"{prefix}{name}")
    return ComputedWeight(used, f"{prefix}{used}", parameters, others)


def is_frozen(weight: ModelWeight) -> bool:
    """Return whether a weight is not trained although its layer made it as trainable.

    Statistics, and tables that are never trained, are not frozen.
    """
    if weight.variable.trainable:
        return False
    # All that Keras knows of a module are its parameters.
    if isinstance(weight.layer, keras.layers.TorchModuleWrapper):
        return True
    return is_made_to_train(weight.layer, weight.variable)


def is_quantized(layer: keras.Layer) -> bool:
    """Return whether `layer` stores quantized integers.

    Then its scales and biases belong to these integers.
    """
    if layer.quantization_mode is None:
        return False
    # Layers without integers may have a quantization mode too: with float8, and from a global dtype
    # policy.
    return any(
        keras.backend.standardize_dtype(weight.dtype) not in DTYPES
        for weight in list_own_weights(layer)
    )
