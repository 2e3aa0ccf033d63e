"""Build a model by a call that changes no generator, counter, moving average or other state."""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import keras

from keras_initx._keras import list_layers, observe_assignments, preserve_losses
from keras_initx.backends._attributes import KeptAttributes, preserve_attributes
from keras_initx.backends._current import backend
from keras_initx.inspection._former_values import FormerValues
from keras_initx.inspection._hooks import HOOKS, replace_attribute

_Result = TypeVar("_Result")

# By model, the layers that no call of it has built.
_UNUSED: weakref.WeakKeyDictionary[keras.Model, weakref.WeakSet[keras.Layer]] = (
    weakref.WeakKeyDictionary()
)


def ensure_built(model: keras.Model, x: Any) -> None:
    """Build the layers of `model` that it calls, if any has no weights yet. Nothing else changes.

    Args:
        model: A Keras model.
        x: Its inputs, as tensors.
    """
    # `fit` builds in inference mode, so this comes first. Some layers are called in training mode
    # only.
    for training in (False, True):
        unused = _UNUSED.get(model, ())
        if all(layer.built or layer in unused for layer in list_layers(model)):
            return
        _build(model, x, training)
    _UNUSED[model] = weakref.WeakSet(layer for layer in list_layers(model) if not layer.built)


class _UnbuiltLayerError(Exception):
    """Raised if a model calls a layer that it did not call before."""


def run_with_built_layers(model: keras.Model, x: Any, function: Callable[[], _Result]) -> _Result:
    """Call a function that calls `model`, after all layers that it calls are built.

    Args:
        model: A Keras model.
        x: Its inputs, as tensors.
        function: The function. It may be called twice, and must put back what it changes.
    """
    ensure_built(model, x)
    try:
        with _refuse_builds(model):
            return function()
    except _UnbuiltLayerError:
        # A layer that was not used before is used now. It is not to be built within `function`.
        _UNUSED.pop(model, None)
    ensure_built(model, x)
    return function()


@contextlib.contextmanager
def _refuse_builds(model: keras.Model) -> Iterator[None]:
    """Raise `_UnbuiltLayerError` if a layer of `model` is built during the block."""

    def make_refusal(layer: keras.Layer) -> Callable[..., None]:
        @functools.wraps(layer.build)
        def build(*args: Any, **kwargs: Any) -> None:
            raise _UnbuiltLayerError(layer.name)

        return build

    with HOOKS, contextlib.ExitStack() as stack:
        for layer in list_layers(model):
            if not layer.built:
                stack.enter_context(replace_attribute(layer, "build", make_refusal(layer)))
        yield


def _build(model: keras.Model, x: Any, training: bool) -> None:
    """Call `model`, and put back everything that the call has changed. New variables stay."""
    former = FormerValues()
    known = {id(variable) for variable in model.variables}
    put_back_generators = backend.kept_generators()
    layers = list_layers(model)
    try:
        with (
            HOOKS,
            observe_assignments(former.add),
            preserve_losses(model),
            preserve_attributes(layers) as kept,
            backend.preserve_foreign_state(layers),
            _keep_attributes_of_builds(layers, kept),
        ):
            model(x, training=training)
    finally:
        former.put_back()
        # Otherwise the seeds of the new variables would be drawn again, for other variables.
        if known.issuperset(id(variable) for variable in model.variables):
            put_back_generators()


@contextlib.contextmanager
def _keep_attributes_of_builds(
    layers: Sequence[keras.Layer], kept: KeptAttributes
) -> Iterator[None]:
    """Keep the attributes that layers have after their `build`, and put back no older ones."""

    def wrap_build(layer: keras.Layer) -> Callable[..., None]:
        build = layer.build

        @functools.wraps(build)
        def build_and_keep(*args: Any, **kwargs: Any) -> None:
            build(*args, **kwargs)
            kept.keep(list_layers(layer))

        return build_and_keep

    with contextlib.ExitStack() as stack:
        for layer in layers:
            if not layer.built:
                stack.enter_context(replace_attribute(layer, "build", wrap_build(layer)))
        yield
