"""What is known of the values of an initializer before they are drawn.

A law is data: it says what always holds of the values, and how the random ones are distributed.
`keras_initx.audit` compares weights with it.
"""

import abc
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.sampling import CELLS, Quantiles, truncated_quantiles


class Law(abc.ABC):
    """What is known of the values of an initializer in an array of one shape.

    Attributes:
        std: Their standard deviation, or `None` if it is not known.
    """

    std: float | None

    @abc.abstractmethod
    def scaled(self, factor: float) -> "Law":
        """Return the law of the values times `factor`, a number other than 0."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """A distribution on the real line, by its distribution function.

    Attributes:
        name: Its name, e.g. `"normal"`.
        mean: Its mean.
        std: Its standard deviation.
        lower: The lowest value, or minus infinity.
        upper: The highest value, or infinity.
        values: Increasing values at which the function is known. Between them it is linear.
        probabilities: The function there. The first is the probability of the lowest value itself.
    """

    name: str
    mean: float
    std: float
    lower: float
    upper: float
    values: Array
    probabilities: Array


@dataclass(frozen=True, eq=False)
class IndependentLaw(Law):
    """All values are `shift + factor * x`, with `x` drawn independently from one distribution.

    Attributes:
        distribution: The distribution.
        shift: A number.
        factor: A number other than 0.
    """

    distribution: Distribution
    shift: float = 0.0
    factor: float = 1.0

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return self.shift + self.factor * self.distribution.mean

    @property
    def std(self) -> float:  # type: ignore[override]
        """The standard deviation of the values."""
        return abs(self.factor) * self.distribution.std

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        one = self.shift + self.factor * self.distribution.lower
        other = self.shift + self.factor * self.distribution.upper
        return min(one, other), max(one, other)

    def scaled(self, factor: float) -> Self:
        return replace(self, shift=self.shift * factor, factor=self.factor * factor)

    def distribution_function(self, x: Array) -> Array:
        """Return the probability of values of at most `x`, for each number in an array."""
        base = (x - self.shift) / self.factor
        grid = self.distribution
        found = np.interp(base, grid.values, grid.probabilities, left=0.0)
        if self.factor < 0:
            return 1 - found
        return found


def uniform_law(low: float, high: float) -> IndependentLaw:
    """Return the law of uniform values between `low` and `high`."""
    return IndependentLaw(_UNIFORM, low, high - low)


_ENDS = np.array([0.0, 1.0])
_UNIFORM = Distribution("uniform", 0.5, 1 / math.sqrt(12), 0.0, 1.0, _ENDS, _ENDS)


def normal_law(mean: float, std: float) -> IndependentLaw:
    """Return the law of `N(mean, std^2)`."""
    return IndependentLaw(_normal_distribution(), mean, std)


@functools.cache
def _normal_distribution() -> Distribution:
    # Linear between the points, the tails are right to 3e-5 of themselves.
    x = np.arange(-9, 9 + 2**-9, 2**-9)
    probabilities = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x])
    return Distribution("normal", 0.0, 1.0, -math.inf, math.inf, x, probabilities)


@functools.lru_cache(maxsize=16)
def quantile_distribution(
    name: str, quantiles: Quantiles, least: float = -math.inf
) -> Distribution:
    """Return the distribution with these quantiles, where lower values become `least`."""
    values = quantiles.lowest + quantiles.unit * quantiles.knots.astype("float64")
    probabilities = np.arange(CELLS + 1) / CELLS
    lowest = max(least, quantiles.lowest)
    kept = np.maximum(values, lowest)
    middles = (kept[:-1] + kept[1:]) / 2
    mean = float(middles.mean())
    variance = float(((middles - mean) ** 2 + np.diff(kept) ** 2 / 12).mean())
    highest = quantiles.highest
    if lowest > values[0]:
        share = np.interp(lowest, values, probabilities)
        is_above = values > lowest
        values = np.concatenate([[lowest], values[is_above]])
        probabilities = np.concatenate([[share], probabilities[is_above]])
    return Distribution(name, mean, math.sqrt(variance), lowest, highest, values, probabilities)


def truncated_law(lower: float, upper: float, mean: float, stddev: float) -> IndependentLaw:
    """Return the law of a normal distribution between bounds.

    Args:
        lower: Lower bound, in standard deviations before truncation.
        upper: Upper bound.
        mean: Mean before truncation.
        stddev: Standard deviation after it.
    """
    quantiles = truncated_quantiles(lower, upper)
    distribution = quantile_distribution("truncated normal", quantiles)
    return IndependentLaw(distribution, mean, stddev / quantiles.stddev)


@dataclass(frozen=True, eq=False)
class FixedLaw(Law):
    """The values do not depend on a seed.

    Attributes:
        make: Function that returns them, in float32 or float64.
    """

    make: Callable[[], Array]
    std: float | None = None

    def scaled(self, factor: float) -> Self:
        return replace(self, make=lambda: self.make() * factor)


@dataclass(frozen=True, eq=False)
class SparseLaw(Law):
    """Each unit has the same number of connections, chosen at random; the rest is zero.

    Attributes:
        input_axes: The axes that are inputs.
        output_axes: The axes that are units.
        connections: The number of connections of a unit.
        value: The law of the values of connections.
        std: The standard deviation, with the zeros.
    """

    input_axes: Sequence[int]
    output_axes: Sequence[int]
    connections: int
    value: IndependentLaw
    std: float | None

    def scaled(self, factor: float) -> Self:
        std = None if self.std is None else self.std * abs(factor)
        return replace(self, value=self.value.scaled(factor), std=std)


@dataclass(frozen=True, eq=False)
class FrameLaw(Law):
    """Blocks of units are random matrices with known singular values, often all equal.

    Attributes:
        input_axes: The axes that are inputs.
        output_axes: The axes that are units.
        blocks: The number of blocks of units.
        singular_values: Those of each block in decreasing order, or one number for all.
        std: The standard deviation.
    """

    input_axes: Sequence[int]
    output_axes: Sequence[int]
    blocks: int
    singular_values: float | Array
    std: float | None

    def scaled(self, factor: float) -> Self:
        size = abs(factor)
        std = None if self.std is None else self.std * size
        return replace(self, singular_values=self.singular_values * size, std=std)


@dataclass(frozen=True, eq=False)
class CenterLaw(Law):
    """The kernel of a convolution is zero except at the center of its window.

    Attributes:
        center: The law there, for an array of the last two axes.
        std: The standard deviation of the whole kernel.
    """

    center: Law
    std: float | None

    def scaled(self, factor: float) -> Self:
        std = None if self.std is None else self.std * abs(factor)
        return replace(self, center=self.center.scaled(factor), std=std)


@dataclass(frozen=True, eq=False)
class TiledLaw(Law):
    """Equal parts along the last axis are copies of the first.

    Attributes:
        count: The number of parts.
        part: The law of one.
    """

    count: int
    part: Law

    @property
    def std(self) -> float | None:  # type: ignore[override]
        """The standard deviation of one part, which is that of all."""
        return self.part.std

    def scaled(self, factor: float) -> Self:
        return replace(self, part=self.part.scaled(factor))


@dataclass(frozen=True, eq=False)
class SlicesLaw(Law):
    """Slices along an axis have laws of their own.

    Attributes:
        axis: The axis.
        shapes: The shapes of the slices.
        laws: Their laws; `None` where it is not known.
        std: Not known.
        are_independent: Whether no slice follows from another.
    """

    axis: int
    shapes: Sequence[Shape]
    laws: Sequence[Law | None]
    std: float | None = None
    are_independent: bool = True

    def scaled(self, factor: float) -> Self:
        laws = [None if law is None else law.scaled(factor) for law in self.laws]
        return replace(self, laws=laws)
