"""The weights of a model, with paths that do not depend on other objects in the process."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras

from keras_initx._checks import DTYPES, check_type, truncated
from keras_initx._keras import is_made_to_train
from keras_initx._typing import DType, Shape
from keras_initx.backends._current import backend
from keras_initx.structure._kernels import (
    KernelAxes,
    is_adapter,
    is_kernel,
    kernel_axes,
    kernel_fans,
    kernel_groups,
    kernel_phases,
    knows_axes,
)
from keras_initx.structure._names import automatic_name, numbered, own_weights, parts_of, walk

# What a weight of a model is.
Kind: TypeAlias = Literal["parameter", "statistic", "state", "buffer", "counter"]


@dataclass(frozen=True, eq=False)
class ModelWeight:
    """A weight of a model.

    Attributes:
        path: The names of the layers around it and its own name, joined by `/`, without the name of
            the model. Automatic names are renumbered within each layer or model: `dense`,
            `dense_1`.
        variable: The variable of Keras.
        layers: The layers around it, from the model to the layer that holds it.
        layer_paths: The paths of these layers. The path of the model is empty.
    """

    path: str
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
        """The name of its dtype."""
        return str(keras.backend.standardize_dtype(self.variable.dtype))

    @property
    def kind(self) -> Kind:
        """What it is.

        A parameter is made to be trained, also if it is frozen or quantized by now. A statistic is
        a mean or a variance of data that a `BatchNormalization` or a `Normalization` keeps. A
        buffer is what torch saves of a module beside its parameters. A state is what else a layer
        keeps, such as the last state of a recurrent one. Of the latter two, a single number that is
        no floating-point number is a counter, such as the `num_batches_tracked` of torch.
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
        """Whether it is an integer of a quantized layer, or belongs to these, as their scale.

        The factors of an adapter beside them are numbers by themselves.
        """
        return is_quantized(self.layer) and not is_adapter(self.name)

    @property
    def axes(self) -> KernelAxes | None:
        """The input and output axes if this is a kernel, otherwise `None`."""
        if not is_kernel(self.variable):
            return None
        return kernel_axes(self.layer, self.variable)

    @property
    def has_guessed_axes(self) -> bool:
        """Whether these axes are guessed by the shape, as for a layer of the user."""
        return is_kernel(self.variable) and not knows_axes(self.layer)

    @property
    def groups(self) -> tuple[int, int]:
        """The groups of the inputs and of the units of a kernel.

        Each input is connected to the units of its group.
        """
        if not is_kernel(self.variable):
            return 1, 1
        return kernel_groups(self.layer, self.variable)

    @property
    def phases(self) -> int:
        """The groups of places in the window of a transposed convolution, otherwise 1.

        With strides an output sums over one of them.
        """
        if not is_kernel(self.variable):
            return 1
        return kernel_phases(self.layer, self.variable)

    @property
    def fans(self) -> tuple[float, int] | None:
        """Fan-in and fan-out if this is a kernel, otherwise `None`.

        Fan-in is a mean where outputs sum over different numbers of inputs.
        """
        if not is_kernel(self.variable):
            return None
        return kernel_fans(self.layer, self.variable)


def check_model(name: str, model: Any) -> keras.Model:
    """Return `model`, which must be a Keras model with weights."""
    check_built(name, model)
    if not model.weights:
        raise _unbuilt_error(name, model, "without weights")
    return model


def check_built(name: str, model: Any) -> keras.Model:
    """Return `model`, which must be a Keras model that is built, and may have no weights."""
    check_type(name, model, keras.Model, "a Keras model")
    if not model.built:
        raise _unbuilt_error(name, model, "without weights")
    # Keras builds a `Sequential` up to a layer whose shapes it cannot infer.
    if isinstance(model, keras.Sequential) and not all(layer.built for layer in model.layers):
        raise _unbuilt_error(name, model, "without all weights")
    return model


def _unbuilt_error(name: str, model: keras.Model, state: str) -> ValueError:
    return ValueError(
        f"`{name}` must be built: add a `keras.Input` to the model, or call it once. "
        f"Received: the model {model.name!r} {state}"
    )


def unbuilt_layers(model: keras.Layer) -> list[str]:
    """Return the paths of the outermost layers that no call has built, of those that make weights.

    What a file has for them, Keras passes over.
    """
    found: dict[keras.Layer, str] = {}
    for layers, paths in walk(model):
        layer = layers[-1]
        is_outermost = not any(outer in found for outer in layers[:-1])
        if len(layers) > 1 and is_outermost and not layer.built and _makes_weights(layer):
            found.setdefault(layer, paths[-1])
    return list(found.values())


def unbuilt_note(model: keras.Layer) -> list[str]:
    """Return a sentence that names the layers of `unbuilt_layers`, or none."""
    paths = unbuilt_layers(model)
    if not paths:
        return []
    return [f"Not built yet, and so without weights: {truncated(paths)}."]


def _makes_weights(layer: keras.Layer) -> bool:
    """Return whether a layer that is not built may make weights: by its `build` or in its parts."""
    if type(layer).build is not keras.Layer.build and not isinstance(layer, keras.Model):
        return True
    return any(_makes_weights(part) for part in parts_of(layer, recursive=False))


def find_weights(model: keras.Layer) -> list[ModelWeight]:
    """Return the weights of a model or a layer, in the order of its layers.

    A shared weight is listed once.

    Raises:
        ValueError: If two weights have the same path, or the model does not use a weight.
    """
    weights = weights_within(model)
    _check_used(model, weights)
    for path, count in Counter(weight.path for weight in weights).items():
        if count > 1:
            raise ValueError(
                "`model` must have one weight at each path: give layers and weights inside a layer "
                f"distinct names. Received: model={model.name!r} with {count} weights at {path!r}"
            )
    return weights


def held_by(model: keras.Model) -> list[ModelWeight]:
    """Return all that a model holds and that files may have: its weights, and buffers of torch.

    Each has its `kind`. These buffers, such as the statistics of a normalization of torch, are
    variables to nobody else. Those that torch does not save are left out, and so are the seeds of
    random generators. What is shared is listed once.

    Raises:
        ValueError: See `find_weights`.
    """
    return [*find_weights(model), *buffers_within(model)]


def buffers_within(model: keras.Layer) -> list[ModelWeight]:
    """Return what torch modules in a model save beside their parameters."""
    found = []
    seen: set[keras.Layer] = set()
    buffers: set[int] = set()
    for layers, paths in walk(model):
        if layers[-1] in seen:
            continue
        seen.add(layers[-1])
        for name, buffer in backend.saved_buffers(layers[-1]).items():
            if id(buffer.value) not in buffers:
                buffers.add(id(buffer.value))
                path = f"{paths[-1]}/{name}".removeprefix("/")
                found.append(ModelWeight(path, buffer, layers, paths))
    return found


def name_in_module(weight: ModelWeight) -> str:
    """Return the name that a weight of a `TorchModuleWrapper` has in the module."""
    for name, parameter in weight.layer.module.named_parameters():
        if parameter is weight.variable.value:
            return str(name)
    return weight.name


def computed_in_module(weight: ModelWeight) -> str | None:
    """Return the name of the weight in use that torch computes from a parameter, if it does.

    So do parametrizations, of which the names tell; and before them weight and spectral norms and
    pruning, which keep `weight_g`, `weight_v` or `weight_orig` beside a `weight` that is no
    parameter.
    """
    name = name_in_module(weight)
    around, found, rest = name.partition("parametrizations.")
    if found:
        return around + rest.split(".")[0]
    used = re.sub("_(orig|g|v)$", "", name)
    module, _, attribute = used.rpartition(".")
    owner = weight.layer.module.get_submodule(module)
    is_computed = used != name and attribute in vars(owner)
    return used if is_computed else None


def check_used(model: keras.Layer) -> None:
    """Raise `ValueError` if a layer of `model` uses something else than one of its variables."""
    _check_used(model, weights_within(model))


def _check_used(model: keras.Layer, weights: Sequence[ModelWeight]) -> None:
    paths = {id(weight.variable): weight.path for weight in weights}
    of_layer: dict[keras.Layer, list[keras.Variable]] = {}
    for weight in weights:
        of_layer.setdefault(weight.layer, []).append(weight.variable)
    for layer, variables in of_layer.items():
        for variable, obstacle in backend.obstacles(layer, variables):
            raise ValueError(
                "`model` must use its weights. "
                f"Received: model={model.name!r}, whose {paths[id(variable)]!r} {obstacle}"
            )


def check_unshared(name: str, model: keras.Layer) -> None:
    """Raise `ValueError` if other processes hold parts of the weights of the argument `name`."""
    for weight in weights_within(model):
        if backend.is_shared(weight.variable.value):
            raise ValueError(
                f"`{name}` must have all its weights in this process, where they are read as "
                f"wholes. Received: {name}={model.name!r}, of whose {weight.path!r} other "
                "processes hold parts"
            )


def weights_within(layer: keras.Layer) -> list[ModelWeight]:
    """Return the same as `find_weights`, where weights may have the same path."""
    found = []
    seen: set[int] = set()
    for layers, paths in walk(layer):
        own = [weight for weight in own_weights(layers[-1]) if id(weight) not in seen]
        seen.update(id(weight) for weight in own)
        named = ((weight.name, automatic_name(weight.name, "variable")) for weight in own)
        prefix = f"{paths[-1]}/" if paths[-1] else ""
        for weight, name in zip(own, numbered(named, Counter()), strict=True):
            found.append(ModelWeight(f"{prefix}{name}", weight, layers, paths))
    return found


def is_frozen(weight: ModelWeight) -> bool:
    """Return whether a weight is not trained that its layer has made to be trained.

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

    Then its scales and biases are values of these integers.
    """
    if layer.quantization_mode is None:
        return False
    # Layers without integers may have a quantization mode too: with float8, and from a global dtype
    # policy.
    return any(
        keras.backend.standardize_dtype(weight.dtype) not in DTYPES for weight in own_weights(layer)
    )
