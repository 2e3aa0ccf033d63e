"""Find the initializer that a layer gives to each of its weights.

Most layers keep it as `kernel_initializer` and the like. The others hand it to `add_weight` and forget it. So such a
layer is made again from its config, and what it hands to `add_weight` then is recorded. Where a layer cannot be made
again by itself, the one around it is, up to the whole model.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from keras_initx.initializers import Concatenated, LSTMForgetBias
from keras_initx.initializers._caller import argument_name
from keras_initx.initializers._gates import overwrites_forget_bias
from keras_initx.models._weights import ModelWeight, find_weights

# An object, or a function of shape and dtype, which Keras takes too.
Initializer: TypeAlias = keras.initializers.Initializer | Callable[..., Any]

_LOCK = threading.RLock()


def own_initializers(weights: Sequence[ModelWeight]) -> dict[str, Initializer]:
    """Return the initializers that layers give to `weights`, by path; without those that cannot be known."""
    found: dict[str, Initializer] = {}
    recorded: dict[str, Mapping[str, Initializer]] = {}
    for weight in weights:
        initializer = _attribute(weight) or _recorded(weight, recorded)
        if initializer is not None:
            found[weight.path] = _with_forget_bias(initializer, weight)
    return found


def _attribute(weight: ModelWeight) -> Initializer | None:
    """Return the initializer that the layer keeps for `weight`, `None` if it keeps none."""
    value = getattr(weight.layer, argument_name(weight.variable), None)
    initializer: Initializer | None = keras.initializers.get(value)
    return initializer


def _with_forget_bias(initializer: Initializer, weight: ModelWeight) -> Initializer:
    """Return what an LSTM that writes ones into the forget gates' part of its bias makes of `initializer`."""
    if weight.name != "bias" or not overwrites_forget_bias(weight.layer) or isinstance(initializer, LSTMForgetBias):
        return initializer
    units = weight.shape[0] // 4
    return Concatenated([initializer, "ones", initializer], sizes=[units, units, 2 * units])


def _recorded(weight: ModelWeight, recorded: dict[str, Mapping[str, Initializer]]) -> Initializer | None:
    """Return the initializer that is handed to `add_weight` for `weight`, `None` if that cannot be found out.

    Args:
        weight: A weight.
        recorded: What has been recorded before, by the path of the layer that was made again, to be added to.
    """
    for layer, path in zip(reversed(weight.layers), reversed(weight.layer_paths), strict=True):
        if path not in recorded:
            recorded[path] = _record(layer)
        inside = weight.path.removeprefix(path).removeprefix("/")
        if inside in recorded[path]:
            return recorded[path][inside]
    return None


def _record(layer: keras.Layer) -> dict[str, Initializer]:
    """Make `layer` again, and return the initializers of its weights by their paths inside it."""
    state = random.getstate()  # from which Keras makes up seeds
    try:
        with _recorded_calls() as calls:
            copy = type(layer).from_config(layer.get_config())
            if not copy.built:
                copy.build_from_config(layer.get_build_config())
            return {
                weight.path: calls[id(weight.variable)] for weight in find_weights(copy) if id(weight.variable) in calls
            }
    except Exception:  # Layers of others may do anything, and most have no complete config.
        return {}
    finally:
        random.setstate(state)


@contextlib.contextmanager
def _recorded_calls() -> Iterator[dict[int, Initializer]]:
    """Give a dict from the identity of each variable that `add_weight` makes to its initializer; the values are 0."""
    original = keras.layers.Layer.add_weight
    thread = threading.get_ident()
    calls: dict[int, Initializer] = {}

    def add_weight(
        self: keras.Layer, shape: Any = None, initializer: Any = None, *args: Any, **options: Any
    ) -> keras.Variable:
        if threading.get_ident() != thread:
            return original(self, shape, initializer, *args, **options)
        variable = original(self, shape, "zeros", *args, **options)
        is_float = "float" in keras.backend.standardize_dtype(variable.dtype)
        calls[id(variable)] = keras.initializers.get(initializer or ("glorot_uniform" if is_float else "zeros"))
        return variable

    with _LOCK:
        keras.layers.Layer.add_weight = add_weight
        try:
            yield calls
        finally:
            keras.layers.Layer.add_weight = original
