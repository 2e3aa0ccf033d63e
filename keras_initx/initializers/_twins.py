"""Warn where one seed makes two weights of a layer the same.

`MultiHeadAttention` and `Bidirectional` copy the initializer they are given for each of their
parts. Copies without a seed draw seeds of their own; copies with a seed give query and key, or
both directions, the same values, which training may never tell apart.
"""

import warnings

import keras

from keras_initx.initializers._caller import asking_layers


def warn_of_twins(initializer, shape):
    """Warn if a sibling of the layer that asks has made a weight of `shape` with the same seeded initializer."""
    layer, *outer = [layer for layer in asking_layers() if not isinstance(layer, keras.Model)] or [None]
    if not outer or not _has_seed(initializer.get_config()):
        return
    for name, held in _held(layer, initializer):
        for sibling in _parts(outer, layer):
            if _is_copy(getattr(sibling, name, None), held) and _has_weight(sibling, shape):
                warnings.warn(
                    f"{held!r} gives layers {sibling.name!r} and {layer.name!r} of {outer[-1].name!r} the same weights "
                    f"of shape {shape}. Without a seed each part draws its own; `keras.utils.set_random_seed` makes "
                    "that repeatable.",
                    stacklevel=2,
                )
                return


def _has_seed(config):
    """Tell whether a config, or one within it, holds a seed."""
    if isinstance(config, list):
        return any(map(_has_seed, config))
    return isinstance(config, dict) and any(
        _has_seed(value) or (name == "seed" and value is not None) for name, value in config.items()
    )


def _held(layer, initializer):
    """Return the attributes of `layer` that are the initializer asked, or that the layer has rebuilt it from."""
    return [
        (name, value)
        for name, value in vars(layer).items()
        if value is initializer
        or (
            type(value) is type(initializer)
            and value.seed == initializer.seed
            and value.get_config()["seed"] is not None
        )
    ]


def _parts(outer, layer):
    """Return the layers inside the outermost one, without those that `layer` is inside of."""
    # Not public, but the only list of a layer's layers that there is on every backend.
    parts = outer[-1]._flatten_layers(include_self=False)
    return [part for part in parts if all(part is not other for other in (layer, *outer))]


def _is_copy(one, other):
    return type(one) is type(other) and one.get_config() == other.get_config()


def _has_weight(layer, shape):
    return any(tuple(weight.shape) == shape for weight in layer.weights)
