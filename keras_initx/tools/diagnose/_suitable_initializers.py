"""Initializers that suit the kernels of some layers: they keep signals and gradients."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_initx.initializers._activations import activation_facts
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._scale import default_axes
from keras_initx.initializers._variance import VarianceScaling
from keras_initx.initializers._variance_named import GlorotUniform, HeNormal, LecunNormal
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, MeasuredWeight, list_weights
from keras_initx.tools.diagnose._redrawing import Choice, make_choice

# For a network of few layers, the initializer before an activation, by `ActivationFacts.suits`.
_SHALLOW = {"glorot": GlorotUniform, "he": HeNormal, "lecun": LecunNormal}


def choose_initializers(
    layers: Sequence[MeasuredLayer],
    activation: str | None,
    *,
    is_deep: bool,
    axes: Mapping[str, Any] | None = None,
) -> list[Choice]:
    """Return initializers that keep signals and gradients in some layers, the best first.

    The list is empty if no initializer keeps them.

    Args:
        layers: The layers.
        activation: Their activation. If they have several, the one that matters.
        is_deep: Whether the model has many layers with kernels.
        axes: Arguments `input_axes` and `output_axes`, if a kernel has unusual axes.
    """
    axes = axes or {}
    if any(layer.is_steep for layer in layers):
        return [_choose_for_slope(max(layer.slope or 0.0 for layer in layers), axes)]
    facts = activation_facts(activation)
    shallow = make_choice(_SHALLOW[facts.suits](**axes))
    if not is_deep:
        return [shallow]
    if not facts.keeps_size:
        return []
    # The gain of softplus keeps signals only.
    if activation == "softplus" or _compute_widening_loss(layers) > 10:
        return [shallow]
    gain: Any = 1.0
    if facts.suits == "he":
        # The slope of PReLU starts at 0.
        gain = "relu" if activation == "prelu" else activation
    return [make_choice(Orthogonal(gain)), shallow]


def choose_for_weight(weight: MeasuredWeight) -> Choice:
    """Return an initializer for a kernel that suits the activation of its layer."""
    layer, axes = weight.layer, {}
    inputs, outputs = usual = default_axes(len(weight.own.shape))
    if weight.report.axes is not None:
        inputs, outputs = weight.report.axes
    # `EinsumDense` passes its axes on by itself.
    if (inputs, outputs) != usual and layer.kind != "EinsumDense":
        axes = {"input_axes": list(inputs), "output_axes": list(outputs)}
    (suited,) = choose_initializers([layer], layer.activation_after, is_deep=False, axes=axes)
    return suited


def _choose_for_slope(slope: float, axes: Mapping[str, Any]) -> Choice:
    """Return an initializer before a steep activation, by Sitzmann and others (2020)."""
    options = "".join(f", {name}={value}" for name, value in axes.items())
    return Choice(
        VarianceScaling(2 / slope**2, distribution="uniform", **axes),
        f'keras_initx.VarianceScaling(2 / {slope:.2g}**2, distribution="uniform"{options})',
    )


def _compute_widening_loss(layers: Sequence[MeasuredLayer]) -> float:
    """Return the factor that orthogonal kernels with more units than inputs shrink a signal by."""
    factor = 1.0
    for weight in list_weights(layers):
        fan_in, shape = weight.report.fan_in, weight.report.shape
        if fan_in and weight.report.axes == default_axes(len(shape)):
            factor *= math.sqrt(max(1.0, shape[-1] / fan_in))
    return factor


def find_common_activation(layers: Sequence[MeasuredLayer]) -> str | None:
    """Return the most common activation of the layers with a kernel, or of all if none has one."""
    with_kernel = [layer for layer in layers if layer.has_kernel]
    activations = [layer.activation_after for layer in with_kernel or layers]
    return max(activations, key=activations.count)
