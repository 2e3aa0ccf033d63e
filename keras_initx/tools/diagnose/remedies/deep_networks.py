"""The remedy if gradients, or the differences of examples, vanish in many layers."""

from collections.abc import Sequence

from keras_initx.initializers._activations import activation_facts
from keras_initx.initializers._variance_named import GlorotUniform
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_biases,
    list_kernels,
    measured_layers,
)
from keras_initx.tools.diagnose._redrawing import (
    list_frozen_others,
    list_untried,
    make_choice,
    propose_redraw,
)
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._suitable_initializers import (
    choose_initializers,
    find_common_activation,
)
from keras_initx.tools.diagnose.remedies.scales import propose_other_scale


def propose_for_depth(layers: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> Remedy:
    """Propose another initializer, activation or normalization for `layers`, or branches around."""
    activation = find_common_activation(layers)
    choices = choose_initializers(layers, activation, is_deep=True)
    other_scale = propose_other_scale(layers, diagnosis)
    if other_scale is not None:
        return other_scale
    normalization = "keras.layers.BatchNormalization() before"
    if activation_facts(activation).is_flat:
        _, text = make_choice(GlorotUniform())
        text = f'use activation="tanh" with {text} instead of {activation}'
        if not _are_normalized(layers):
            text += f", or add {normalization} it"
        return Remedy(
            f"{text}, because the slope of {activation} is at most 1/4, and no initializer makes "
            "up for that"
        )
    if activation == "softplus":
        text = "use another activation than"
        if not _are_normalized(layers):
            text = f"add {normalization} each"
        return Remedy(f"{text} softplus, whose mean makes examples similar with any initializer")
    kernels = list_kernels(measured_layers(diagnosis))
    untried = list_untried(choices, kernels)
    have_large_biases = any(layer.has_large_bias for layer in layers)
    if choices and not untried and not have_large_biases:
        frozen = list_frozen_others(choices, kernels)
        if frozen:
            return propose_redraw(choices, frozen, after=" in all layers")
        if _are_normalized(layers):
            return Remedy("add residual branches, x + f(x), around these layers")
        return Remedy(f"add {normalization} each activation")
    biases = list_biases(measured_layers(diagnosis)) if choices and have_large_biases else []
    return propose_redraw(untried, kernels, after=" in all layers", biases=biases)


def _are_normalized(layers: Sequence[MeasuredLayer]) -> bool:
    """Return whether a normalization is before each activation, except in the last layer."""
    hidden = [layer for layer in layers if layer.has_kernel][:-1]
    return bool(hidden) and all(
        layer.normalized_by is not None and layer.activation is None for layer in hidden
    )
