"""Read and compare the settings of the loss and the optimizer of a model.

Settings that cannot be read are listed. Settings are texts and numbers by their names:
`{"optimizer": "SGD", "optimizer: momentum": 0.9, "loss": "mean_squared_error"}`.
"""

import contextlib
import hashlib
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._keras import (
    is_from_keras,
    read_loss_arguments,
    read_loss_weights,
    read_schedule,
    replace_rate,
)
from keras_initx.inspection._optimizers import has_one_rate, scales_loss, unwrap_optimizer
from keras_initx.tools.compare_outputs._reading import (
    Settings,
    is_simple,
    label_members,
    read_values,
)
from keras_initx.tools.compare_outputs._recorded_step import RecordedStep

# Entries of a config that do not decide what a step does.
_LEFT_OUT = ("name", "is_legacy_optimizer")
_WEIGHT = "weight of the loss"
# A long text, for example the code of a function, which also depends on the version of Python.
_TEXT = "long text"
# Settings that change the rounding of gradients alone.
_SCALES = ("optimizer: scales the loss", "optimizer: loss_scale_factor")
# Settings without effect if another setting is off.
_SWITCHES = {
    "ema_momentum": "use_ema",
    "ema_overwrite_frequency": "use_ema",
    "nesterov": "momentum",
}


@dataclass
class TrainingSettings:
    """The settings of the loss and the optimizer of a compiled model.

    Attributes:
        values: The settings that can be read.
        unread: The settings that cannot, each with the reason in words.
    """

    values: dict[str, Any] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def read(self, name: str, value: Any) -> None:
        """Add a setting, with the settings inside of it."""
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Mapping):
            for key, inner in value.items():
                # `optimizer: learning_rate/config/decay_rate`
                self.read(f"{name}{'/' if ': ' in name else ': '}{key}", inner)
        elif name.rpartition(": ")[2] in _LEFT_OUT:
            return
        elif is_simple(value):
            self.values[name] = value
        elif isinstance(value, str | list | tuple) and _is_json(value):
            self.values[name] = _shorten_to_digest(value)
        elif (array_values := read_values(value)) is not None:
            self.values[name] = _shorten_to_digest(array_values.array.tolist())
        else:
            self.unread.append(f"{name}, of {type(value).__name__}")

    def read_config(self, name: str, owner: Any) -> None:
        """Add the settings in the config of an optimizer, a schedule or a loss.

        A user's class may have no config, or one that raises any error or lacks attributes.
        """
        config: Any = None
        with contextlib.suppress(Exception):
            config = owner.get_config()
        is_read = isinstance(config, Mapping)
        if is_read:
            self.read(name, config)
        if is_read and is_from_keras(type(owner)):
            return
        attributes = {}
        for key, value in vars(owner).items():
            if not key.startswith("_") and key not in (config or ()) and is_simple(value):
                attributes[key] = value
        attributes.pop("built", None)
        self.read(name, attributes)
        if not is_read:
            self.unread.append(f"{name}: {type(owner).__name__} has no config that can be read")


def read_training_settings(model: keras.Model) -> TrainingSettings:
    """Read the settings of the loss and the optimizer of a compiled model."""
    settings = TrainingSettings()
    optimizer = model.optimizer
    if optimizer is not None:
        settings.values["optimizer"] = type(unwrap_optimizer(optimizer)).__name__
        settings.values["optimizer: scales the loss"] = scales_loss(optimizer)
        _read_optimizer(settings, unwrap_optimizer(optimizer))
    has_several_losses = keras.tree.is_nested(model.loss)
    for label, loss in label_members(model.loss):
        name = f"loss of {label}" if has_several_losses else "loss"
        if loss is not None:
            settings.values[name] = _name_loss(loss)
            _read_loss(settings, name, loss)
    for label, weight in label_members(read_loss_weights(model)):
        if weight is not None and weight != 1:  # which is the same as no weight
            settings.values[_WEIGHT + (f" of {label}" if label else "")] = float(weight)
    return settings


def _read_optimizer(settings: TrainingSettings, optimizer: keras.optimizers.Optimizer) -> None:
    """Add the settings of an optimizer, and separately of its schedule, because this may fail."""
    schedule = read_schedule(optimizer) if has_one_rate(optimizer) else None
    if schedule is None:
        settings.read_config("optimizer", optimizer)
        return
    with replace_rate(optimizer, keras.Variable(0.0, trainable=False)):
        settings.read_config("optimizer", optimizer)
    settings.values["optimizer: learning_rate"] = type(schedule).__name__
    settings.read_config("optimizer: learning_rate/config", schedule)


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return value is None or isinstance(value, bool | int | float | str)


def _shorten_to_digest(value: str | Sequence[Any]) -> str:
    """Shorten a long text or list to a digest, so that it can be compared."""
    digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
    return f"{_TEXT if isinstance(value, str) else 'values'} {digest}"


def _name_loss(loss: Any) -> str:
    """Name a loss as its function: `"mean_squared_error"` for `MeanSquaredError` too."""
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss) and type(loss).__module__.startswith("keras."):
        return _convert_to_snake_case(type(loss).__name__)
    return str(getattr(loss, "__name__", type(loss).__name__))


def _convert_to_snake_case(name: str) -> str:
    text = ""
    for index, letter in enumerate(name):
        if index and letter.isupper() and not name[index - 1].isupper():
            text += "_"
        text += letter.lower()
    return text


def _read_loss(settings: TrainingSettings, name: str, loss: Any) -> None:
    """Add the settings of a loss; for a function, the defaults of its arguments."""
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        settings.read_config(name, loss)
        settings.read(name, read_loss_arguments(loss))
        return
    settings.values[f"{name}: reduction"] = "sum_over_batch_size"  # that of `compile`
    for argument, parameter in inspect.signature(loss).parameters.items():
        if parameter.default is not parameter.empty and is_simple(parameter.default):
            settings.values[f"{name}: {argument}"] = parameter.default


class ComparedSettings(NamedTuple):
    """The settings of two steps.

    Attributes:
        differing: The settings that differ, each in words.
        later: The settings among them that make later steps differ, because both sides have them.
        unread: The settings that were not compared, each in words.
    """

    differing: Sequence[str]
    later: Sequence[str]
    unread: Sequence[str]


def compare_training_settings(here: RecordedStep, there: RecordedStep) -> ComparedSettings:
    """Compare the settings of two steps."""
    differing = []
    later = []
    unread = list(here.unread)
    unread += [f"{text} there" for text in there.unread if text not in here.unread]
    changed = []  # an object of another class has other settings, which say nothing more
    for name in dict.fromkeys([*here.settings, *there.settings]):
        ours, theirs = here.settings.get(name), there.settings.get(name)
        if _is_same(ours, theirs) or (
            _is_off(name, here.settings) and _is_off(name, there.settings)
        ):
            continue
        text = f"{name}: {_format_setting(name, here)} here, {_format_setting(name, there)} there"
        is_in_both = name in here.settings and name in there.settings
        if name.startswith(_WEIGHT) or (is_in_both and not _is_class(name)):
            if f"{ours}".startswith(_TEXT):
                unread.append(text)
                continue
            differing.append(text)
            if name not in _SCALES:
                later.append(text)
            changed.append(f"{name}/")
        elif _is_class(name):
            differing.append(text)
            changed.append(f"{name}: ")
        elif not name.startswith(tuple(changed)):
            unread.append(text)  # another version of Keras may have a setting more
    return ComparedSettings(differing, later, unread)


def _is_class(name: str) -> bool:
    # `"optimizer"` is the class, `"optimizer: momentum"` a setting of it.
    return ": " not in name


def _is_off(name: str, settings: Settings) -> bool:
    # It has no effect, because another setting is off.
    owner, _, setting = name.rpartition(": ")
    switch = _SWITCHES.get(setting)
    return switch is not None and not settings.get(f"{owner}: {switch}", True)


def _is_same(ours: object, theirs: object) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-6)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return list(ours) == list(theirs)
    return ours == theirs


def _format_setting(name: str, step: RecordedStep) -> str:
    if name not in step.settings:
        return "not set"
    value = step.settings[name]
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"
