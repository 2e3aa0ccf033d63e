"""The layers of a model: what they are called, which weights are their own, what their activation does."""

import keras

# An activation that stays between two limits, by its name.
LIMITS = {
    "hard_sigmoid": (0.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "softsign": (-1.0, 1.0),
    "sparse_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}

# Layers that bring what they get to one size.
NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)

# Layers that do nothing but apply an activation, which they do not have in an attribute.
_ACTIVATION_LAYERS = {
    keras.layers.ELU: "elu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.PReLU: "prelu",
    keras.layers.ReLU: "relu",
}


def named_layers(model):
    """Return all layers of `model`, itself first, as a dict from the layer to its name.

    The layers inside a recurrent layer are left out: it calls them inside a compiled loop, and their weights are its.
    """
    names: dict = {model: model.name}
    taken = {model.name}

    def walk(layer, prefix):
        if isinstance(layer, keras.layers.RNN):
            return
        for part in parts_of(layer, recursive=False):
            if part in names or isinstance(part, keras.layers.InputLayer):
                continue
            name, number = f"{prefix}{part.name}", 2
            while name in taken:
                name, number = f"{prefix}{part.name} ({number})", number + 1
            taken.add(name)
            names[part] = name
            walk(part, f"{name}/")

    walk(model, "")
    return names


def parts_of(layer, *, recursive=True):
    """Return the layers inside `layer`, only those directly inside unless `recursive`."""
    # Not public, but the only list of a layer's layers that there is on every backend.
    return layer._flatten_layers(include_self=False, recursive=recursive)


def own_weights(layer):
    """Return the weights of `layer` that are not those of a layer inside it."""
    inside = {id(weight) for part in parts_of(layer, recursive=False) for weight in part.weights}
    return [weight for weight in layer.weights if id(weight) not in inside]


def weights_on_inputs(layer):
    """Return the weights that act on the inputs of `layer`: its own, and those of the cell of a recurrent layer."""
    return layer.weights if isinstance(layer, keras.layers.RNN) else own_weights(layer)


def call_name(layer):
    """Return the name of the method by which Keras calls `layer`."""
    return "call" if layer.quantization_mode is None else "quantized_call"


def activation_of(layer):
    """Return the function or layer in `layer.activation`, `None` if there is none or it changes nothing."""
    if isinstance(getattr(type(layer), "activation", None), property):  # a recurrent layer's, which its cell calls
        return None
    activation = getattr(layer, "activation", None)
    return activation if callable(activation) and activation is not keras.activations.linear else None


def is_activation(layer):
    """Tell whether `layer` is an activation that is not in an attribute: its input is what comes before."""
    return type(layer) in _ACTIVATION_LAYERS


def activation_name(layer):
    """Return the name of the activation that `layer` applies, `None` if it applies none."""
    activation = activation_of(layer)
    if activation is None:
        return _ACTIVATION_LAYERS.get(type(layer))
    return getattr(activation, "__name__", type(activation).__name__)


def unit_axis(layer, rank):
    """Return the axis of the output of `layer` along which its units are."""
    order = getattr(layer, "data_format", None)
    if order is None and rank > 3 and not layer.weights:
        order = keras.config.image_data_format()
    return 1 if order == "channels_first" and rank > 2 else -1
