"""Find out who asks for weights, and what for.

Keras hands an initializer a shape and nothing else. That is not enough for the bias of an LSTM:
with `unit_forget_bias=True` Keras asks for `(u,)` and `(2u,)`, with `False` for `(4u,)`, and 8 may
be any of these. Remembering earlier calls would make one initializer's values depend on the
others', so we look who is asking instead: the variable that is made is on the call stack, and so
are layers. Mostly the layer that makes it is among them. Where `fit` builds a model, Keras makes the
variables after all layers are built, in the call of an outer layer or model, and the variable leads
to the layer. So does `load_model` stand on the stack, when the weights are there only to be
overwritten by those of the saved model.
"""

import inspect
from collections.abc import Iterator
from types import FrameType
from typing import Any

import keras


def asking() -> tuple[keras.Variable | None, list[keras.Layer]]:
    """Return the variable whose values are asked for, and the layers on the call stack, the innermost first.

    The variable is `None` if an initializer is called by hand.
    """
    variable = None
    layers: list[keras.Layer] = []
    for frame in _callers():
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.Layer):
            if all(owner is not layer for layer in layers):
                layers.append(owner)
        elif variable is None and not layers and isinstance(owner, keras.Variable):
            variable = owner
    return variable, layers


def argument_name(weight: keras.Variable) -> str:
    """Return how Keras calls the argument of a layer that is the initializer of `weight`."""
    return f"{weight.name.removesuffix('_kernel')}_initializer"


def layer_using(initializer: keras.initializers.Initializer) -> keras.Layer | None:
    """Return the layer that asks `initializer` for a weight, or `None` if none is known, as in a call by hand."""
    variable, layers = asking()
    if variable is not None:
        for layer in layers:
            owners = [
                part
                for part in layer._flatten_layers()
                if _uses(part, initializer) and any(weight is variable for weight in part.weights)
            ]
            if owners:
                return owners[-1]  # each layer comes before those within it
    return next((layer for layer in layers if _uses(layer, initializer)), None)


def loads_a_model() -> bool:
    """Tell whether values are asked for by a variable of a model that `load_model` is about to fill."""
    loader = inspect.unwrap(keras.saving.load_model).__code__
    for_variable = False
    for frame in _callers():
        for_variable |= isinstance(frame.f_locals.get("self"), keras.Variable)
        if frame.f_code is loader:
            return for_variable
    return False


def forget_unmade_variables() -> None:
    """Make Keras forget the variables that it is making at the end of a scope, if that is who asks.

    To be called when an error ends that. Keras would keep its list of them, in which some are made by then,
    and try to make them again whenever another model is built; that fails for good.
    """
    making: dict[str, Any] = {}
    for frame in _callers():
        if frame.f_code is keras.StatelessScope.__exit__.__code__:
            for value in making.values():
                if isinstance(value, list):
                    value.clear()
            return
        making = frame.f_locals


def _uses(layer: keras.Layer, initializer: keras.initializers.Initializer) -> bool:
    """Tell whether `layer` has `initializer`, by itself or within another one, which then gets the same shape."""
    return any(_hands_on(value, initializer) for value in vars(layer).values())


def _hands_on(value: object, initializer: keras.initializers.Initializer) -> bool:
    if value is initializer:
        return True
    # Those in a list, as of `Concatenated`, get other shapes.
    return isinstance(value, keras.initializers.Initializer) and any(
        _hands_on(part, initializer) for part in vars(value).values()
    )


def _callers() -> Iterator[FrameType]:
    """Yield the frames of the call stack, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
