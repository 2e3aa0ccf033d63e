"""The settings of the loss and the optimizer of a model, as far as they are numbers and texts."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_initx.inspection._optimizers import scales_loss, unscaled
from keras_initx.tools.compare_outputs._reading import Settings, is_simple, labeled

# What a config has that says nothing about a step.
_LEFT_OUT = ("name", "is_legacy_optimizer")


def training_settings(model: keras.Model) -> Settings:
    """Return the settings of the loss and the optimizer of a compiled model.

    A config is the user's, and may lack anything.
    """
    found: dict[str, Any] = {}
    optimizer = model.optimizer
    if optimizer is not None:
        found["optimizer"] = type(unscaled(optimizer)).__name__
        found["optimizer: scales the loss"] = scales_loss(optimizer)
        found.update(_prefixed("optimizer", dict(_simple(_config_of(unscaled(optimizer))))))
    several = keras.tree.is_nested(model.loss)
    for place, loss in labeled(model.loss):
        name = f"loss of {place}" if several else "loss"
        if loss is not None:
            found[name] = _name_of(loss)
            found.update(_prefixed(name, _settings_of_loss(loss)))
    for place, weight in labeled(_loss_weights(model)):
        if weight is not None:
            found["weight of the loss" + (f" of {place}" if place else "")] = float(weight)
    return found


def _loss_weights(model: keras.Model) -> Any:
    """Return the weights of the losses, as `compile` got them."""
    try:
        config = model.get_compile_config()
    except Exception:  # it may have anything that is not serialized
        return None
    return (config or {}).get("loss_weights")


def _prefixed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}: {key}": value for key, value in settings.items()}


def _config_of(owner: Any) -> Mapping[str, Any]:
    try:
        config = owner.get_config()
    except Exception:  # it is the user's
        return {}
    return config if isinstance(config, Mapping) else {}


def _simple(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the settings in a config that are simple, with those in configs inside."""
    for name, value in config.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Mapping):
            for inner, part in _simple(value):
                yield f"{name}/{inner}", part
        elif name not in _LEFT_OUT and is_simple(value):
            yield name, value


def _name_of(loss: Any) -> str:
    """Return the name of a loss, in the form of functions for all forms."""
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss) and type(loss).__module__.startswith("keras."):
        return _with_underscores(type(loss).__name__)
    return str(getattr(loss, "__name__", type(loss).__name__))


def _with_underscores(name: str) -> str:
    text = ""
    for place, letter in enumerate(name):
        if place and letter.isupper() and not name[place - 1].isupper():
            text += "_"
        text += letter.lower()
    return text


def _settings_of_loss(loss: Any) -> dict[str, Any]:
    """Return the settings of a loss; a function has those of its arguments by default."""
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        return dict(_simple(_config_of(loss)))
    found = {"reduction": "sum_over_batch_size"}  # that of `compile`
    for name, parameter in inspect.signature(loss).parameters.items():
        if parameter.default is not parameter.empty and is_simple(parameter.default):
            found[name] = parameter.default
    return found
