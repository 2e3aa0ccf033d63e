"""Compile a network once and reuse it for all trials of a process, which differ in weights only."""

import contextlib
import hashlib
import io
import json
import types
from collections.abc import Collection, Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._keras import compiled_metrics, is_of_keras, layers_of
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.models import used_optimizers_of
from keras_initx.structure import automatic_name
from keras_initx.studies._fingerprint import name_of
from keras_initx.studies._records import Data

# Their configs contain code or state of another framework.
_FOREIGN = (
    keras.layers.FlaxLayer,
    keras.layers.JaxLayer,
    keras.layers.TFSMLayer,
    keras.layers.TorchModuleWrapper,
)
# What may have methods, settings and parts of its own that the user replaced.
_PARTS = (
    keras.Operation,
    keras.Optimizer,
    keras.Loss,
    keras.Metric,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.dtype_policies.DTypePolicy,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.random.SeedGenerator,
)

# Copies by the keys of their programs, most recently used last. Copies in use are not included.
_KEPT: dict[str, keras.Model] = {}
_KEPT_AT_MOST = 2


@contextlib.contextmanager
def compiled_once(model: keras.Model, data: Data) -> Iterator[keras.Model]:
    """Yield what to train in place of `model`, which is then left unchanged.

    It is a copy with the same weights and state, which may have been compiled in an earlier
    context. After an exception in the context the copy is dropped. If a copy might compute
    something else, `model` itself is yielded, and only what is not trained is as before afterward.

    Args:
        model: A compiled model that has not been trained.
        data: What it is to be trained with, which may name its inputs and outputs.
    """
    copy = None
    program = _program(model, data)
    if program is not None:
        key = _key(program)
        copy = _KEPT.pop(key, None)
        if copy is None:
            copy = _copy(program)
    if copy is None or not _have_same_variables(model, copy):
        with _restored_afterward(model):
            yield model
        return
    for source, target in zip(_variables(model), _variables(copy), strict=True):
        # Through the host: with JAX both would share memory, which training overwrites.
        target.assign(_array(source))
    for layer, layer_of_copy in zip(layers_of(model), layers_of(copy), strict=True):
        layer_of_copy.name = layer.name  # The diagnosis reports layer names.
    yield copy
    _KEPT[key] = copy
    if len(_KEPT) > _KEPT_AT_MOST:
        least_recently_used = next(iter(_KEPT))
        del _KEPT[least_recently_used]


def _have_same_variables(model: keras.Model, copy: keras.Model) -> bool:
    """Return whether the variables of a model and its copy differ in their values only."""
    kinds = [_kind(variable) for variable in _variables(model)]
    return kinds == [_kind(variable) for variable in _variables(copy)]


def _kind(variable: Any) -> tuple[Any, ...]:
    """Return what the training of a variable depends on, but for its value."""
    regularizer = keras.saving.serialize_keras_object(variable.regularizer)
    constraint = keras.saving.serialize_keras_object(variable.constraint)
    return tuple(variable.shape), variable.dtype, variable.trainable, regularizer, constraint


@contextlib.contextmanager
def _restored_afterward(model: keras.Model) -> Iterator[None]:
    """Restore what is not trained in `model` at the end of the context.

    Parts that `build` did not make, such as augmentation, then begin each trial in the same state.
    """
    variables = [*model.non_trainable_variables, *backend.buffers(layers_of(model))]
    values = [_array(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


@contextlib.contextmanager
def copies_dropped() -> Iterator[None]:
    """Drop all copies in this process at the end of the context."""
    try:
        yield
    finally:
        with backend.generators_preserved():  # Another thread may be training.
            _KEPT.clear()


def _program(model: keras.Model, data: Data) -> str | None:
    """Return a description of `model` from which a copy can be made, without its weights.

    It is the config, without automatic names of layers, or `None` if that is not complete.
    """
    # A distribution places variables by their paths.
    if keras.distribution.distribution() is not None:
        return None
    try:
        # A built optimizer may be shared between models.
        if not (model.built and model.compiled) or model.optimizer.built:
            return None
        if not all(_is_determined(layer) for layer in (model, *layers_of(model))):
            return None
        if not all(_has_complete_config(part) for part in _compiled_with(model)):
            return None
        return _describe(model, _names_in(data))
    except Exception:  # The config cannot be serialized.
        return None


def _is_determined(layer: Any) -> bool:
    """Return whether the computation of `layer` is determined by its config and its variables."""
    if not is_of_keras(type(layer)) or isinstance(layer, _FOREIGN):
        return False
    if not layer.built:
        return False
    # `adapt` stores its results in tables or tensors; a stateful layer creates its states with the
    # data.
    if hasattr(layer, "adapt") or getattr(layer, "stateful", False):
        return False
    for value in vars(layer).values():
        # TensorFlow counts variables as tensors.
        if keras.ops.is_tensor(value) and not isinstance(value, keras.Variable):
            return False
    return True


def _compiled_with(model: keras.Model) -> list[Any]:
    """Return the optimizer, losses and metrics of a compiled model, those that are objects."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    parts = [optimizer, *keras.tree.flatten(model.loss), *compiled_metrics(model)]
    kinds = keras.optimizers.Optimizer | keras.Loss | keras.Metric
    return [part for part in parts if isinstance(part, kinds)]


def _has_complete_config(part: Any) -> bool:
    """Return whether the config has all settings.

    It lacks the `delta` of `Huber`, and what has no weight decay.
    """
    same_config = type(part).from_config(part.get_config())
    return _plain_attributes(part) == _plain_attributes(same_config)


def _plain_attributes(part: Any) -> dict[str, Any]:
    """Return the attributes that consist of numbers and strings."""
    found = {}
    for name, value in vars(part).items():
        leaves = keras.tree.flatten(value)
        if all(isinstance(leaf, bool | int | float | str | None) for leaf in leaves):
            found[name] = value
    return found


def _names_in(data: Data) -> set[str]:
    """Return the names of inputs and outputs in dicts of arrays."""
    names: set[str] = set()
    for path, _ in keras.tree.flatten_with_path(data):
        names.update(name for name in path if isinstance(name, str))
    return names


def _describe(model: keras.Model, names_in_data: Collection[str] = ()) -> str:
    """Return a program: the config of `model`, that of its metrics, and other settings.

    The settings are those that determine how the model is compiled but are in no config.

    Raises:
        ValueError: If it contains an object that is not from Keras, or an automatic name that data,
            losses or metrics refer to.
    """
    config = keras.saving.serialize_keras_object(model)
    compile_config = config["compile_config"]
    referred_to = {*names_in_data, *_names_of_outputs(model, compile_config)}
    # With their names, which are those of the results.
    metrics = {name: compile_config.pop(name) for name in ("metrics", "weighted_metrics")}
    config = _generalized(config, {})  # The generators in initializers have automatic names too.
    names = _numbered_names(config)
    if names.keys() & referred_to:
        raise ValueError
    described = [_generalized(config, names), _generalized(metrics, {}), _settings(model)]
    return json.dumps(described)


def _names_of_outputs(model: keras.Model, compile_config: dict[str, Any]) -> set[str]:
    """Return the names by which losses, metrics and results may refer to inputs and outputs."""
    names: set[str] = set()
    for value in compile_config.values():
        if isinstance(value, dict):
            names.update(value)
    inputs = [tensor.name for tensor in model.inputs]
    outputs = getattr(model, "output_names", [])
    for ends in (inputs, outputs):
        if len(ends) > 1:
            names.update(ends)
    return names


def _settings(model: keras.Model) -> list[Any]:
    """Return what determines how a model is compiled but is in no config."""
    settings: list[Any] = []
    digests: dict[int, str] = {}
    for part in (model, *model.trainable_variables, *model.non_trainable_variables):
        settings.append(_attributes(part, digests))
    settings += [model.run_eagerly, model.jit_compile, model.steps_per_execution]
    settings += [keras.config.floatx(), keras.config.epsilon(), keras.config.dtype_policy().name]
    for layer in layers_of(model):
        settings.append(layer.supports_masking)  # a property
    return settings


def _attributes(part: Any, known: dict[int, str]) -> str:
    """Return a digest of what `part` and its parts keep in attributes, that a config need not say.

    That is the kind of everything that a user may have put there, such as a function in place of a
    method, and the public numbers. A model and its copy have the same, unless something was changed
    after it was made.

    Args:
        part: A model, or a part of one.
        known: The digests of the parts that were seen before, by their ids. Those of others are
            added.
    """
    if id(part) in known:
        return known[id(part)]
    described: list[Any] = [_kind_of_object(part)]
    for name, value in sorted(vars(part).items()):
        kinds = set()
        for item in _items(value):
            if isinstance(item, _PARTS):
                kinds.add(_attributes(item, known))
            elif _may_be_of_the_user(item):
                kinds.add(_kind_of_object(item))
        if kinds:
            described.append([name, *sorted(kinds)])
        # An optimizer is built with the copy, and for the model later.
        elif isinstance(value, int | float) and not name.startswith("_") and name != "built":
            described.append([name, value])
    known[id(part)] = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    return known[id(part)]


def _may_be_of_the_user(item: Any) -> bool:
    """Return whether an item of an attribute may determine computations and is not Keras' own."""
    if isinstance(item, _PLAIN):
        return False
    return callable(item) or not is_of_keras(type(item))


# Variables and initializers of a model and its copy differ, and numbers and names need not be
# equal.
_PLAIN = (
    keras.Variable,
    keras.initializers.Initializer,
    bool,
    int,
    float,
    str,
    bytes,
    types.NoneType,
)


def _items(value: Any) -> Iterator[Any]:
    """Yield `value`, or what is in it if it is a container."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _items(item)
    else:
        yield value


def _kind_of_object(value: Any) -> str:
    """Return the name of a function and the place of its code, or the class of another object."""
    function = getattr(value, "__func__", value)  # of a method
    code = getattr(function, "__code__", None)
    if code is None:
        return name_of(function)
    # A function may have been given the name of another one.
    return f"{name_of(function)} {code.co_filename}:{code.co_firstlineno}"


def _key(program: str) -> str:
    """Return a program without the automatic names of metrics.

    They differ between models of one program.
    """
    config, metrics, settings = json.loads(program)
    return json.dumps([config, _generalized(metrics, _numbered_names(metrics)), settings])


def _numbered_names(config: Any) -> dict[str, str]:
    """Return new names by the automatic names in `config`.

    The automatic ones depend on other objects in the process.
    """
    names: dict[str, str] = {}
    for name in _automatic_names(config):
        if name not in names:
            names[name] = f"part{len(names)}"
    return names


def _automatic_names(config: Any) -> Iterator[str]:
    """Yield the automatic names of objects in `config`, in their order."""
    if isinstance(config, dict):
        name = None
        arguments = config.get("config")
        if isinstance(arguments, dict):
            name = arguments.get("name")
        if isinstance(name, str) and automatic_name(name, config["class_name"]):
            yield name
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from _automatic_names(value)


def _generalized(config: Any, names: dict[str, str]) -> Any:
    """Return `config` with zeros in place of all initializers, and with other `names`.

    Raises:
        ValueError: If it contains an object that is not from Keras.
    """
    if isinstance(config, dict):
        if not str(config.get("module", "keras")).startswith("keras"):
            raise ValueError
        generalized = {}
        for key, value in config.items():
            is_initializer = key.endswith("initializer") and value is not None
            generalized[key] = "zeros" if is_initializer else _generalized(value, names)
        return generalized
    if isinstance(config, list | tuple):
        return [_generalized(value, names) for value in config]
    if not isinstance(config, str):
        return config
    if config in keras.saving.get_custom_objects():
        raise ValueError
    return names.get(config, config)


def _copy(program: str) -> keras.Model | None:
    """Return a new model from a program, or `None` if that is not possible."""
    try:
        config, metrics, _ = json.loads(program)
        config["compile_config"] |= metrics
        copy: keras.Model = keras.saving.deserialize_keras_object(config)
        # The config may miss changes that were made after a layer was created.
        if _describe(copy) != program:
            return None
    except Exception:  # A name may need a scope that is not open here.
        return None
    return copy


def state_of(model: keras.Model) -> bytes:
    """Return the state of training of a compiled `model`."""
    content = io.BytesIO()
    np.savez(content, *map(_array, _variables(model)))
    return content.getvalue()


def restore_state(model: keras.Model, state: bytes) -> None:
    """Restore a state of training into a freshly built `model`.

    Raises:
        ValueError: If training has made variables that `model` does not have yet.
    """
    variables = _variables(model)
    with np.load(io.BytesIO(state)) as arrays:
        if len(arrays.files) != len(variables):
            raise ValueError(
                "`build` must return a model that has all variables of training, those of every "
                "optimizer too: call the `build` of its optimizers. Received: "
                f"{len(variables)} of {len(arrays.files)} variables"
            )
        for variable, name in zip(variables, arrays.files, strict=True):
            variable.assign(arrays[name])


def _variables(model: keras.Model) -> list[Any]:
    """Return all variables of training: of the model, its optimizers, and the modules of torch."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    for optimizer in used_optimizers_of(model):
        variables += optimizer.variables
    return [*variables, *backend.buffers(layers_of(model))]


def _array(variable: Any) -> Array:
    """Return a copy of the values of a variable."""
    array: Array = np.array(backend.host_view(variable.value))
    if array.dtype.isbuiltin != 1:  # bfloat16 and float8, which NumPy files do not support
        return array.astype("float32")
    return array
