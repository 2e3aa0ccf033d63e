"""Why the outputs of a layer grow or shrink with the width: what of muP a set-up lacks.

The weights and the learning rates of a narrow and a wide model are compared with the table of muP.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import numpy.typing as npt

from keras_initx.backends import backend
from keras_initx.rendering import listed
from keras_initx.scaling._mup import MupTable, MupWeight, mup, trainable
from keras_initx.scaling._rate_factors import rates_of
from keras_initx.structure import unscaled

__all__ = ["WidthProblem"]

# An exponent of the width up to this size counts as 0. Those of short training are not exact.
_LEVEL = 0.25
# The exponent with which the outputs of the last layer may shrink before training.
_SHRINKING = -0.5

Cause = Literal["std", "rate", "unknown"]


@dataclass(frozen=True)
class WidthProblem:
    """What makes outputs depend on the width, or is not as in muP.

    Attributes:
        layer: The layer: the one that holds the first of the weights, or else the first whose
            outputs are not level.
        cause: `"std"` for the standard deviation of initial weights, `"rate"` for a learning rate,
            `"unknown"` if neither explains it.
        weights: The paths of the weights, if it is about some.
        reason: What is wrong, as a sentence.
    """

    layer: str
    cause: Cause
    weights: list[str]
    reason: str


@dataclass(frozen=True, eq=False)
class Start:
    """A model before training.

    Attributes:
        model: The model.
        optimizer: The optimizer, without factors on the learning rate.
        sizes: The root mean square of each trainable weight, by path.
        rates: The learning rate of each trainable weight, by path.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    sizes: dict[str, float]
    rates: dict[str, float]


def start_of(model: keras.Model) -> Start:
    """Return what there is to compare of a compiled model that has not been trained."""
    weights = trainable("build", model)
    # In the order of the weights that the optimizer knows.
    rates = rates_of(model.optimizer, model.trainable_variables)
    rates_by_id = {}
    for variable, rate in zip(model.trainable_variables, rates, strict=True):
        rates_by_id[id(variable)] = rate
    sizes = {}
    for weight in weights:
        values = np.asarray(backend.host_view(weight.variable.value), "float64")
        sizes[weight.path] = float(np.sqrt(np.mean(np.square(values))))
    found = {weight.path: rates_by_id[id(weight.variable)] for weight in weights}
    return Start(model, unscaled(model.optimizer), sizes, found)


def uneven_layers(
    layers: Sequence[str], exponents: npt.NDArray[np.float64]
) -> dict[str, tuple[int, float]]:
    """Return the step and the exponent at which the outputs of layers are least level.

    Layers whose outputs do not depend on the width are left out.

    Args:
        layers: The names of the layers.
        exponents: The exponents of the width, of shape `(steps + 1, layers)`.
    """
    uneven = {}
    for layer, found in zip(layers, exponents.T, strict=True):
        lowest = -_LEVEL
        if layer == layers[-1]:
            lowest += _SHRINKING
        beyond = np.maximum(found - _LEVEL, lowest - found)
        if np.isnan(beyond).all():
            continue
        step = int(np.nanargmax(beyond))
        if beyond[step] > 0:
            uneven[layer] = step, float(found[step])
    return uneven


def find_problems(
    narrow: Start, wide: Start, width_ratio: float, uneven: Sequence[str]
) -> list[WidthProblem]:
    """Return what is not as in muP, the likeliest cause first.

    Args:
        narrow: The model of the least width.
        wide: That of the greatest.
        width_ratio: The ratio of their widths.
        uneven: The layers whose outputs are not level.
    """
    try:
        table = mup(wide.model, narrow.model)
    except ValueError:  # other layers, or more blocks
        return _unknown(uneven)
    problems = [
        *_wrong_rates(table, narrow, wide, width_ratio),
        *_wrong_sizes(table, narrow, wide, width_ratio),
    ]
    return problems or _unknown(uneven)


def _unknown(uneven: Sequence[str]) -> list[WidthProblem]:
    if not uneven:
        return []
    reason = (
        f"No weight and no learning rate explains why {uneven[0]} is not level: see what it "
        "computes, such as a sum over units or a factor of its own."
    )
    return [WidthProblem(uneven[0], "unknown", [], reason)]


def _wrong_rates(
    table: MupTable, narrow: Start, wide: Start, width_ratio: float
) -> list[WidthProblem]:
    try:
        expected = table.learning_rates(narrow.optimizer)
    except ValueError:  # an optimizer without a rule
        return []
    what = "The learning rate"
    return _deviations("rate", what, table, narrow.rates, wide.rates, expected, width_ratio)


def _wrong_sizes(
    table: MupTable, narrow: Start, wide: Start, width_ratio: float
) -> list[WidthProblem]:
    expected = [weight.std for weight in table.weights]
    what = "The initial standard deviation"
    return _deviations("std", what, table, narrow.sizes, wide.sizes, expected, width_ratio)


def _deviations(
    cause: Literal["rate", "std"],
    what: str,
    table: MupTable,
    of_narrow: Mapping[str, float],
    of_wide: Mapping[str, float],
    expected: Sequence[float],
    width_ratio: float,
) -> list[WidthProblem]:
    """Return a problem for all weights that deviate alike from the table."""
    alike: dict[tuple[float, float, str], list[MupWeight]] = {}
    for weight, right in zip(table.weights, expected, strict=True):
        before = of_narrow[weight.path]
        after = of_wide[weight.path]
        if not before or not after:  # zeros, of which any size is right
            continue
        exponent = math.log(after / before) / math.log(width_ratio)
        right_exponent = math.log(right) / math.log(width_ratio)
        if abs(exponent - right_exponent) > _LEVEL:
            key = round(exponent, 1) + 0.0, round(right_exponent, 1) + 0.0, weight.role
            alike.setdefault(key, []).append(weight)
    problems = []
    for (exponent, right_exponent, role), weights in alike.items():
        paths = [weight.path for weight in weights]
        reason = (
            f"{what} of {listed(paths)} has the exponent {exponent:g} of the width, in muP "
            f"{right_exponent:g}{_REASONS[role]}."
        )
        layer = paths[0].rpartition("/")[0]
        problems.append(WidthProblem(layer, cause, paths, reason))
    return problems


# What decides about a weight, by its role.
_REASONS = {
    "input": ", since only its number of units grows",
    "hidden": "",
    "output": ", since only its number of inputs grows",
    "vector": ", since a vector counts as having one input",
    "fixed": ", since its shape does not change",
}
