"""What the rules share: how they say where a problem is, and which initializer suits a layer."""

# Activations for which He's variance is right; the others get Glorot's.
_RELU_LIKE = {"relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "swish", "mish", "softplus"}


def layer_names(pairs):
    """Return the names of the layers in pairs of a layer and a weight, each once."""
    return tuple(dict.fromkeys(layer.name for layer, _ in pairs))


def weight_name(layer, weight):
    return f"{layer.name}/{weight.name}"


def weight_names(pairs, between=", "):
    return join_names([weight_name(*pair) for pair in pairs], between)


def join_names(names, between=", "):
    return between.join(names[:4]) + and_more(names, 4)


def and_more(items, shown):
    return f" and {len(items) - shown} more" if len(items) > shown else ""


def in_first(pairs):
    return f" in {weight_name(*pairs[0])}" if len(pairs) > 1 else ""


def and_others(pairs):
    return f", and so in {len(pairs) - 1} more" if len(pairs) > 1 else ""


def others(hit):
    return f" ({len(hit)} layers)" if len(hit) > 1 else ""


def number(value):
    return f"{value:.3g}"


def rescaled(layer):
    """Tell whether a normalization, and nothing else, gets what `layer` computes: its size does not matter then."""
    is_bounded = layer.saturated is not None or layer.activation == "softmax"
    return layer.normalized_by is not None and not is_bounded


def behind(layer):
    return f"; {layer.normalized_by} right behind brings what {layer.name} gives to one size"


def suggestion(layer):
    """Return the initializer that suits the activation of `layer`."""
    if layer.activation == "selu":
        return "LecunNormal()"
    return "HeNormal()" if layer.activation in _RELU_LIKE else "GlorotUniform()"
