"""Compile a network once and reuse it for all trials of a process, which differ only in their weights."""

import contextlib
import hashlib
import io
import json
import types
from collections.abc import Collection, Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._keras import compiled_metrics, layers_of
from keras_initx._seeds import isolated_rng
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.diagnostics import keep_gradient_norms
from keras_initx.models import optimizers_of
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
    *(keras.Operation, keras.Optimizer, keras.Loss, keras.Metric),
    *(
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
        keras.dtype_policies.DTypePolicy,
    ),
    *(keras.optimizers.schedules.LearningRateSchedule, keras.random.SeedGenerator),
)
# Copies by the keys of their programs, most recently used last. Copies in use are not included.
_KEPT: dict[str, keras.Model] = {}
_KEPT_AT_MOST = 2


@contextlib.contextmanager
def compiled_once(model: keras.Model, data: Data) -> Iterator[keras.Model]:
    """Yield a model to train in place of `model`, which is then left unchanged.

    It is a copy with the same weights and state, which may have been compiled in an earlier
    context. After an exception in the context the copy is dropped. If a copy might compute
    something else, `model` itself is yielded, and only what is not trained is as before afterward.

    Args:
        model: A compiled model that has not been trained.
        data: What it is to be trained with, which may name its inputs and outputs.
    """
    copy = None
    if program := _program(model, data):
        key = _key(program)
        copy = _KEPT.pop(key, None) or _copy(program)
    # Variables of which only the values differ.
    if copy is None or list(map(_kind, _variables(model))) != list(map(_kind, _variables(copy))):
        # Parts that `build` did not make, such as augmentation, begin each trial in the same state.
        kept = [*model.non_trainable_variables, *backend.buffers(layers_of(model))]
        states = [(variable, _array(variable)) for variable in kept]
        try:
            yield model
        finally:
            for variable, value in states:
                variable.assign(value)
        return
    for source, target in zip(_variables(model), _variables(copy), strict=True):
        # Through the host: with JAX both would share memory, which training overwrites.
        target.assign(_array(source))
    for own, other in zip(layers_of(model), layers_of(copy), strict=True):
        other.name = own.name  # The diagnosis reports layer names.
    yield copy
    _KEPT[key] = copy
    if len(_KEPT) > _KEPT_AT_MOST:
        del _KEPT[next(iter(_KEPT))]


@contextlib.contextmanager
def copies_dropped() -> Iterator[None]:
    """Drop all copies in this process at the end of the context."""
    try:
        yield
    finally:
        with isolated_rng():  # Another thread may be training.
            _KEPT.clear()


def _program(model: keras.Model, data: Data) -> str | None:
    """Return the config of `model` without weights and automatic names of layers, or `None` if it is not complete."""
    # A distribution places variables by their paths.
    if keras.distribution.distribution() is not None:
        return None
    try:
        # A built optimizer may be shared between models.
        if not (model.built and model.compiled) or model.optimizer.built:
            return None
        layers = all(map(_is_determined, (model, *layers_of(model))))
        named = {
            name
            for path, _ in keras.tree.flatten_with_path(data)
            for name in path
            if isinstance(name, str)
        }
        return (
            _describe(model, named)
            if layers and all(map(_has_complete_config, _compiled_with(model)))
            else None
        )
    except Exception:  # The config cannot be serialized.
        return None


def _is_determined(layer: Any) -> bool:
    """Return whether the computation of `layer` is determined by its config and its variables."""
    values = vars(layer).values()
    return (
        is_of_keras(type(layer))
        and layer.built
        and not isinstance(layer, _FOREIGN)
        # `adapt` stores its results in tables or tensors; a stateful layer creates its states with
        # the data.
        and not hasattr(layer, "adapt")
        and not getattr(layer, "stateful", False)
        # TensorFlow counts variables as tensors.
        and not any(
            keras.ops.is_tensor(value) and not isinstance(value, keras.Variable) for value in values
        )
    )


def _compiled_with(model: keras.Model) -> list[Any]:
    """Return the optimizer, losses and metrics of a compiled model, those that are objects."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    parts = [optimizer, *keras.tree.flatten(model.loss), *compiled_metrics(model)]
    return [
        part
        for part in parts
        if isinstance(part, keras.optimizers.Optimizer | keras.Loss | keras.Metric)
    ]


def _has_complete_config(part: Any) -> bool:
    """Return whether the config has all settings. It lacks the `delta` of `Huber`, and what has no weight decay."""
    return _settings(part) == _settings(type(part).from_config(part.get_config()))


def _settings(part: Any) -> dict[str, Any]:
    def is_plain(value: Any) -> bool:
        return all(
            isinstance(leaf, bool | int | float | str | None) for leaf in keras.tree.flatten(value)
        )

    return {name: value for name, value in vars(part).items() if is_plain(value)}


def is_of_keras(value: Any) -> bool:
    """Return whether a class or a function is from Keras."""
    return str(value.__module__).partition(".")[0] == "keras"


def _describe(model: keras.Model, named: Collection[str] = ()) -> str:
    """Return the config of `model`, that of its metrics, and the other settings that determine how it is compiled.

    Raises:
        ValueError: If it contains an object that is not from Keras, or an automatic name that data
            (those `named`), losses or metrics refer to.
    """
    config = keras.saving.serialize_keras_object(model)
    named = {
        *named,
        *(
            name
            for value in config["compile_config"].values()
            if isinstance(value, dict)
            for name in value
        ),
    }
    # With their names, which are those of the results.
    metrics = {name: config["compile_config"].pop(name) for name in ("metrics", "weighted_metrics")}
    config = _generalized(config, {})  # The generators in initializers have automatic names too.
    names = _numbered_names(config)
    for ends in ([tensor.name for tensor in model.inputs], getattr(model, "output_names", [])):
        if len(ends) > 1:  # which results are named after
            named.update(ends)
    if names.keys() & named:
        raise ValueError
    known: dict[int, str] = {}
    settings = [
        *(
            _attributes(part, known)
            for part in (model, *model.trainable_variables, *model.non_trainable_variables)
        ),
        *(model.run_eagerly, model.jit_compile, model.steps_per_execution),
        *(keras.config.floatx(), keras.config.epsilon(), keras.config.dtype_policy().name),
        *(layer.supports_masking for layer in layers_of(model)),  # a property, not in the config
    ]
    return json.dumps([_generalized(config, names), _generalized(metrics, {}), settings])


def _attributes(part: Any, known: dict[int, str]) -> str:
    """Return a digest of what `part` and the parts within it keep in attributes, that a config need not say.

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
            # What else Keras keeps, it keeps for itself.
            elif not isinstance(item, _PLAIN) and (callable(item) or not is_of_keras(type(item))):
                kinds.add(_kind_of_object(item))
        if kinds:
            described.append([name, *sorted(kinds)])
        # An optimizer is built with the copy, and for the model later.
        elif isinstance(value, int | float) and not name.startswith("_") and name != "built":
            described.append([name, value])
    known[id(part)] = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    return known[id(part)]


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
    """Return the name of a function and the place of its code, or the name of the class of another object."""
    function = getattr(value, "__func__", value)  # of a method
    code = getattr(function, "__code__", None)
    # A function may have been given the name of another one.
    place = "" if code is None else f" {code.co_filename}:{code.co_firstlineno}"
    return name_of(function) + place


def _key(program: str) -> str:
    """Return a program without the automatic names of metrics, which differ between models of one program."""
    config, metrics, settings = json.loads(program)
    return json.dumps([config, _generalized(metrics, _numbered_names(metrics)), settings])


def _numbered_names(config: Any) -> dict[str, str]:
    """Return numbered names by the automatic names in `config`, which depend on other objects in the process."""
    return {name: f"part{i}" for i, name in enumerate(dict.fromkeys(_automatic_names(config)))}


def _automatic_names(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        inner = config.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
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
        return {
            key: "zeros"
            if key.endswith("initializer") and value is not None
            else _generalized(value, names)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [_generalized(value, names) for value in config]
    if isinstance(config, str) and config in keras.saving.get_custom_objects():
        raise ValueError
    return names.get(config, config) if isinstance(config, str) else config


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
    keep_gradient_norms(copy)
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
                "`build` must return a model that has all variables of training, those of every optimizer too: call "
                f"the `build` of its optimizers. Received: {len(variables)} of {len(arrays.files)} variables"
            )
        for variable, name in zip(variables, arrays.files, strict=True):
            variable.assign(arrays[name])


def _variables(model: keras.Model) -> list[Any]:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    optimizers = (
        variable for optimizer in optimizers_of(model) for variable in optimizer.variables
    )
    buffers = backend.buffers(layers_of(model))
    return [*model.trainable_variables, *model.non_trainable_variables, *optimizers, *buffers]


def _kind(variable: Any) -> tuple[Any, ...]:
    serialized = map(
        keras.saving.serialize_keras_object, (variable.regularizer, variable.constraint)
    )
    return tuple(variable.shape), variable.dtype, variable.trainable, *serialized


def _array(variable: Any) -> Array:
    array: Array = keras.ops.convert_to_numpy(variable.value)
    return (
        array.astype("float32") if array.dtype.name == "bfloat16" else array
    )  # which NumPy files do not support
