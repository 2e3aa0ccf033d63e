"""Read what a call does in the words of the table of settings.

A *component* is one thing that a call does. Most layers have one. A dense layer with an activation
has two, and a module of torch with two recurrent layers has three:

    nn.LSTM(8, 8, num_layers=2, dropout=0.1)  ->  LSTM, dropout with rate 0.1, LSTM
    Bidirectional(GRU(6))                     ->  GRU with 2 directions

The recorder keeps components, so a file of recorded outputs has all that another side needs.
"""

import contextlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_initx._keras import is_from_keras, is_made_to_train
from keras_initx.checkpoints._sources import is_torch_module
from keras_initx.inspection._names import list_own_weights, list_sublayers
from keras_initx.tools.compare_outputs._reading import is_simple, read_settings
from keras_initx.tools.compare_outputs._settings_table import (
    ACTIVATION,
    READ_THROUGH,
    SINGLE_VALUES,
    UNKNOWN,
    Kind,
    find_function_class,
    find_kind,
    find_reason,
    find_shared_scope,
    is_window_word,
    make_activation_settings,
)

DROPOUT = "dropout"
ATTENTION = "attention"
RECURRENT = ("LSTM", "GRU", "simple RNN")
_MISSING = object()
_ATTENTION_FUNCTION = "scaled_dot_product_attention"


@dataclass(frozen=True)
class Component:
    """One thing that a call does.

    Attributes:
        kind: The name of its kind in the table, or its class if torch has no module for this layer
            of Keras. It is empty for a class in no row, whose settings are not known.
        class_name: The name of its class.
        settings: Its settings, by the words of the table.
        begin: For a function of torch in the code of a module: how many calls had ended before.
    """

    kind: str
    class_name: str
    settings: Mapping[str, Any]
    begin: int | None = None


def read_components(operation: Any) -> list[Component]:
    """Read the components of a layer, an operation or a module of torch."""
    try:
        if is_torch_module(operation):
            return _read_module(operation)
        if isinstance(operation, keras.Layer):
            return _read_layer(operation)
    except Exception:  # a class of a user may raise anything when its attributes are read
        return [Component("", type(operation).__name__, {})]
    kind, class_name = _find_class("keras", type(operation))
    if kind is None:
        return []  # code that computes, and no configured layer
    return [_make_component(kind, "keras", class_name, _ReadAttributes(operation))]


def _find_class(framework: str, cls: type) -> tuple[Kind | None, str]:
    """Find the kind of the first of the classes that a class inherits from, and its name there."""
    for base in cls.__mro__:
        is_own = is_from_keras(base) if framework == "keras" else _is_from_torch(base)
        kind = find_kind(framework, base.__name__) if is_own else None
        if kind is not None:
            return kind, base.__name__
    return None, cls.__name__


def _is_from_torch(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "torch"


class _ReadAttributes:
    """The arguments of an object that keeps them as attributes."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def get(self, name: str, missing: Any) -> Any:
        """Return the value of an argument."""
        return getattr(self._owner, name, missing)


def _make_component(kind: Kind, framework: str, class_name: str, arguments: Any) -> Component:
    """Make a component of a kind.

    Args:
        kind: The kind.
        framework: The framework of the class.
        class_name: The name of the class in the table.
        arguments: The arguments of its constructor, with a method `get`.
    """
    settings: dict[str, Any] = {}
    constants = kind.constants.get(class_name, {})
    for setting in kind.settings:
        source = setting.find_source(framework)
        value = _MISSING if source is None else arguments.get(source.argument, _MISSING)
        if setting.word in constants:
            settings[setting.word] = constants[setting.word]
        elif value is not _MISSING and source is not None:
            settings[setting.word] = _simplify(_convert(source.convert, value))
    for setting in kind.settings:
        settings.setdefault(setting.word, setting.neutral)
    for word, value in constants.items():
        settings.setdefault(word, value)
    rank = class_name[-2:-1]
    if rank.isdigit() and class_name[-1] in "dD":  # Conv2d, MaxPooling2D
        for word, value in settings.items():
            if is_window_word(word) and isinstance(value, int):
                settings[word] = [value] * int(rank)
    if framework == "keras" and any(map(is_window_word, settings)):
        layout = arguments.get("data_format", None)
        settings["data_format"] = layout or keras.config.image_data_format()
    return Component(kind.name, class_name, _normalize_activation(settings))


def _convert(convert: Callable[[Any], Any], value: Any) -> Any:
    # A subclass of a user may keep anything in an attribute of this name.
    try:
        return convert(value)
    except Exception:
        return UNKNOWN


def _simplify(value: Any) -> Any:
    """Simplify a value so that it can be compared, and kept in a file."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [_simplify(item) for item in value]
    if is_simple(value):
        return value
    if isinstance(value, Mapping) and "class_name" in value:  # an object in a config of Keras
        return _describe_object(str(value["class_name"]), value.get("config"))
    if callable(value) and getattr(keras.activations, _name(value), None) is value:
        return _name(value)
    if hasattr(value, "get_config"):
        with contextlib.suppress(Exception):
            return _describe_object(type(value).__name__, value.get_config())
    return UNKNOWN


def _describe_object(class_name: str, config: Any) -> str:
    # MaxNorm(max_value=50.0, axis=0)
    items = config.items() if isinstance(config, Mapping) else ()
    shown = [f"{key}={value}" for key, value in items if value is not None and is_simple(value)]
    return f"{class_name}({', '.join(shown)})"


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _normalize_activation(settings: dict[str, Any]) -> dict[str, Any]:
    # `Hardtanh(0, 6)` is a ReLU with a largest value.
    if settings.get(ACTIVATION) == "hard_tanh" and settings["min_value"] == 0:
        return make_activation_settings("relu") | {"max_value": settings["max_value"]}
    return settings


def _read_module(module: Any) -> list[Component]:
    kind, class_name = _find_class("torch", type(module))
    if kind is None:
        return _read_unknown(module, is_own=_is_from_torch(type(module)), framework="torch")
    component = _make_component(kind, "torch", class_name, _ReadAttributes(module))
    if kind.name in RECURRENT:
        components = []
        for number in range(getattr(module, "num_layers", 1)):
            if number:
                components.append(_make_dropout(class_name, module.dropout))
            components.append(replace(component))
        return components
    if kind.name == ATTENTION:
        return [component, _make_dropout(class_name, module.dropout)]
    return [component]


def _make_dropout(class_name: str, rate: Any) -> Component:
    # That of a layer that does more.
    return Component(DROPOUT, class_name, {"rate": rate, "noise_shape": SINGLE_VALUES})


def _read_unknown(operation: Any, *, is_own: bool, framework: str) -> list[Component]:
    """Read a class in no row: its settings are not known, if it has any.

    Args:
        operation: The layer or module.
        is_own: Whether the framework has this class itself.
        framework: The framework.
    """
    if is_own and type(operation).__name__ in READ_THROUGH[framework]:
        return []
    attributes = dict(read_settings(operation))
    attributes.pop("supports_masking", None)
    if not attributes:
        return []
    return [Component("", type(operation).__name__, {})]


def _read_layer(layer: keras.Layer) -> list[Component]:
    if isinstance(layer, keras.layers.Bidirectional):
        return _read_bidirectional(layer)
    if isinstance(layer, keras.layers.Wrapper):
        return _read_layer(layer.layer)
    kind, class_name = _find_class("keras", type(layer))
    cell = getattr(layer, "cell", None)
    if kind is None and isinstance(layer, keras.layers.RNN) and isinstance(cell, keras.Layer):
        components = []
        for inner_cell in getattr(cell, "cells", [cell]):
            for component in _read_layer(inner_cell):
                settings = {**component.settings, "go_backwards": layer.go_backwards}
                components.append(replace(component, settings=settings))
        return components
    arguments = _read_arguments(layer)
    if kind is None:
        return [*_read_layer_alone(layer, arguments), *_read_activation(layer)]
    component = _make_component(kind, "keras", class_name, arguments)
    settings = {**component.settings, **_read_shared_settings(arguments)}
    component = replace(component, settings=settings)
    if kind.name in RECURRENT:
        return [component]
    if kind.name == ATTENTION:
        return [component, _make_dropout(class_name, arguments.get("dropout", UNKNOWN))]
    return [component, *_read_activation(layer)]


def _read_bidirectional(layer: keras.layers.Bidirectional) -> list[Component]:
    """Read both directions as one component. Settings that differ are lists."""
    components = []
    backwards = _read_layer(layer.backward_layer)
    for forward, backward in zip(_read_layer(layer.forward_layer), backwards, strict=False):
        settings = dict(forward.settings)
        for word, value in forward.settings.items():
            other = backward.settings.get(word)
            if word != "go_backwards" and other != value:
                settings[word] = [value, other]
        settings |= {"directions": 2, "merge_mode": layer.merge_mode, "go_backwards": False}
        components.append(replace(forward, settings=settings))
    return components


def _read_arguments(layer: keras.Layer) -> dict[str, Any]:
    """Read the arguments of a layer: its config, which has what Keras keeps private.

    A layer with a function of a user may have no config. Then its attributes are read.
    """
    arguments: dict[str, Any] = {}
    for base in type(layer).__mro__:
        if issubclass(base, keras.Layer) and is_from_keras(base):
            for name in inspect.signature(base).parameters:
                value = getattr(layer, name, _MISSING)
                if value is not _MISSING:
                    arguments.setdefault(name, value)
    # Keras warns of a function without a name, which is not read.
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments |= layer.get_config()
    return arguments


def _read_shared_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    shared = {}
    for name, value in arguments.items():
        if find_shared_scope(name) is not None and value is not None:
            shared[name] = _simplify(value)
    return shared


def _read_layer_alone(layer: keras.Layer, arguments: Mapping[str, Any]) -> list[Component]:
    """Read a layer that is in no row: all its settings if it is of Keras."""
    if not is_from_keras(type(layer)) or isinstance(layer, keras.Model):
        is_own = is_from_keras(type(layer))
        return [] if is_own else _read_unknown(layer, is_own=False, framework="keras")
    class_name = type(layer).__name__
    if class_name in READ_THROUGH["keras"]:
        return []
    settings = _read_shared_settings(arguments)
    for name, value in arguments.items():
        if not find_reason(None, name) and _simplify(value) != UNKNOWN:
            settings[name] = _simplify(value)
    return [Component(class_name, class_name, settings)]


def _read_activation(layer: keras.Layer) -> list[Component]:
    """Read the function that a layer applies at its end. A layer in its place has its own call."""
    function = getattr(layer, ACTIVATION, None)
    if not callable(function) or isinstance(function, keras.Layer):
        return []
    if function is keras.activations.linear or not is_from_keras(function):
        return []  # nobody knows what a function of a user does
    name = _name(function)
    if not hasattr(keras.activations, name):
        return []
    settings = make_activation_settings(name)
    if name == "gelu" and function is not keras.activations.gelu:
        settings["GELU"] = "by tanh"  # the default of `keras.ops.gelu`
    return [Component(ACTIVATION, name, settings)]


def read_trained(operation: Any, components: Sequence[Component]) -> dict[str, bool]:
    """Read which weights of a layer or a module are trained, by their names.

    Weights inside of it count if its own class has a row, such as those of a cell.
    """
    has_row = any(component.kind for component in components)
    if is_torch_module(operation):
        parameters = operation.named_parameters(recurse=has_row)
        return {name: parameter.requires_grad for name, parameter in parameters}
    if not isinstance(operation, keras.Layer):
        return {}
    trained = {}
    for owner in (operation, *(list_sublayers(operation) if has_row else ())):
        prefix = "" if owner is operation else f"{owner.name}/"
        for variable in list_own_weights(owner):
            if is_made_to_train(owner, variable):
                trained[f"{prefix}{variable.name}"] = bool(variable.trainable)
    return trained


@contextlib.contextmanager
def watch_functions(receive: Callable[[Component], None]) -> Iterator[None]:
    """Pass on each function of torch that is in the table, for the time of the block.

    A module may call `torch.nn.functional.dropout` in place of a module, also in inference.

    Args:
        receive: Gets the component of each function.
    """
    torch = sys.modules["torch"]

    class Mode(torch.overrides.TorchFunctionMode):  # type: ignore[name-defined]
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            component = _read_function(function, args, kwargs or {})
            if component is not None:
                receive(component)
            return function(*args, **(kwargs or {}))

    with Mode():
        yield


def _read_function(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Component | None:
    name = getattr(function, "__name__", "")
    if name == _ATTENTION_FUNCTION:
        # In inference a module passes 0, whatever it passes in training.
        return _make_dropout(name, kwargs.get("dropout_p") or UNKNOWN)
    class_name = find_function_class(name)
    if class_name is None:
        return None
    module_class = getattr(sys.modules["torch"].nn, class_name)
    names = list(inspect.signature(module_class.__init__).parameters)[1:]
    passed = dict(zip(names, args[1:], strict=False))
    # A builtin function has no signature; its arguments have the order of the module's.
    with contextlib.suppress(TypeError, ValueError):
        passed = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    options = {}
    for argument, value in {**passed, **kwargs}.items():
        # A pooling passes an empty list for no stride.
        if argument in names and value is not None and value != []:
            options[argument] = value
    try:
        components = _read_module(module_class(**options))
    except Exception:  # of a constructor that refuses what the function takes
        return None
    return replace(components[0], class_name=name)
