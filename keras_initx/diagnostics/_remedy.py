"""Remedies: what takes a problem away, as an object that can be printed and applied."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, InitializerLike
from keras_initx.diagnostics._measurements import LayerReport, WeightReport
from keras_initx.initializers import (
    GlorotUniform,
    HeNormal,
    LecunNormal,
    Orthogonal,
    VarianceScaling,
    default_axes,
)

__all__ = ["Remedy"]

# Inputs or targets as `diagnose` takes them, and a function that returns what to use instead.
_Change: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class Remedy:
    """What takes a problem away. It prints as in a report.

    What it changes is in the attributes. A remedy that changes the layers of a model, such as a
    residual connection, has none of them, only a text.

    Attributes:
        text: What to do, in words and code.
        rules: Rules for `keras_initx.initialize`: initializers by the paths of the weights to draw
            anew. `initialize(model, report)` applies those of the first problem that weights cure.
        lsuv: Whether to call `keras_initx.lsuv` with the inputs.
        inputs: Function of the inputs that returns those to use instead, or `None`.
        targets: Function of the targets that returns those to use instead, or `None`.
        examples: Function of inputs and targets that returns those of the examples to use, or
            `None`.
        loss: The loss to compile the model with, or `None`.
        loss_weights: The factor of the loss to compile it with, or `None`.
        optimizer: The optimizer to compile it with, as a name or a config, or `None`.
        layers: Arguments to use in layers instead, by the names of the layers, such as
            `{"dense_1": {"units": 10, "activation": "softmax"}}`.
        others: Other remedies, each of which takes the problem away too. They are in the text.
    """

    text: str
    rules: Mapping[str, InitializerLike] = field(default_factory=dict)
    lsuv: bool = False
    inputs: _Change | None = None
    targets: _Change | None = None
    examples: Callable[[Any, Any], tuple[Any, Any]] | None = None
    loss: Any = None
    loss_weights: float | None = None
    optimizer: str | dict[str, Any] | None = None
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    others: tuple["Remedy", ...] = ()

    @property
    def weights(self) -> Mapping[str, InitializerLike]:
        """The rules of this remedy, or the first of `others`, that changes weights alone.

        They are empty if none does.
        """
        for remedy in (self, *self.others):
            data = (remedy.inputs, remedy.targets, remedy.examples)
            others = (
                remedy.lsuv,
                remedy.loss,
                remedy.loss_weights,
                remedy.optimizer,
                remedy.layers,
            )
            if not any(data) and not any(others) and remedy.rules:
                return remedy.rules
        return {}

    def otherwise(self, other: "Remedy", between: str = ", or ") -> "Remedy":
        """Return this remedy with another one, in whose place it can be used."""
        return replace(
            self,
            text=f"{self.text}{between}{other.text}",
            others=(*self.others, other, *other.others),
        )

    def after(self, text: str, inputs: _Change) -> "Remedy":
        """Return this remedy after a change of the inputs, which the start of the text says."""
        others = tuple(replace(other, inputs=inputs) for other in self.others)
        return replace(self, text=f"{text}, then {self.text}", inputs=inputs, others=others)

    def __str__(self) -> str:
        return self.text


# ---------------------------------------------------------------- what is done to the data

# Standard deviation from which on a column of targets holds no labels.
_LARGE_COLUMN = 100


def standardized(x: Any) -> Any:
    """Return inputs with mean 0 and standard deviation 1 of each feature, as by `Normalization`.

    Integers beside floats are left: they are indices.
    """
    arrays = [np.asarray(array) for array in keras.tree.flatten(x)]
    has_floats = any(array.dtype.kind == "f" for array in arrays)

    def changed(array: Any) -> Any:
        values = np.asarray(array)
        if has_floats and values.dtype.kind != "f":
            return array
        values = values.astype("float32")
        axes = tuple(range(values.ndim - 1)) if values.ndim > 1 else None
        deviations = values.std(axis=axes)
        return (values - values.mean(axis=axes)) / np.where(deviations > 0, deviations, 1)

    return keras.tree.map_structure(changed, x)


def rescaled_pixels(x: Any) -> Any:
    """Return images of bytes scaled to [-1, 1], other inputs as they are."""

    def changed(array: Any) -> Any:
        values = np.asarray(array)
        return values.astype("float32") / 127.5 - 1 if values.ndim == 4 else array

    return keras.tree.map_structure(changed, x)


def standardized_columns(y: Any) -> Any:
    """Return targets with mean 0 and standard deviation 1 in each column."""
    values = np.asarray(y)
    return (values - values.mean(axis=0)) / values.std(axis=0)


def with_standardized_columns(y: Any) -> Any:
    """Return targets of which the columns with a large standard deviation have mean 0 and 1."""
    values = np.asarray(y)
    deviations = values.std(axis=0)
    is_large = deviations > _LARGE_COLUMN
    return np.where(is_large, (values - values.mean(axis=0)) / np.maximum(deviations, 1), values)


def with_finite(x: Any) -> Any:
    """Return inputs with 0 in the place of NaN, and the largest numbers in that of infinities."""

    def changed(array: Any) -> Any:
        values = np.asarray(array)
        finite = values[np.isfinite(values)]
        least, most = finite.min(initial=0), finite.max(initial=0)
        return np.nan_to_num(values, posinf=most, neginf=least)

    return keras.tree.map_structure(changed, x)


def of_finite_targets(x: Any, y: Any) -> tuple[Any, Any]:
    """Return the inputs and targets of the examples whose targets are all finite."""
    is_finite = np.array(True)
    for array in keras.tree.flatten(y):
        values = np.asarray(array)
        is_finite = is_finite & np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    return _of_examples(is_finite, x, y)


def of_mixed_targets(x: Any, y: Any) -> tuple[Any, Any]:
    """Return the inputs and targets of the examples whose targets are not all the same."""
    rows = np.asarray(y).reshape(len(y), -1)
    return _of_examples((rows != rows[:, :1]).any(axis=1), x, y)


def _of_examples(are_kept: Array, x: Any, y: Any) -> tuple[Any, Any]:
    kept: tuple[Any, Any]
    kept = keras.tree.map_structure(lambda array: np.asarray(array)[are_kept], (x, y))
    return kept


# ---------------------------------------------------------------- which weights are drawn anew


class Choice(NamedTuple):
    """An initializer, and the expression that makes it."""

    initializer: InitializerLike
    text: str


def choice(initializer: keras.initializers.Initializer, *arguments: float) -> Choice:
    """Return an initializer of this package with its expression.

    Args:
        initializer: The initializer.
        arguments: Its arguments, if they are to be shown although they are the defaults.
    """
    expression = repr(initializer).replace("'", '"')
    if arguments:
        expression = f"{type(initializer).__name__}({', '.join(map(str, arguments))})"
    return Choice(initializer, f"keras_initx.{expression}")


def kernels_of(layers: Iterable[LayerReport]) -> list[str]:
    """Return the paths of the weights that a `kernel_initializer` of layers is for."""
    paths = []
    for layer in layers:
        for weight in layer.weights:
            is_other = weight.name == "recurrent_kernel" or weight.name.startswith("lora_")
            if weight.axes is not None and weight.trainable and not is_other:
                paths.append(weight.path)
        paths += layer.shared_kernels
    return paths


def weights_named(name: str, layers: Iterable[LayerReport]) -> list[str]:
    """Return the paths of the weights of one name of layers."""
    return [weight.path for layer in layers for weight in layer.weights if weight.name == name]


def rules_for(paths: Iterable[str], initializer: InitializerLike) -> dict[str, InitializerLike]:
    """Return rules that give each of some weights values of an initializer."""
    return dict.fromkeys(paths, initializer)


def drawn(
    choices: Sequence[Choice], paths: Sequence[str], before: str = "", after: str = ""
) -> Remedy:
    """Return a remedy that draws weights anew, by the first of several initializers.

    Args:
        choices: The initializers.
        paths: The paths of the weights.
        before: The start of the text.
        after: The end of the text.
    """
    remedies = []
    for initializer, text in choices:
        remedies.append(Remedy(f"{before}{text}{after}", rules_for(paths, initializer)))
    first, *others = remedies
    texts = " or ".join(text for _, text in choices)
    return replace(first, text=f"{before}{texts}{after}", others=tuple(others))


# ---------------------------------------------------------------- which initializer is suitable

# Activations for which He initialization is suitable.
_RELU_LIKE = (
    "celu",
    "elu",
    "gelu",
    "hard_silu",
    "leaky_relu",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "silu",
    "softplus",
    "swish",
)
# Of these, those that no gain keeps at one size in depth.
_UNSTABLE = ("gelu", "hard_silu", "mish", "silu", "swish")
# The number of kernels from which on the guide on choosing an initializer calls a network deep.
_DEEP = 10

LSUV = Remedy("keras_initx.lsuv(model, x)", lsuv=True)
# For activations whose signals no initializer keeps at one size in depth. Normalization before each
# of them does too, but forty such layers of GELU do not train. After LSUV they do not with SGD.
SCALED = Remedy(f"{LSUV}, and train with Adam", lsuv=True, optimizer="adam")


def suitable(layer: LayerReport, weight: WeightReport) -> Choice:
    """Return an initializer for a kernel of `layer` that suits its activation."""
    axes: dict[str, Any] = {}
    # `EinsumDense` passes its axes on by itself.
    if weight.axes not in (None, default_axes(len(weight.shape))) and layer.kind != "EinsumDense":
        inputs, outputs = weight.axes
        axes = {"input_axes": list(inputs), "output_axes": list(outputs)}
    if is_steep(layer):
        return _for_steep([layer], axes)
    return choice(_by_activation(activation_after(layer))(**axes))


def suitable_for_all(layers: Sequence[LayerReport], depth: int) -> list[Choice]:
    """Return what keeps a signal in all of `layers`, the last of which is affected.

    The list is empty where no initializer does.

    Args:
        layers: The layers.
        depth: The number of layers with kernels in the model.
    """
    if any(map(is_steep, layers)):
        return [_for_steep(layers)]
    activation = activation_after(layers[-1]) or common_activation(layers)
    if depth < _DEEP:
        return [choice(_by_activation(activation)())]
    return suitable_in_depth(layers, activation)


def suitable_in_depth(layers: Sequence[LayerReport], activation: str | None) -> list[Choice]:
    """Return what keeps signals and gradients in `layers` of this activation, however many.

    The list is empty where no initializer does.
    """
    if any(map(is_steep, layers)):
        return [_for_steep(layers)]
    if activation in _UNSTABLE:
        return []
    by_activation = choice(_by_activation(activation)())
    # The gain of softplus keeps signals only.
    if activation == "softplus" or _loss_by_widening(layers) > 10:
        return [by_activation]
    gain: Any = 1.0
    if activation in _RELU_LIKE:
        # The slope of PReLU starts at 0.
        gain = "relu" if activation == "prelu" else activation
    return [choice(Orthogonal(gain)), by_activation]


def drawn_or_scaled(
    choices: Sequence[Choice], paths: Sequence[str], before: str = "", after: str = ""
) -> Remedy:
    """Return the same as `drawn`, or LSUV, in all layers, without choices."""
    if not choices:
        return replace(SCALED, text=f"{before}{SCALED.text}")
    return drawn(choices, paths, before, after)


# Activations whose slope is so small that gradients vanish with any weights.
_FLAT = ("hard_sigmoid", "sigmoid")


def remedy_in_depth(layers: Sequence[LayerReport], all_layers: Sequence[LayerReport]) -> Remedy:
    """Return the remedy where gradients, or the differences of examples, vanish in `layers`.

    Args:
        layers: The layers.
        all_layers: Those of the model.
    """
    activation = common_activation(layers)
    kernels = kernels_of(all_layers)
    if activation in _FLAT:
        hidden = [layer for layer in all_layers if layer.output is None]
        flat = [layer.name for layer in hidden if layer.activation == activation]
        initializer, text = choice(GlorotUniform())
        return Remedy(
            f'activation="tanh" with {text} instead of {activation}, or '
            "keras.layers.BatchNormalization() before it: its slope is at most 1/4, which no "
            "initializer makes up for",
            rules_for(kernels, initializer),
            layers={name: {"activation": "tanh"} for name in flat},
        )
    if activation == "softplus":
        return Remedy(
            "keras.layers.BatchNormalization() before each softplus, whose mean makes examples "
            "alike with any initializer"
        )
    remedy = drawn_or_scaled(suitable_in_depth(layers, activation), kernels, after=" in all layers")
    return without_large_biases(remedy, layers, all_layers)


def without_large_biases(
    remedy: Remedy, layers: Sequence[LayerReport], all_layers: Sequence[LayerReport]
) -> Remedy:
    """Return a remedy that draws weights anew with biases of zeros, if those of `layers` are large.

    Args:
        remedy: The remedy.
        layers: The layers.
        all_layers: Those whose biases are then zeros.
    """
    if not remedy.rules or not has_large_biases(layers):
        return remedy
    zeros = rules_for(weights_named("bias", all_layers), "zeros")
    others = []
    for other in remedy.others:
        others.append(replace(other, rules={**other.rules, **zeros}))
    return replace(
        remedy,
        text=f'bias_initializer="zeros" and {remedy.text}',
        rules={**remedy.rules, **zeros},
        others=tuple(others),
    )


def has_large_biases(layers: Iterable[LayerReport]) -> bool:
    """Return whether biases are as large as what kernels give, so that these hardly count."""
    for layer in layers:
        for weight in layer.weights:
            if weight.name == "bias" and weight.norm > math.sqrt(math.prod(weight.shape)) / 2:
                return True
    return False


def is_steep(layer: LayerReport) -> bool:
    """Return whether an activation of slopes that Keras' do not have follows the kernel."""
    return layer.flow.slope is not None and layer.flow.slope > 2


def _for_steep(layers: Iterable[LayerReport], axes: Mapping[str, Any] | None = None) -> Choice:
    """Return what suits the steepest activation, by the rule of Sitzmann and others (2020)."""
    largest = 0.0
    for layer in layers:
        if layer.flow.slope is not None:
            largest = max(largest, layer.flow.slope)
    options = ""
    for name, value in (axes or {}).items():
        options += f", {name}={value}"
    return Choice(
        VarianceScaling(2 / largest**2, distribution="uniform", **(axes or {})),
        f'keras_initx.VarianceScaling(2 / {largest:.2g}**2, distribution="uniform"{options})',
    )


def common_activation(layers: Sequence[LayerReport]) -> str | None:
    """Return the most common activation of the layers with a kernel, or of all if none has one."""
    with_kernel = [layer for layer in layers if layer.has_kernel]
    activations = [activation_after(layer) for layer in with_kernel or layers]
    return max(activations, key=activations.count)


def activation_after(layer: LayerReport) -> str | None:
    """Return the activation that is applied to the output of the kernel of `layer`."""
    return layer.activation or layer.flow.activated_by


def _loss_by_widening(layers: Sequence[LayerReport]) -> float:
    """Return the factor by which orthogonal kernels with more units than inputs shrink a signal."""
    factor = 1.0
    for layer in layers:
        for weight in layer.weights:
            if weight.fan_in and weight.axes == default_axes(len(weight.shape)):
                factor *= math.sqrt(max(1.0, weight.shape[-1] / weight.fan_in))
    return factor


def _by_activation(
    activation: str | None,
) -> type[GlorotUniform] | type[HeNormal] | type[LecunNormal]:
    """Return the initializer that suits an activation."""
    if activation == "selu":
        return LecunNormal
    if activation in _RELU_LIKE:
        return HeNormal
    return GlorotUniform
