"""How initial weights and learning rates scale with the width, beside how they do in muP."""

import math
from dataclasses import dataclass

import keras
import numpy as np

from keras_initx.backends._current import backend
from keras_initx.rendering._text import short_number
from keras_initx.scaling._mup import Role, mup, trainable
from keras_initx.scaling._rate_factors import rates_of
from keras_initx.structure._optimizers import unscaled

# An exponent of the width up to this size counts as 0. Those of short training are not exact.
LEVEL = 0.25


@dataclass(frozen=True)
class WidthExponents:
    """The exponents of the width in a weight and in its learning rate, measured and in muP.

    Attributes:
        path: The path of the weight, see `ModelWeight`.
        role: Its role in muP, see `MupWeight`.
        std: The exponent in the root mean square of its initial values; NaN if these are zeros, of
            which any size is right.
        mup_std: That in muP.
        rate: The exponent in its learning rate; NaN if that is 0 or not known.
        mup_rate: That in muP; NaN if `mup` has no rule for the optimizer.
    """

    path: str
    role: Role
    std: float
    mup_std: float
    rate: float
    mup_rate: float

    @property
    def differs(self) -> bool:
        """Whether anything that is known scales in another way than in muP."""
        return self.std_differs or self.rate_differs

    @property
    def text(self) -> str:
        """Which exponents differ from those of muP, in words."""
        parts = []
        if self.std_differs:
            std, in_mup = short_number(self.std), short_number(self.mup_std)
            parts.append(f"initial values with width^{std}, in muP with width^{in_mup}")
        if self.rate_differs:
            rate, in_mup = short_number(self.rate), short_number(self.mup_rate)
            parts.append(f"learning rate with width^{rate}, in muP with width^{in_mup}")
        return f"{self.path}: {'; '.join(parts)}"

    @property
    def std_differs(self) -> bool:
        """Whether its initial values scale in another way than in muP."""
        return abs(self.std - self.mup_std) > LEVEL

    @property
    def rate_differs(self) -> bool:
        """Whether its learning rate scales in another way than in muP."""
        return abs(self.rate - self.mup_rate) > LEVEL


@dataclass(frozen=True, eq=False)
class Start:
    """A model before training.

    Attributes:
        model: The model.
        optimizer: The optimizer, without a `LossScaleOptimizer`.
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


def width_exponents(narrow: Start, wide: Start, width_ratio: float) -> list[WidthExponents]:
    """Return the exponents of each trainable weight.

    Args:
        narrow: The model of the least width.
        wide: That of the greatest.
        width_ratio: The ratio of their widths.

    Raises:
        ValueError: If the models have other layers, or more blocks.
    """
    table = mup(wide.model, narrow.model)
    factors: list[float]
    try:
        factors = table.learning_rates(narrow.optimizer)
    except ValueError:  # an optimizer without a rule
        factors = [math.nan] * len(table.rows)

    def exponent(after: float, before: float = 1.0) -> float:
        if not after or not before:
            return math.nan
        # So that none is -0.0.
        return round(math.log(after / before) / math.log(width_ratio), 3) + 0.0

    found = []
    for weight, factor in zip(table.rows, factors, strict=True):
        path = weight.path
        exponents = WidthExponents(
            path,
            weight.role,
            std=exponent(wide.sizes[path], narrow.sizes[path]),
            mup_std=exponent(weight.std),
            rate=exponent(wide.rates[path], narrow.rates[path]),
            mup_rate=exponent(factor),
        )
        found.append(exponents)
    return found
