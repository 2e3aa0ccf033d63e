"""Remedies that redraw weights, and whether weights have the proposed values already."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._initializer import Initializer
from keras_initx.initializers._laws import SLACK, Law
from keras_initx.tools.diagnose._measured_layers import MeasuredWeight
from keras_initx.tools.diagnose._remedy import SCALED, Remedy


class Choice(NamedTuple):
    """An initializer, and the expression that makes it."""

    initializer: InitializerLike
    text: str


def make_choice(initializer: keras.initializers.Initializer, *arguments: float) -> Choice:
    """Return an initializer of this package with its expression: `"keras_initx.HeNormal()"`.

    Args:
        initializer: The initializer.
        arguments: Its arguments, if the expression should show defaults.
    """
    expression = repr(initializer).replace("'", '"')
    if arguments:
        expression = f"{type(initializer).__name__}({', '.join(map(str, arguments))})"
    return Choice(initializer, f"keras_initx.{expression}")


def make_rules(
    weights: Iterable[MeasuredWeight], initializer: InitializerLike
) -> dict[str, InitializerLike]:
    """Return rules that redraw each of some weights by an initializer."""
    return {weight.path: initializer for weight in weights}


def propose_redraw(
    choices: Sequence[Choice],
    weights: Sequence[MeasuredWeight],
    before: str = "use ",
    after: str = "",
    biases: Sequence[MeasuredWeight] = (),
) -> Remedy:
    """Return a remedy that redraws weights by the first choice, with the others as alternatives.

    Without choices and biases the remedy is LSUV, which scales all layers.

    Args:
        choices: The initializers.
        weights: The weights to redraw.
        before: The start of the text.
        after: The end of the text.
        biases: Biases to set to 0.
    """
    if not choices and not biases:
        return SCALED
    zeros = make_rules(biases, "zeros")
    if biases:
        before += 'bias_initializer="zeros"'
    if not choices:
        return Remedy(f"{before}{after}", zeros)
    if biases:
        before += " and "
    remedies = []
    for initializer, text in choices:
        rules = {**make_rules(weights, initializer), **zeros}
        remedies.append(Remedy(f"{before}{text}{after}", rules))
    first, *others = remedies
    texts = " or ".join(text for _, text in choices)
    return replace(first, text=f"{before}{texts}{after}", others=tuple(others))


# ---------------------------------------------------------------- values that weights have already


def list_untried(choices: Iterable[Choice], weights: Iterable[MeasuredWeight]) -> list[Choice]:
    """Return the choices before the first choice that all trained weights already follow."""
    trained = [weight for weight in weights if weight.is_trained]
    untried = []
    for choice in choices:
        if trained and all(_may_be_drawn_by(choice, weight) for weight in trained):
            break
        untried.append(choice)
    return untried


def list_frozen_others(
    choices: Collection[Choice], weights: Iterable[MeasuredWeight]
) -> list[MeasuredWeight]:
    """Return the frozen weights that do not follow any of the choices."""
    others = []
    for weight in weights:
        if weight.is_frozen and not any(_may_be_drawn_by(choice, weight) for choice in choices):
            others.append(weight)
    return others


def _may_be_drawn_by(choice: Choice, weight: MeasuredWeight) -> bool:
    law = _adapt_law(weight, choice.initializer)
    return law is not None and law.fits(weight.values)


def find_larger_weights(
    choices: Collection[Choice], weights: Iterable[MeasuredWeight]
) -> list[MeasuredWeight]:
    """Return the weights that are larger than each of some choices would make them."""
    larger = []
    for weight in weights:
        if all(_compute_relative_size(weight, choice) > 1 + SLACK for choice in choices):
            larger.append(weight)
    return larger


def _compute_relative_size(weight: MeasuredWeight, choice: Choice) -> float:
    """Return the ratio of the deviation of a weight to that by a choice; 1 if unknown."""
    law = _adapt_law(weight, choice.initializer)
    if law is None or not law.std:
        return 1.0
    size = weight.report.std / law.std
    return size if 0 < size < math.inf else 1.0


def _adapt_law(weight: MeasuredWeight, initializer: InitializerLike) -> Law | None:
    """Return the law of the values that an initializer draws for a weight, `None` without one."""
    initializer = keras.initializers.get(initializer)
    axes = weight.report.axes
    if isinstance(initializer, Initializer) and axes is not None:
        config = initializer.get_config()
        if "input_axes" in config:
            inputs, units = axes
            config |= {"input_axes": list(inputs), "output_axes": list(units)}
            initializer = type(initializer).from_config(config)
    return adapt_initializer(initializer).law(weight.own.shape)
