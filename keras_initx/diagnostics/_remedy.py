"""Remedies: what takes a problem away, as an object that can be printed and applied."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._typing import Array, InitializerLike
from keras_initx.backends import Moments, backend
from keras_initx.diagnostics._diagnosis import Diagnosis
from keras_initx.diagnostics._layers import LayerReport, WeightReport, weights
from keras_initx.diagnostics._layers import layers as layers_of
from keras_initx.initializers import (
    FrameLaw,
    GlorotUniform,
    HeNormal,
    Initializer,
    LecunNormal,
    Orthogonal,
    VarianceScaling,
    default_axes,
)
from keras_initx.structure import ModelWeight, floats

__all__ = ["Remedy"]


@dataclass(frozen=True)
class Remedy:
    """What takes a problem away. It prints as in a report.

    A remedy that changes more than weights, such as the data or the layers of a model, is a text
    alone.

    Attributes:
        text: What to do, in words and code.
        rules: Rules for `keras_initx.initialize`: initializers by the paths of the weights to draw
            anew. `initialize(model, report)` applies those of the first problem that weights cure.
        lsuv: Whether to call `keras_initx.lsuv` with the inputs.
        others: Other remedies, each of which takes the problem away too. They are in the text.
    """

    text: str
    rules: Mapping[str, InitializerLike] = field(default_factory=dict)
    lsuv: bool = False
    others: tuple["Remedy", ...] = ()

    @property
    def weights(self) -> Mapping[str, InitializerLike]:
        """The rules of this remedy, or the first of `others`, that has any, otherwise none."""
        for remedy in (self, *self.others):
            if remedy.rules:
                return remedy.rules
        return {}

    def otherwise(self, other: "Remedy", between: str = ", or ") -> "Remedy":
        """Return this remedy with another one, in whose place it can be used."""
        return replace(
            self,
            text=f"{self.text}{between}{other.text}",
            others=(*self.others, other, *other.others),
        )

    def after(self, text: str) -> "Remedy":
        """Return this remedy after a change of the inputs, which the start of the text says."""
        return Remedy(f"{text}, then {self.text}")

    def __str__(self) -> str:
        return self.text


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


# ---------------------------------------------------------------- what weights have already

# How far the deviation of values may be from that of their law, beside the error of a sample.
_LIKE = 0.1
# The most units that are compared, and how far from 0 their cosines may be by rounding.
_UNITS, _ROUNDING = 64, 1e-2


def not_yet_drawn(choices: Iterable[Choice], paths: Sequence[str], of: Diagnosis) -> list[Choice]:
    """Return the choices that would give weights other values than such as they have."""
    others = []
    for one in choices:
        has_them = [_is_like(weights(of).get(path), one.initializer) for path in paths]
        if not has_them or not all(has_them):
            others.append(one)
    return others


def _is_like(weight: ModelWeight | None, initializer: InitializerLike) -> bool:
    """Return whether a weight has the law of an initializer, by its deviation and its form."""
    if weight is None or not isinstance(initializer, Initializer):
        return False
    config = initializer.get_config()
    if weight.axes is not None and "input_axes" in config:
        inputs, units = weight.axes
        config |= {"input_axes": list(inputs), "output_axes": list(units)}
    law = type(initializer).from_config(config).law(weight.shape)
    if law is None or not law.std:
        return False
    values = floats(backend.host_view(weight.variable.value))
    error = _LIKE + 3 / math.sqrt(2 * values.size)
    if abs(Moments(values).std / law.std - 1) > error:
        return False
    return not isinstance(law, FrameLaw) or _is_orthogonal(values, law)


def _is_orthogonal(values: Array, law: FrameLaw) -> bool:
    """Return whether the units of a kernel, or its inputs if they are fewer, are orthogonal."""
    count = math.prod(values.shape[axis] for axis in law.input_axes)
    moved = np.moveaxis(values, law.input_axes, range(len(law.input_axes)))
    matrix = moved.reshape(count, -1)
    if count < matrix.shape[1]:
        matrix = matrix.T
    some = matrix[:, :_UNITS] / np.linalg.norm(matrix[:, :_UNITS], axis=0)
    cosines = some.T @ some
    return bool(abs(cosines - np.eye(len(cosines))).max() < _ROUNDING)


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
SCALED = Remedy(f"{LSUV}, and train with Adam", lsuv=True)


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


def remedy_in_depth(layers: Sequence[LayerReport], of: Diagnosis) -> Remedy:
    """Return the remedy where gradients, or the differences of examples, vanish in `layers`."""
    activation = common_activation(layers)
    if activation in _FLAT:
        _, text = choice(GlorotUniform())
        return Remedy(
            f'activation="tanh" with {text} instead of {activation}, or '
            "keras.layers.BatchNormalization() before it: its slope is at most 1/4, which no "
            "initializer makes up for"
        )
    if activation == "softplus":
        return Remedy(
            "keras.layers.BatchNormalization() before each softplus, whose mean makes examples "
            "alike with any initializer"
        )
    choices = suitable_in_depth(layers, activation)
    kernels = kernels_of(layers_of(of))
    others = not_yet_drawn(choices, kernels, of)
    if choices and not others and not has_large_biases(layers):
        return Remedy("keras.layers.BatchNormalization() before each activation")
    remedy = drawn_or_scaled(others or choices, kernels, after=" in all layers")
    return without_large_biases(remedy, layers, layers_of(of))


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
    return layer.slope is not None and layer.slope > 2


def _for_steep(layers: Iterable[LayerReport], axes: Mapping[str, Any] | None = None) -> Choice:
    """Return what suits the steepest activation, by the rule of Sitzmann and others (2020)."""
    largest = 0.0
    for layer in layers:
        if layer.slope is not None:
            largest = max(largest, layer.slope)
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
    return layer.activation or layer.activated_by


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
