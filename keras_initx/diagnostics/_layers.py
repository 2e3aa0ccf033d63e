"""What is known of the layers of a model before it runs."""

from dataclasses import dataclass

import keras

from keras_initx.structure import activation_name, is_kernel, is_zero, named_layers, own_weights


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """What is known of a layer before the model runs.

    Attributes:
        name: Its name, prefixed with those of the layers around it.
        own_weights: Its weights without those of layers inside it.
        has_kernel: Whether a kernel multiplies its inputs.
        has_zeros: Whether such a kernel, or the scale of a normalization, is all 0.
        activation: Name of the activation that it applies, or `None`.
    """

    name: str
    own_weights: list[keras.Variable]
    has_kernel: bool
    has_zeros: bool
    activation: str | None


def layer_facts(model: keras.Model) -> dict[keras.layers.Layer, LayerFacts]:
    """Return the facts of all layers of `model`, in the order of `named_layers`."""
    facts = {}
    for layer, name in named_layers(model).items():
        own = own_weights(layer)
        on_inputs = own
        if isinstance(layer, keras.layers.RNN):
            # Its cell multiplies the inputs.
            on_inputs = layer.weights
        facts[layer] = LayerFacts(
            name=name,
            own_weights=own,
            has_kernel=any(map(is_kernel, on_inputs)),
            has_zeros=any(is_zero(layer, weight) for weight in on_inputs),
            activation=activation_name(layer),
        )
    return facts
