"""Compare the settings of a loss of torch with those of a loss of Keras, in words of Keras.

A loss of torch is a function of a user. While it is computed, the function of torch that it calls
is read:

    cross_entropy(outputs, y, label_smoothing=0.1)
    {"loss": "crossentropy", "loss: label_smoothing": 0.1, "loss: from_logits": True, ...}
"""

import contextlib
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from keras_initx.tools.compare_outputs._reading import Settings, is_simple


class _LossFunction(NamedTuple):
    """A function of torch that computes a loss.

    Attributes:
        loss: The name of the loss, as `_KERAS_LOSSES` has it.
        words: Dict from its arguments to the words of Keras.
        constants: The settings of Keras that its name tells.
    """

    loss: str
    words: Mapping[str, str] = {}
    constants: Mapping[str, Any] = {}


_CLASS_WEIGHTS = "weights of classes"
_TORCH_LOSSES = {
    "cross_entropy": _LossFunction(
        "crossentropy",
        {
            "label_smoothing": "label_smoothing",
            "weight": _CLASS_WEIGHTS,
            "ignore_index": "ignore_class",
        },
        {"from_logits": True},
    ),
    "nll_loss": _LossFunction(
        "crossentropy", {"weight": _CLASS_WEIGHTS, "ignore_index": "ignore_class"}
    ),
    "binary_cross_entropy": _LossFunction(
        "binary_crossentropy", {"weight": _CLASS_WEIGHTS}, {"from_logits": False}
    ),
    "binary_cross_entropy_with_logits": _LossFunction(
        "binary_crossentropy", {"pos_weight": _CLASS_WEIGHTS}, {"from_logits": True}
    ),
    "mse_loss": _LossFunction("mean_squared_error"),
    "l1_loss": _LossFunction("mean_absolute_error"),
    "huber_loss": _LossFunction("huber", {"delta": "delta"}),
    # It is Huber's loss, divided by `beta`.
    "smooth_l1_loss": _LossFunction("huber", {"beta": "delta"}),
}
_KERAS_LOSSES = {
    "sparse_categorical_crossentropy": "crossentropy",
    "categorical_crossentropy": "crossentropy",
    "binary_crossentropy": "binary_crossentropy",
    "mean_squared_error": "mean_squared_error",
    "mean_absolute_error": "mean_absolute_error",
    "huber": "huber",
}
# Settings that torch and Keras have, and their values if one side does not name them.
_NEUTRAL: Mapping[str, Any] = {
    "label_smoothing": 0.0,
    _CLASS_WEIGHTS: "none",
    "ignore_class": None,
    "delta": None,
    "from_logits": None,
}
# They change the loss of each batch, unless their values are equal. Others depend on the targets.
_ALWAYS = ("label_smoothing", "delta")
_NO_CLASS = -100  # the `ignore_index` of torch that ignores no class


@contextlib.contextmanager
def watch_losses(receive: Callable[[Settings], None]) -> Iterator[None]:
    """Pass on the settings of each loss of torch that is computed in the block."""
    torch = sys.modules["torch"]

    class Mode(torch.overrides.TorchFunctionMode):  # type: ignore[name-defined]
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = getattr(function, "__name__", "")
            if name in _TORCH_LOSSES:
                receive(_read_function(name, function, args, kwargs or {}))
            return function(*args, **(kwargs or {}))

    with Mode():
        yield


def _read_function(name: str, function: Any, args: Any, kwargs: Mapping[str, Any]) -> Settings:
    loss, words, constants = _TORCH_LOSSES[name]
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    settings: dict[str, Any] = {"loss": loss}
    for word, value in constants.items():
        settings[f"loss: {word}"] = value
    for argument, word in words.items():
        value = bound.arguments.get(argument)
        if word == _CLASS_WEIGHTS:
            value = "none" if value is None else "given"
        elif word == "ignore_class" and value == _NO_CLASS:
            value = None
        if is_simple(value):
            settings[f"loss: {word}"] = value
    return settings


class LossDifferences(NamedTuple):
    """The settings in which two losses differ, in words.

    Attributes:
        all: All of them. They may be the cause of a loss that differs.
        later: Those that differ for other batches, if the loss of this batch is equal.
    """

    all: list[str]
    later: list[str]


def compare_losses_of_modules(here: Settings, there: Settings) -> LossDifferences:
    """Compare the settings of a loss of Keras with those that `watch_losses` has read.

    Args:
        here: The settings of the model, see `read_training_settings`.
        there: Those of the module, empty if its loss is not known.
    """
    loss = _KERAS_LOSSES.get(str(here.get("loss")))
    if loss is None or "loss" not in there:
        return LossDifferences([], [])
    if loss != there["loss"]:
        text = f"loss: {here['loss']} here, {there['loss']} there"
        return LossDifferences([text], [])
    texts = []
    later = []
    for word, neutral in _NEUTRAL.items():
        ours = here.get(f"loss: {word}", neutral)
        theirs = there.get(f"loss: {word}", neutral)
        is_known = neutral is not None or word == "ignore_class" or None not in (ours, theirs)
        if not is_known or _is_same(ours, theirs):
            continue
        text = f"{word} of the loss: {_format(ours)} here, {_format(theirs)} there"
        texts.append(text)
        if word in _ALWAYS:
            later.append(text)
    return LossDifferences(texts, later)


def _format(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _is_same(ours: object, theirs: object) -> bool:
    if isinstance(ours, float | int) and isinstance(theirs, float | int):
        return math.isclose(ours, theirs, rel_tol=1e-6)
    return ours == theirs
