"""The settings of an optimizer of Keras beside those of torch: what both have, in Keras' words."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_initx.tools.compare_outputs._reading import Settings
from keras_initx.tools.compare_outputs._recorded_step import RecordedStep

_OPTIMIZER = "optimizer"
_BEGINNING = f"{_OPTIMIZER}: "


class SharedSettings(NamedTuple):
    """The settings of two optimizers as far as both frameworks have them.

    Attributes:
        here: Those of Keras.
        there: Those of torch.
        unread: What cannot be compared, in words.
        later: What makes later steps differ beside them, in words.
        remarks: What is to be said of those that are equal at the first step alone.
    """

    here: Settings
    there: Settings
    unread: Sequence[str]
    later: Sequence[str]
    remarks: Sequence[str]


def format_digits(number: float) -> str:
    """Return a number as a user may pass it."""
    return f"{number:.4g}"


def select_optimizer_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings of an optimizer by their own names, without `optimizer: `."""
    found = {}
    for name, value in settings.items():
        if name.startswith(_BEGINNING):
            found[name.removeprefix(_BEGINNING)] = value
    return found


def convert_epsilon(settings: Settings) -> float:
    """Return the `eps` of Adam in torch that is the epsilon of Keras at the first step."""
    return float(settings["epsilon"]) / math.sqrt(1 - float(settings["beta_2"]))


def select_shared_settings(here: RecordedStep, there: RecordedStep) -> SharedSettings:
    """Return the settings of a step of Keras and one of torch that both have."""
    ours, theirs = (
        select_optimizer_settings(here.settings),
        select_optimizer_settings(there.settings),
    )
    kept: dict[str, Any] = {}
    unread = []
    for name, other in theirs.items():
        value = ours.get(name)
        if name == "weight_decay" and value is None:
            value = 0.0
        if isinstance(value, str):  # a schedule, which no optimizer of torch has
            unread.append(f"{_BEGINNING}{name}: {value} here, {format_digits(other)} there")
        elif value is not None:
            kept[name] = value
    later = []
    remarks = []
    if {"epsilon", "beta_2"} <= kept.keys() and theirs["epsilon"] != ours["epsilon"]:
        first = convert_epsilon(ours)
        if math.isclose(theirs["epsilon"], first, rel_tol=1e-3):
            del kept["epsilon"]
            remarks.append(
                f"eps={format_digits(first)} of Adam there is epsilon={format_digits(ours['epsilon'])} here at "
                "the first step alone: train with the latter on both sides"
            )
    names = [step.settings.get(_OPTIMIZER) for step in (here, there)]
    if names == ["SGD", "SGD"] and theirs.get("momentum") and theirs.get("weight_decay"):
        later.append(
            "SGD of torch adds the decay to the momentum, and Keras takes it from the weights"
        )
    return SharedSettings(
        _name_settings(here, kept),
        _name_settings(there, {name: theirs[name] for name in kept}),
        unread,
        later,
        remarks,
    )


def _name_settings(step: RecordedStep, settings: Settings) -> dict[str, Any]:
    found = {f"{_BEGINNING}{name}": value for name, value in settings.items()}
    if step.settings.get(_OPTIMIZER):
        found[_OPTIMIZER] = step.settings[_OPTIMIZER]
    return found
