"""Select the settings that optimizers of Keras and of torch have in common, in Keras' words.

A step has them with a prefix: `{"optimizer": "Adam", "optimizer: epsilon": 1e-7, ...}`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_initx.tools.compare_outputs._reading import Settings
from keras_initx.tools.compare_outputs._recorded_step import RecordedStep

_OPTIMIZER = "optimizer"
_BEGINNING = f"{_OPTIMIZER}: "


class SharedSettings(NamedTuple):
    """The settings of two optimizers that both frameworks have.

    Attributes:
        here: The settings of Keras.
        there: The settings of torch.
        unread: Settings that cannot be compared, in words.
        later: Other reasons why later steps differ, in words.
        remarks: Remarks on settings that are equal at the first step alone.
    """

    here: Settings
    there: Settings
    unread: Sequence[str]
    later: Sequence[str]
    remarks: Sequence[str]


def format_digits(number: float) -> str:
    return f"{number:.4g}"


def select_optimizer_settings(settings: Settings) -> dict[str, Any]:
    """Select the settings of an optimizer, by their names without `optimizer: `."""
    selected = {}
    for name, value in settings.items():
        if name.startswith(_BEGINNING):
            selected[name.removeprefix(_BEGINNING)] = value
    return selected


def convert_epsilon(settings: Settings) -> float:
    """Convert the epsilon of Adam in Keras to the `eps` of torch with the same effect at step 1."""
    return float(settings["epsilon"]) / math.sqrt(1 - float(settings["beta_2"]))


def select_shared_settings(here: RecordedStep, there: RecordedStep) -> SharedSettings:
    """Select the settings that a step of Keras and a step of torch both have."""
    ours, theirs = (
        select_optimizer_settings(here.settings),
        select_optimizer_settings(there.settings),
    )
    shared: dict[str, Any] = {}
    unread = []
    for name, their_value in theirs.items():
        value = ours.get(name)
        if name == "weight_decay" and value is None:
            value = 0.0
        if isinstance(value, str):  # a schedule, which no optimizer of torch has
            unread.append(f"{_BEGINNING}{name}: {value} here, {format_digits(their_value)} there")
        elif value is not None:
            shared[name] = value
    later = []
    remarks = []
    if {"epsilon", "beta_2"} <= shared.keys() and theirs["epsilon"] != ours["epsilon"]:
        first = convert_epsilon(ours)
        if math.isclose(theirs["epsilon"], first, rel_tol=1e-3):
            del shared["epsilon"]
            epsilon = format_digits(ours["epsilon"])
            remarks.append(
                f"eps={format_digits(first)} of Adam there equals epsilon={epsilon} here at the "
                f"first step alone. Remedy: train with {epsilon} on both sides"
            )
    names = [step.settings.get(_OPTIMIZER) for step in (here, there)]
    if names == ["SGD", "SGD"] and theirs.get("momentum") and theirs.get("weight_decay"):
        later.append(
            "SGD of torch adds the decay to the momentum, and Keras takes it from the weights"
        )
    return SharedSettings(
        _name_settings(here, shared),
        _name_settings(there, {name: theirs[name] for name in shared}),
        unread,
        later,
        remarks,
    )


def _name_settings(step: RecordedStep, settings: Settings) -> dict[str, Any]:
    named = {f"{_BEGINNING}{name}": value for name, value in settings.items()}
    if step.settings.get(_OPTIMIZER):
        named[_OPTIMIZER] = step.settings[_OPTIMIZER]
    return named
