"""List the layers, weights and buffers of a model in one walk, with names and paths.

A *path* has the names of the layers around a layer, and its own name. It numbers automatic names
within the layer around them, so it is the same in each build of a model. A *name* has the names of
Keras, which are numbered within the process:

    path    encoder/dense_1            name    encoder/dense_7

A *buffer* is an array that torch saves for a module in addition to its parameters.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx._checks import check_type, truncate
from keras_initx._received import show
from keras_initx.backends._current import backend
from keras_initx.inspection._names import (
    list_own_weights,
    list_sublayers,
    make_distinct,
    renumber_names,
    split_automatic_name,
    split_automatic_sublayer_name,
)
from keras_initx.inspection._weights import ModelWeight


def checked_inventory(name: str, model: Any) -> "Inventory":
    """Take the inventory of the argument `name`: a built model, whose weights have distinct paths.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it is not built or has no weights, if two weights have the same path, or if
            the model does not use a weight.
    """
    inventory = Inventory(check_model(name, model))
    check_weights(name, inventory)
    return inventory


def check_model(name: str, model: Any) -> keras.Model:
    """Return `model`, or raise an error unless it is a Keras model with weights."""
    check_built(name, model)
    if not model.weights:
        raise _unbuilt_error(name, model, "without weights")
    return model


def check_built(name: str, model: Any) -> keras.Model:
    """Return `model`, or raise an error unless it is a built Keras model.

    It may have no weights.
    """
    check_type(name, model, keras.Model, "a Keras model")
    if not model.built:
        raise _unbuilt_error(name, model, "without weights")
    # Keras builds a `Sequential` up to a layer whose shapes it cannot infer.
    if isinstance(model, keras.Sequential) and not all(layer.built for layer in model.layers):
        raise _unbuilt_error(name, model, "without all weights")
    return model


def _unbuilt_error(name: str, model: keras.Model, state: str) -> ValueError:
    return ValueError(
        f"`{name}` must be built: add a `keras.Input` to the model, or call it once. "
        f"Received: the model {show(model.name)} {state}"
    )


@dataclass(frozen=True, eq=False)
class ModelLayer:
    """A layer at one path in a model. A layer that several others contain has several paths.

    Attributes:
        layers: The layers from the model to this one.
        paths: Their paths. The path of the model is empty.
    """

    layers: tuple[keras.Layer, ...]
    paths: tuple[str, ...]

    @property
    def layer(self) -> keras.Layer:
        """The layer."""
        return self.layers[-1]

    @property
    def path(self) -> str:
        """Its path."""
        return self.paths[-1]


class Inventory:
    """The layers and weights of a model, as they are when a property is first read.

    A tool makes one when it begins, and a new one after it has built layers.

    Args:
        model: A model or a layer.

    Attributes:
        model: The model.
        layers: The model and each layer inside it, in the order of a walk. A layer that several
            others contain is listed several times. Layers of one name have the same path.
    """

    def __init__(self, model: keras.Layer) -> None:
        self.model: keras.Layer = model
        self.layers: list[ModelLayer] = list(_walk(ModelLayer((model,), ("",))))

    @functools.cached_property
    def names(self) -> dict[keras.Layer, str]:
        """The names of all layers, starting with the model.

        Layers inside a recurrent layer do not count, because they run inside a compiled loop. Their
        weights count as weights of the recurrent layer.
        """
        names: dict[keras.Layer, str] = {self.model: self.model.name}
        taken = {self.model.name}
        for entry in self.layers:
            outer_layers = entry.layers[:-1]
            is_inside_loop = any(isinstance(layer, keras.layers.RNN) for layer in outer_layers)
            is_input = isinstance(entry.layer, keras.layers.InputLayer)
            if entry.layer in names or is_inside_loop or is_input:
                continue
            prefix = f"{names[entry.layers[-2]]}/" if len(entry.layers) > 2 else ""
            names[entry.layer] = make_distinct(f"{prefix}{entry.layer.name}", taken)
        return names

    @functools.cached_property
    def paths(self) -> dict[keras.Layer, str]:
        """The paths of the layers of `names`, made distinct.

        The paths of the weights of a layer begin with its path, unless the layer around it has two
        layers of one name. The path of the model is empty, so it has its name here.
        """
        paths: dict[keras.Layer, str] = {}
        taken: set[str] = set()
        for entry in self.layers:
            if entry.layer not in paths and entry.path:
                paths[entry.layer] = make_distinct(entry.path, taken)
        paths[self.model] = make_distinct(self.model.name, taken)
        return {layer: paths[layer] for layer in self.names}

    @functools.cached_property
    def weights(self) -> list[ModelWeight]:
        """The weights, in the order of the layers. A shared weight is listed once."""
        weights = []
        seen_ids: set[int] = set()
        for entry in self.layers:
            own = [weight for weight in list_own_weights(entry.layer) if id(weight) not in seen_ids]
            seen_ids.update(id(weight) for weight in own)
            split = [(weight.name, split_automatic_name(weight.name, "variable")) for weight in own]
            module_names = _read_module_names(entry.layer)
            for weight, name in zip(own, renumber_names(split, Counter()), strict=True):
                path = _join_path(entry.path, name)
                shown = path
                if module_names:
                    shown = _join_path(entry.path, module_names.get(id(weight.value), name))
                weights.append(ModelWeight(path, shown, weight, entry.layers, entry.paths))
        return weights

    @functools.cached_property
    def buffers(self) -> list[ModelWeight]:
        """The arrays that torch modules save in addition to their parameters, such as statistics.

        Keras has no variables for them.
        """
        buffers = []
        buffer_ids: set[int] = set()
        for entry in self.layers:
            for name, buffer in backend.saved_buffers(entry.layer).items():
                if id(buffer.value) not in buffer_ids:
                    buffer_ids.add(id(buffer.value))
                    path = _join_path(entry.path, name)
                    buffers.append(ModelWeight(path, path, buffer, entry.layers, entry.paths))
        return buffers

    @property
    def weights_and_buffers(self) -> list[ModelWeight]:
        """All weights and buffers, which files may have. Each has its `kind`."""
        return [*self.weights, *self.buffers]

    @functools.cached_property
    def unbuilt(self) -> list[str]:
        """The paths of the outermost layers that would make weights, and that no call has built.

        Keras ignores the arrays of a file for these layers.
        """
        unbuilt: dict[keras.Layer, str] = {}
        for entry in self.layers[1:]:
            is_outermost = not any(outer_layer in unbuilt for outer_layer in entry.layers[:-1])
            if is_outermost and not entry.layer.built and _makes_weights(entry.layer):
                unbuilt.setdefault(entry.layer, entry.path)
        return list(unbuilt.values())

    def note_unbuilt(self) -> list[str]:
        """Return a sentence that names the layers that are not built, if there are any."""
        if not self.unbuilt:
            return []
        return [f"Not built yet, and so without weights: {truncate(self.unbuilt)}."]


def _walk(outer: ModelLayer) -> Iterator[ModelLayer]:
    yield outer
    for sublayer, name in _name_sublayers(outer.layer).items():
        path = _join_path(outer.path, name)
        yield from _walk(ModelLayer((*outer.layers, sublayer), (*outer.paths, path)))


def _join_path(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _name_sublayers(layer: keras.Layer) -> dict[keras.Layer, str]:
    """Name the layers directly inside `layer`, with automatic names numbered within it."""
    sublayers = list_sublayers(layer, recursive=False)
    with_weights: list[keras.Layer] = []
    others: list[keras.Layer] = []
    for sublayer in sublayers:
        group = with_weights if sublayer.weights else others
        group.append(sublayer)
    names = dict.fromkeys(sublayers, "")
    counts: Counter[str] = Counter()
    # The others are numbered last, so that paths of weights do not depend on them.
    for group in (with_weights, others):
        pairs = (
            (sublayer.name, split_automatic_sublayer_name(layer, sublayer)) for sublayer in group
        )
        names.update(zip(group, renumber_names(pairs, counts), strict=True))
    return names


def _read_module_names(layer: keras.Layer) -> dict[int, str]:
    # The names of the parameters of a torch module, by their ids; none for other layers.
    if not isinstance(layer, keras.layers.TorchModuleWrapper):
        return {}
    return {id(parameter): str(name) for name, parameter in layer.module.named_parameters()}


def _makes_weights(layer: keras.Layer) -> bool:
    # A layer that is not built may do so by its `build`, or in layers inside it.
    if type(layer).build is not keras.Layer.build and not isinstance(layer, keras.Model):
        return True
    return any(_makes_weights(sublayer) for sublayer in list_sublayers(layer, recursive=False))


def check_weights(name: str, inventory: Inventory) -> None:
    """Raise `ValueError` if two weights have the same path, or the model does not use one."""
    check_used(name, inventory)
    for path, count in Counter(weight.path for weight in inventory.weights).items():
        if count > 1:
            raise ValueError(
                f"`{name}` must have one weight at each path: give layers and weights inside a "
                f"layer distinct names. Received: {name}={show(inventory.model.name)} with {count} "
                f"weights at {show(path)}"
            )


def check_used(name: str, inventory: Inventory) -> None:
    """Raise `ValueError` if a layer uses another object in place of one of its variables.

    Args:
        name: Name of the argument that is the model, in error messages.
        inventory: The layers and weights of the model.
    """
    paths = {id(weight.variable): weight.path for weight in inventory.weights}
    variables_by_layer: dict[keras.Layer, list[keras.Variable]] = {}
    for weight in inventory.weights:
        variables_by_layer.setdefault(weight.layer, []).append(weight.variable)
    for layer, variables in variables_by_layer.items():
        for variable, obstacle in backend.obstacles(layer, variables):
            raise ValueError(
                f"`{name}` must use its weights. "
                f"Received: {name}={show(inventory.model.name)}, whose {show(paths[id(variable)])} "
                f"{obstacle}"
            )


def check_unshared(name: str, inventory: Inventory) -> None:
    """Raise `ValueError` if a weight of the argument `name` is spread over several processes."""
    for weight in inventory.weights:
        if backend.is_shared(weight.variable.value):
            raise ValueError(
                f"`{name}` must have all its weights in this process, which reads whole weights. "
                f"Received: {name}={show(inventory.model.name)}, "
                f"whose {show(weight.path)} is spread over "
                "several processes"
            )
