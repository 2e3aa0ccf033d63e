"""The paths that users read and write, in which parameters of torch have their own names."""

import keras

from keras_initx.structure import ModelWeight, matches_path, name_in_module


def shown_path(weight: ModelWeight) -> str:
    """Return the path of a weight, which in a module of torch ends with its name there.

    Seeds, plans and contracts know it by the number that Keras gives it: `path`.
    """
    # Buffers have the names of the module in any case.
    is_parameter = isinstance(weight.variable, keras.Variable)
    if not is_parameter or not isinstance(weight.layer, keras.layers.TorchModuleWrapper):
        return weight.path
    name = name_in_module(weight)
    if name == weight.name:  # the module has no such parameter any more
        return weight.path
    return f"{weight.layer_paths[-1]}/{name}".removeprefix("/")


def matches_weight(pattern: str, weight: ModelWeight) -> bool:
    """Return whether `pattern` matches a weight, by its path or by the one that is shown."""
    return matches_path(pattern, weight.path) or matches_path(pattern, shown_path(weight))
