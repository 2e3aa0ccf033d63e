"""Find the initializer of each weight: kept by its layer, or passed to `add_weight` by a copy.

Layers of Keras keep their initializers: `layer.kernel_initializer`. A user's layer may pass an
initializer to `add_weight` and not keep it. So this file builds a copy of the layer and watches it
(`record_initializers`).
"""

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import keras

from keras_initx._checks import DTYPES
from keras_initx._keras import argument_name
from keras_initx.backends._current import backend
from keras_initx.initializers._composition import Concatenated
from keras_initx.initializers._gates import overwrites_forget_bias
from keras_initx.initializers._recurrent import LSTMForgetBias
from keras_initx.inspection._hooks import LayerInitializer, record_initializers
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._weights import ModelWeight

_THREAD = "keras_initx-copy"
# Identifies a weight in any copy of a layer, see `_locate`.
_Location: TypeAlias = tuple[Any, ...]
_InitializersOfCopy: TypeAlias = dict[_Location, LayerInitializer]


class WeightInitializer(NamedTuple):
    """The initializer that a layer uses for a weight.

    Attributes:
        initializer: The initializer, or `None` if the weight must keep its values.
        reason: Why it must keep its values, or an empty text.
    """

    initializer: LayerInitializer | None
    reason: str = ""


def find_layer_initializers(weights: Sequence[ModelWeight]) -> dict[str, WeightInitializer]:
    """Find the initializers that layers use for `weights`, by path."""
    read_copy = functools.cache(_read_passed_by_copy)
    return {weight.path: _find_initializer(weight, read_copy) for weight in weights}


def _find_initializer(
    weight: ModelWeight, read_copy: Callable[[keras.Layer], _InitializersOfCopy]
) -> WeightInitializer:
    if weight.is_quantized:
        return WeightInitializer(None, "quantized")
    if weight.dtype not in DTYPES:
        return WeightInitializer(None, weight.dtype)
    if hasattr(weight.layer, "adapt"):
        return WeightInitializer(None, "adapted to data")
    initializer = _read_kept_initializer(weight)
    if initializer is None:
        initializer = _find_passed_initializer(weight, read_copy)
    if initializer is None:
        return WeightInitializer(None, "initializer unknown")
    return WeightInitializer(_set_forget_bias(initializer, weight))


def _read_kept_initializer(weight: ModelWeight) -> LayerInitializer | None:
    # Under Keras' name: `kernel_initializer`.
    value = getattr(weight.layer, argument_name(weight.variable.name), None)
    try:
        initializer: LayerInitializer | None = keras.initializers.get(value)
    except (TypeError, ValueError):  # A user's layer may keep anything there.
        return None
    return initializer


def _set_forget_bias(initializer: LayerInitializer, weight: ModelWeight) -> LayerInitializer:
    # With `unit_forget_bias`, an LSTM sets the bias of its forget gates to 1, whatever the
    # initializer gives.
    if weight.name != "bias" or not overwrites_forget_bias(weight.layer):
        return initializer
    if isinstance(initializer, LSTMForgetBias):
        return initializer
    units = weight.shape[0] // 4
    return Concatenated([initializer, "ones", initializer], sizes=[units, units, 2 * units])


def _find_passed_initializer(
    weight: ModelWeight, read_copy: Callable[[keras.Layer], _InitializersOfCopy]
) -> LayerInitializer | None:
    """Find the initializer that a layer passes to `add_weight` for `weight`, or `None`.

    The innermost layer that can be copied shows it. Layers further inside may have no complete
    config.
    """
    for depth in reversed(range(len(weight.layers))):
        initializer = read_copy(weight.layers[depth]).get(_locate(weight, depth))
        if initializer is not None:
            return initializer
    return None


def _read_passed_by_copy(layer: keras.Layer) -> _InitializersOfCopy:
    """Read the initializers of the weights of a copy of `layer`. There are none without a copy."""
    with keras.saving.CustomObjectScope({}) as scope:
        custom_objects = scope.backup
    distribution = keras.distribution.distribution()

    def copy() -> _InitializersOfCopy:
        keras.distribution.set_distribution(distribution)
        with keras.saving.CustomObjectScope(custom_objects):
            return _build_copy(layer)

    try:
        # A layer may call `initialize` while it is built.
        if threading.current_thread().name.startswith(_THREAD):
            return _build_copy(layer)
        # Keras counts names in each thread, so those of the caller are not used up.
        with ThreadPoolExecutor(1, _THREAD) as executor:
            return executor.submit(copy).result()
    except Exception:  # Custom layers may raise anything, and many have no complete config.
        return {}


def _build_copy(layer: keras.Layer) -> _InitializersOfCopy:
    """Build a copy of `layer`, and return the initializers that it passes to `add_weight`."""
    initializers = {}
    with record_initializers() as recorded, contextlib.ExitStack() as stack:
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
                initializers[_locate(weight, 0)] = initializer
    return initializers


def _locate(weight: ModelWeight, depth: int) -> _Location:
    """Locate a weight by the indices of the layers around it, its name and its shape.

    The path would not do, because automatic names in a copy have other numbers, maybe in another
    order.

    Args:
        weight: A weight.
        depth: The index, from the model inwards, of the outermost layer that counts.
    """
    indices = []
    for outer, inner in itertools.pairwise(weight.layers[depth:]):
        indices.append(list_sublayers(outer, recursive=False).index(inner))
    return *indices, weight.path.rpartition("/")[2], weight.shape
