"""The paths that users read and write, in which parameters of torch have their own names."""

from collections.abc import Iterable

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


def shown_paths(weights: Iterable[ModelWeight]) -> dict[str, str]:
    """Return the paths that are shown, by `path`, where they differ."""
    paths = {weight.path: shown_path(weight) for weight in weights}
    return {path: shown for path, shown in paths.items() if shown != path}


def matches_weight(pattern: str, weight: ModelWeight) -> bool:
    """Return whether `pattern` matches a weight, by its path or by the one that is shown."""
    return matches_path(pattern, weight.path) or matches_path(pattern, shown_path(weight))
