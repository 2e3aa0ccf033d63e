"""The paths that users read and write, in which parameters of torch have their own names."""

from collections.abc import Iterable, Mapping

import keras

from keras_initx.structure._weights import ModelWeight


def shown_paths(weights: Iterable[ModelWeight]) -> dict[str, str]:
    """Return by `path` the path of each weight that is shown.

    That of a parameter of a torch module ends with its name in the module. Seeds, plans and
    contracts know it by the number that Keras gives it: `path`.
    """
    paths = {}
    names: dict[keras.Layer, Mapping[int, str]] = {}
    for weight in weights:
        paths[weight.path] = weight.path
        layer = weight.layer
        # Buffers have the names of the module in any case.
        is_parameter = isinstance(weight.variable, keras.Variable)
        if not is_parameter or not isinstance(layer, keras.layers.TorchModuleWrapper):
            continue
        if layer not in names:
            parameters = layer.module.named_parameters()
            names[layer] = {id(parameter): name for name, parameter in parameters}
        name = names[layer].get(id(weight.variable.value))
        if name is not None:
            paths[weight.path] = f"{weight.layer_paths[-1]}/{name}".removeprefix("/")
    return paths
