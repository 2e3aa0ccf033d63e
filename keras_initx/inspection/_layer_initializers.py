"""The initializer of each weight: kept by its layer, or passed to `add_weight` by a copy of it."""

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import keras

from keras_initx._checks import DTYPES
from keras_initx._keras import argument_name
from keras_initx.backends._current import backend
from keras_initx.initializers._composition import Concatenated
from keras_initx.initializers._gates import overwrites_forget_bias
from keras_initx.initializers._recurrent import LSTMForgetBias
from keras_initx.inspection._hooks import LayerInitializer, recorded_initializers
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._weights import ModelWeight

_THREAD = "keras_initx-copy"
# Where a weight is in a layer, see `_position`.
_Position: TypeAlias = tuple[Any, ...]
_OfCopy: TypeAlias = dict[_Position, LayerInitializer]


def layer_initializers(
    weights: Sequence[ModelWeight],
) -> dict[str, tuple[LayerInitializer | None, str]]:
    """Return the initializers that layers use for `weights`, by path.

    Returns:
        Dict from paths to pairs: the initializer, or `None` if the weight must be left unchanged;
        and the reason, which is otherwise empty.
    """
    found: dict[str, tuple[LayerInitializer | None, str]] = {}
    passed_by_copy = functools.cache(_passed_by_copy)
    for weight in weights:
        if weight.is_quantized:
            found[weight.path] = None, "quantized"
        elif weight.dtype not in DTYPES:
            found[weight.path] = None, weight.dtype
        elif hasattr(weight.layer, "adapt"):
            found[weight.path] = None, "adapted to data"
        else:
            initializer = _held(weight)
            if initializer is None:
                initializer = _passed(weight, passed_by_copy)
            if initializer is None:
                found[weight.path] = None, "initializer unknown"
            else:
                found[weight.path] = _with_forget_bias(initializer, weight), ""
    return found


def _held(weight: ModelWeight) -> LayerInitializer | None:
    """Return the initializer that a layer keeps for `weight` under Keras' name, or `None`."""
    value = getattr(weight.layer, argument_name(weight.variable.name), None)
    try:
        found: LayerInitializer | None = keras.initializers.get(value)
    except (TypeError, ValueError):  # A user's layer may keep anything there.
        return None
    return found


def _with_forget_bias(initializer: LayerInitializer, weight: ModelWeight) -> LayerInitializer:
    """Return an initializer for all gates of an LSTM that sets the bias of the forget gates."""
    if weight.name != "bias" or not overwrites_forget_bias(weight.layer):
        return initializer
    if isinstance(initializer, LSTMForgetBias):
        return initializer
    units = weight.shape[0] // 4
    return Concatenated([initializer, "ones", initializer], sizes=[units, units, 2 * units])


def _passed(
    weight: ModelWeight, passed_by_copy: Callable[[keras.Layer], _OfCopy]
) -> LayerInitializer | None:
    """Return the initializer that a layer passes to `add_weight` for `weight`, or `None`.

    The innermost layer that can be copied tells it: an inner one may have no complete config.
    """
    for depth in reversed(range(len(weight.layers))):
        found = passed_by_copy(weight.layers[depth]).get(_position(weight, depth))
        if found is not None:
            return found
    return None


def _passed_by_copy(layer: keras.Layer) -> _OfCopy:
    """Copy `layer`, and return the initializers of its weights by their positions in it.

    It is empty if the layer cannot be copied.
    """
    with keras.saving.CustomObjectScope({}) as scope:
        custom_objects = scope.backup
    distribution = keras.distribution.distribution()

    def copy() -> _OfCopy:
        keras.distribution.set_distribution(distribution)
        with keras.saving.CustomObjectScope(custom_objects):
            return _initializers_of_copy(layer)

    try:
        # A layer may call `initialize` while it is built.
        if threading.current_thread().name.startswith(_THREAD):
            return _initializers_of_copy(layer)
        # Keras counts names in each thread, so those of the caller are not used up.
        with ThreadPoolExecutor(1, _THREAD) as executor:
            return executor.submit(copy).result()
    except Exception:  # Custom layers may raise anything, and many have no complete config.
        return {}


def _initializers_of_copy(layer: keras.Layer) -> _OfCopy:
    """Return what a copy of `layer` passes to `add_weight`, by the positions of the weights."""
    found = {}
    with recorded_initializers() as recorded, contextlib.ExitStack() as stack:
        stack.callback(backend.kept_generators())  # the copy draws seeds
        config = layer.get_config()
        # An untied `ReversibleEmbedding` cannot be built with factors of LoRA.
        lora_rank = None
        if getattr(layer, "lora_enabled", False):
            lora_rank = config.pop("lora_rank")
        copy = type(layer).from_config(config)
        if not copy.built:
            copy.build_from_config(layer.get_build_config())
        if lora_rank is not None:
            copy.enable_lora(lora_rank)
        for weight in Inventory(copy).weights:
            initializer = recorded.get(id(weight.variable))
            if initializer is not None:
                found[_position(weight, 0)] = initializer
    return found


def _position(weight: ModelWeight, depth: int) -> _Position:
    """Return where a weight is, as the places of the layers around it, its name and its shape.

    Not its path: automatic names in a copy have other numbers, maybe in another order.

    Args:
        weight: A weight.
        depth: Which of the layers around it is the outermost that counts.
    """
    places = []
    for outer, inner in itertools.pairwise(weight.layers[depth:]):
        places.append(list_sublayers(outer, recursive=False).index(inner))
    return *places, weight.path.rpartition("/")[2], weight.shape
