"""Compile a network once for all trials of a process: only their weights differ.

A program is compiled for a model, and what the program does follows from the config of the model. So where the config
says everything, the trials train one copy of the model, each from the state that its own model was built with.
"""

import contextlib
import json
import types
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx.diagnostics._layers import automatic_name
from keras_initx.diagnostics._measure import keep_derivative
from keras_initx.studies import _state
from keras_initx.studies._seeds import isolated_rng
from keras_initx.studies._types import Model

# Their configs hold code or state of another framework.
_FOREIGN = (
    keras.layers.FlaxLayer,
    keras.layers.JaxLayer,
    keras.layers.TFSMLayer,
    keras.layers.TorchModuleWrapper,
)
# Copies by their programs, the last used one last. A copy that is in use is not in it.
_KEPT: dict[str, Model] = {}
_KEPT_AT_MOST = 2


class _UnknownError(Exception):
    """The config of a model does not say everything."""


@contextlib.contextmanager
def compiled_once(model: Model) -> Iterator[Model]:
    """Give a context with a model to train in place of `model`, which is then left as it is.

    It is a copy with the same weights and other state, and may have been compiled in an earlier context. After an
    exception in the context it is dropped. Where a copy may differ in what it computes, `model` itself is given.

    Args:
        model: A compiled model that has not been trained.
    """
    program = _program(model)
    copy = program and (_KEPT.pop(program, None) or _copy(program))
    if not (program and copy and _state.fits(model, copy)):
        yield model
        return
    _state.copy(model, copy)
    for own, other in zip(_layers(model), _layers(copy), strict=True):
        other.name = own.name  # The diagnosis names layers.
    yield copy
    _KEPT[program] = copy
    if len(_KEPT) > _KEPT_AT_MOST:
        del _KEPT[next(iter(_KEPT))]


@contextlib.contextmanager
def copies_dropped() -> Iterator[None]:
    """Free the memory of all copies in this process at the end of the context."""
    try:
        yield
    finally:
        with isolated_rng():  # Another thread may be training.
            _KEPT.clear()


def _program(model: Model) -> str | None:
    """Return the config of `model` for any weights and automatic names, `None` if it does not say everything."""
    # A strategy for several devices places variables by their paths.
    if keras.distribution.distribution() is not None:
        return None
    try:
        # An optimizer that is built may be one for all models.
        if not (model.built and model.compiled) or model.optimizer.built:
            return None
        if not all(map(_is_determined, (model, *_layers(model)))):
            return None
        return _describe(model)
    except Exception:  # Whatever a config cannot be made of.
        return None


def _copy(program: str) -> Model | None:
    """Return a new model of a program, `None` if it cannot be made."""
    try:
        copy: Model = keras.saving.deserialize_keras_object(json.loads(program)[0])
        # A config need not make again what was changed after its layer was made.
        if _describe(copy) != program:
            return None
    except Exception:  # A name may need a scope that is not open here.
        return None
    keep_derivative(copy)
    return copy


def _describe(model: Model) -> str:
    return json.dumps([_general(keras.saving.serialize_keras_object(model), model), _settings(model)])


def _layers(model: Model) -> list[Any]:
    # Not public, but the only list of all layers that there is on every backend.
    return list(model._flatten_layers())


def _is_determined(layer: Any) -> bool:
    """Return whether what `layer` computes follows from its config and its variables."""
    values = vars(layer).values()
    return (
        _is_of_keras(type(layer))
        and layer.built
        and not isinstance(layer, _FOREIGN)
        # What `adapt` has found is kept in tables or tensors; the states of a stateful layer are made with the data.
        and not hasattr(layer, "adapt")
        and not getattr(layer, "stateful", False)
        # TensorFlow takes variables for tensors.
        and not any(keras.ops.is_tensor(value) and not isinstance(value, keras.Variable) for value in values)
        # A function that is called `relu` has that name in the config, whosever it is.
        and all(_is_of_keras(value) for value in values if isinstance(value, types.FunctionType))
    )


def _is_of_keras(value: Any) -> bool:
    return str(value.__module__).partition(".")[0] == "keras"


def _settings(model: Model) -> list[Any]:
    """Return what decides how `model` is compiled besides its config."""
    return [
        *(model.run_eagerly, model.jit_compile, model.steps_per_execution),
        *(keras.config.floatx(), keras.config.epsilon(), keras.config.dtype_policy().name),
    ]


def _general(config: Any, model: Model) -> Any:
    """Return `config` with zeros for all initializers, and numbers of the parts for their automatic names.

    Raises:
        _UnknownError: If there is an object in it that is not of Keras, or a name that results are found by.
    """
    names: dict[str, str] = {}
    _find_names(config, names)
    for ends in ([tensor.name for tensor in model.inputs], getattr(model, "output_names", [])):
        # Data find several inputs by their names, and metrics are called after several outputs.
        if len(ends) > 1 and names.keys() & set(ends):
            raise _UnknownError
    return _without(config, names)


def _find_names(config: Any, names: dict[str, str]) -> None:
    """Collect the automatic names, which depend on what else was made in the process."""
    if isinstance(config, dict):
        inner = config.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(name, str) and automatic_name(name, config["class_name"]):
            names.setdefault(name, f"part{len(names)}")
    for value in _items(config):
        _find_names(value, names)


def _items(config: Any) -> list[Any]:
    if isinstance(config, dict):
        return list(config.values())
    return list(config) if isinstance(config, list | tuple) else []


def _without(config: Any, names: dict[str, str]) -> Any:
    if isinstance(config, dict):
        if not str(config.get("module", "keras")).startswith("keras"):
            raise _UnknownError
        return {
            key: "zeros" if key.endswith("initializer") and value is not None else _without(value, names)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [_without(value, names) for value in config]
    if isinstance(config, str) and config in keras.saving.get_custom_objects():
        raise _UnknownError
    return names.get(config, config) if isinstance(config, str) else config
