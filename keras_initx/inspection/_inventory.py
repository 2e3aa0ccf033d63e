"""What a model holds, found in one walk: its layers, weights and buffers, with names and paths.

A path has the names of the layers around one, numbered within each of them, so it is the same in
each build of a model.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx._checks import check_type, truncate
from keras_initx.backends._current import backend
from keras_initx.inspection._names import (
    list_own_weights,
    list_sublayers,
    make_distinct,
    renumber_names,
    split_automatic_name,
    split_automatic_part_name,
)
from keras_initx.inspection._weights import ModelWeight


def checked_inventory(name: str, model: Any) -> "Inventory":
    """Return what the argument `name` holds: a built model with weights, each at a path of its own.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it is not built, two weights have the same path, or the model does not use a
            weight.
    """
    found = Inventory(check_model(name, model))
    check_weights(name, found)
    return found


def check_model(name: str, model: Any) -> keras.Model:
    """Return `model`, which must be a Keras model with weights."""
    check_built(name, model)
    if not model.weights:
        raise _unbuilt_error(name, model, "without weights")
    return model


def check_built(name: str, model: Any) -> keras.Model:
    """Return `model`, which must be a Keras model that is built, and may have no weights."""
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
        f"Received: the model {model.name!r} {state}"
    )


@dataclass(frozen=True, eq=False)
class ModelLayer:
    """A layer at a place in a model.

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
    """What a model holds, as it is when that is first asked for.

    A call makes one at its begin, and a new one after it has built layers.

    Args:
        model: A model or a layer.

    Attributes:
        model: The model.
        layers: The model and each layer inside it, in the order of a walk. One that several others
            have is there as often. Layers of one name have the same path.
    """

    def __init__(self, model: keras.Layer) -> None:
        self.model: keras.Layer = model
        self.layers: list[ModelLayer] = list(_walk(ModelLayer((model,), ("",))))

    @functools.cached_property
    def names(self) -> dict[keras.Layer, str]:
        """All layers, starting with the model, with their names.

        A name is that of Keras, after those of the layers around the layer. Layers inside a
        recurrent layer are left out: they run inside a compiled loop, and their weights count as
        its own.
        """
        names: dict[keras.Layer, str] = {self.model: self.model.name}
        taken = {self.model.name}
        for one in self.layers:
            is_inside_loop = any(isinstance(outer, keras.layers.RNN) for outer in one.layers[:-1])
            is_input = isinstance(one.layer, keras.layers.InputLayer)
            if one.layer in names or is_inside_loop or is_input:
                continue
            prefix = f"{names[one.layers[-2]]}/" if len(one.layers) > 2 else ""
            names[one.layer] = make_distinct(f"{prefix}{one.layer.name}", taken)
        return names

    @functools.cached_property
    def paths(self) -> dict[keras.Layer, str]:
        """The layers of `names` with their paths, of which each is another one.

        The paths of the weights of a layer begin with its path, unless the layer around it has two
        of one name. The model, whose path is empty, has its name.
        """
        paths: dict[keras.Layer, str] = {}
        taken: set[str] = set()
        for one in self.layers:
            if one.layer not in paths and one.path:
                paths[one.layer] = make_distinct(one.path, taken)
        paths[self.model] = make_distinct(self.model.name, taken)
        return {layer: paths[layer] for layer in self.names}

    @functools.cached_property
    def weights(self) -> list[ModelWeight]:
        """The weights, in the order of the layers. A shared one is listed once."""
        found = []
        seen: set[int] = set()
        for one in self.layers:
            own = [weight for weight in list_own_weights(one.layer) if id(weight) not in seen]
            seen.update(id(weight) for weight in own)
            named = ((weight.name, split_automatic_name(weight.name, "variable")) for weight in own)
            in_module = _names_in_module(one.layer)
            for weight, name in zip(own, renumber_names(named, Counter()), strict=True):
                path = _inside(one.path, name)
                shown = path
                if in_module:
                    shown = _inside(one.path, in_module.get(id(weight.value), name))
                found.append(ModelWeight(path, shown, weight, one.layers, one.paths))
        return found

    @functools.cached_property
    def buffers(self) -> list[ModelWeight]:
        """What torch modules save beside their parameters, such as statistics.

        They are variables to nobody else.
        """
        found = []
        buffers: set[int] = set()
        for one in self.layers:
            for name, buffer in backend.saved_buffers(one.layer).items():
                if id(buffer.value) not in buffers:
                    buffers.add(id(buffer.value))
                    path = _inside(one.path, name)
                    found.append(ModelWeight(path, path, buffer, one.layers, one.paths))
        return found

    @property
    def held(self) -> list[ModelWeight]:
        """All that files may have: weights and buffers. Each has its `kind`."""
        return [*self.weights, *self.buffers]

    @functools.cached_property
    def unbuilt(self) -> list[str]:
        """The paths of the outermost layers that no call has built, of those that make weights.

        What a file has for them, Keras passes over.
        """
        found: dict[keras.Layer, str] = {}
        for one in self.layers[1:]:
            is_outermost = not any(outer in found for outer in one.layers[:-1])
            if is_outermost and not one.layer.built and _makes_weights(one.layer):
                found.setdefault(one.layer, one.path)
        return list(found.values())

    def note_on_unbuilt(self) -> list[str]:
        """Return a sentence that names the layers that are not built, or none."""
        if not self.unbuilt:
            return []
        return [f"Not built yet, and so without weights: {truncate(self.unbuilt)}."]


def _walk(around: ModelLayer) -> Iterator[ModelLayer]:
    """Yield a layer and those inside it."""
    yield around
    for part, name in _names_within(around.layer).items():
        path = _inside(around.path, name)
        yield from _walk(ModelLayer((*around.layers, part), (*around.paths, path)))


def _inside(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _names_within(layer: keras.Layer) -> dict[keras.Layer, str]:
    """Return the layers directly inside `layer` with their names, automatic ones renumbered."""
    parts = list_sublayers(layer, recursive=False)
    with_weights: list[keras.Layer] = []
    others: list[keras.Layer] = []
    for part in parts:
        group = with_weights if part.weights else others
        group.append(part)
    names = dict.fromkeys(parts, "")
    counts: Counter[str] = Counter()
    # The others are numbered last, so that paths of weights do not depend on them.
    for group in (with_weights, others):
        pairs = ((part.name, split_automatic_part_name(layer, part)) for part in group)
        names.update(zip(group, renumber_names(pairs, counts), strict=True))
    return names


def _names_in_module(layer: keras.Layer) -> dict[int, str]:
    """Return the names of the parameters of a torch module by their ids; none of other layers."""
    if not isinstance(layer, keras.layers.TorchModuleWrapper):
        return {}
    return {id(parameter): str(name) for name, parameter in layer.module.named_parameters()}


def _makes_weights(layer: keras.Layer) -> bool:
    """Return whether a layer that is not built may make weights: by its `build` or in its parts."""
    if type(layer).build is not keras.Layer.build and not isinstance(layer, keras.Model):
        return True
    return any(_makes_weights(part) for part in list_sublayers(layer, recursive=False))


def check_weights(name: str, inventory: Inventory) -> None:
    """Raise `ValueError` if two weights have the same path, or the model does not use one."""
    check_used(name, inventory)
    for path, count in Counter(weight.path for weight in inventory.weights).items():
        if count > 1:
            raise ValueError(
                f"`{name}` must have one weight at each path: give layers and weights inside a "
                f"layer distinct names. Received: {name}={inventory.model.name!r} with {count} "
                f"weights at {path!r}"
            )


def check_used(name: str, inventory: Inventory) -> None:
    """Raise `ValueError` if a layer of a model uses something else than one of its variables.

    Args:
        name: Name of the argument that is the model, in error messages.
        inventory: What the model holds.
    """
    paths = {id(weight.variable): weight.path for weight in inventory.weights}
    of_layer: dict[keras.Layer, list[keras.Variable]] = {}
    for weight in inventory.weights:
        of_layer.setdefault(weight.layer, []).append(weight.variable)
    for layer, variables in of_layer.items():
        for variable, obstacle in backend.obstacles(layer, variables):
            raise ValueError(
                f"`{name}` must use its weights. "
                f"Received: {name}={inventory.model.name!r}, whose {paths[id(variable)]!r} "
                f"{obstacle}"
            )


def check_unshared(name: str, inventory: Inventory) -> None:
    """Raise `ValueError` if other processes hold parts of the weights of the argument `name`."""
    for weight in inventory.weights:
        if backend.is_shared(weight.variable.value):
            raise ValueError(
                f"`{name}` must have all its weights in this process, where they are read as "
                f"wholes. Received: {name}={inventory.model.name!r}, of whose {weight.path!r} "
                "other processes hold parts"
            )
