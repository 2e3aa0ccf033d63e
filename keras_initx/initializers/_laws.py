"""Laws: the distribution of the values of an initializer, known before they are drawn.

A law states a distribution once. It bounds the draws, and `keras_initx.audit` compares weights with
it. If the values are independent, the law also draws them. If not, the initializer draws them.
"""

import abc
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._moments import Moments
from keras_initx.sampling._conversion import (
    CELLS,
    MOST,
    NORMAL_REACH,
    Bounds,
    Quantiles,
    affine,
    truncated_quantiles,
)
from keras_initx.sampling._stream import Draw, Stream

# How far the deviation of values may be from that of a law they fit, beside the error of a sample.
SLACK = 0.1
# How far from orthonormal the values of a frame may be that fit: in 16 bits, they are rounded.
_ROUNDING = 1e-2
# Random vectors that a matrix is multiplied by, to see whether it is orthonormal.
_PROBES = 4


class Law(abc.ABC):
    """The distribution of the values of an initializer in an array of one shape.

    Attributes:
        std: Their standard deviation, or `None` if it is not known.
    """

    std: float | None

    @property
    def reach(self) -> float:
        """A size that no draw exceeds, or 0 if it is not known."""
        return 0.0

    @abc.abstractmethod
    def scaled(self, factor: float) -> "Law":
        """Return the law of the values times `factor`, a number other than 0."""

    def fits(self, values: Array) -> bool:
        """Return whether values of any dtype may have this law, by their deviation and form."""
        if not self.std:
            return False
        error = SLACK + 3 / math.sqrt(2 * values.size)
        return abs(Moments(values).std / self.std - 1) <= error


class IndependentLaw(Law):
    """All values are drawn independently from one distribution on the real line.

    Attributes:
        name: Its name, e.g. `"normal"`.
        mean: Its mean.
        std: Its standard deviation.
        bounds: The lowest and the highest value.
    """

    name: str
    mean: float
    std: float
    bounds: Bounds

    @property
    def reach(self) -> float:
        lowest, highest = self.bounds
        return max(-lowest, highest)

    @abc.abstractmethod
    def scaled(self, factor: float) -> "IndependentLaw":
        pass

    @abc.abstractmethod
    def distribution_function(self, x: Array) -> Array:
        """Return the probability of values of at most `x`, for each number in an array."""

    @abc.abstractmethod
    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        """Return values of `shape` drawn from `stream`, in its namespace.

        They are computed in `dtype` and have the dtype of the stream.
        """


@dataclass(frozen=True, eq=False)
class UniformLaw(IndependentLaw):
    """The uniform distribution between two bounds.

    Args:
        low: Lower bound.
        high: Upper bound.
        is_strict: Whether the bounds also hold after a cast to 16 bits, which may round a value
            beyond them.
    """

    low: float
    high: float
    is_strict: bool = False

    name = "uniform"

    @property
    def mean(self) -> float:  # type: ignore[override]
        return (self.low + self.high) / 2

    @property
    def std(self) -> float:  # type: ignore[override]
        return (self.high - self.low) / math.sqrt(12)

    @property
    def bounds(self) -> Bounds:  # type: ignore[override]
        return self.low, self.high

    @property
    def reach(self) -> float:
        width = self.high - self.low
        if width > MOST["float32"]:  # in which it multiplies draws
            return width
        return max(-self.low, self.high)

    def scaled(self, factor: float) -> Self:
        low, high = sorted((self.low * factor, self.high * factor))
        return replace(self, low=low, high=high)

    def distribution_function(self, x: Array) -> Array:
        return np.clip((x - self.low) / (self.high - self.low), 0, 1)

    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        then = affine(
            self.low, self.high - self.low, (self.low, self.high), is_strict=self.is_strict
        )
        return stream.uniform(Draw.VALUES, shape, dtype, then=then)


@dataclass(frozen=True, eq=False)
class NormalLaw(IndependentLaw):
    """The normal distribution `N(mean, std^2)`.

    Args:
        mean: The mean.
        std: The standard deviation.
    """

    mean: float
    std: float

    name = "normal"

    @property
    def bounds(self) -> Bounds:  # type: ignore[override]
        return -math.inf, math.inf

    @property
    def reach(self) -> float:
        return abs(self.mean) + NORMAL_REACH * self.std

    def scaled(self, factor: float) -> Self:
        return replace(self, mean=self.mean * factor, std=self.std * abs(factor))

    def distribution_function(self, x: Array) -> Array:
        values, probabilities = _normal_grid()
        return np.interp((x - self.mean) / self.std, values, probabilities, left=0.0)

    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        return stream.normal(Draw.VALUES, shape, dtype, then=affine(self.mean, self.std))


@functools.cache
def _normal_grid() -> tuple[Array, Array]:
    """Return values of N(0, 1), and the probability of drawing at most each of them."""
    # Linear between the points, the tails are right to 3e-5 of themselves.
    x = np.arange(-9, 9 + 2**-9, 2**-9)
    return x, np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x])


@dataclass(frozen=True, eq=False)
class TruncatedLaw(IndependentLaw):
    """A normal distribution between two bounds.

    Args:
        lower: Lower bound, relative to `center`, in standard deviations before truncation.
        upper: Upper bound.
        center: The mean before truncation.
        std: The standard deviation after it.
        is_strict: See `UniformLaw`.
    """

    lower: float
    upper: float
    center: float
    std: float
    is_strict: bool = False

    name = "truncated normal"

    @property
    def quantiles(self) -> Quantiles:
        """The quantiles before the values are shifted and scaled."""
        return truncated_quantiles(self.lower, self.upper)

    @property
    def untruncated_std(self) -> float:
        """The standard deviation before truncation."""
        return self.std / self.quantiles.stddev

    @property
    def mean(self) -> float:  # type: ignore[override]
        return self.center + self.untruncated_std * _grid(self.quantiles).mean

    @property
    def bounds(self) -> Bounds:  # type: ignore[override]
        # No draw is at a bound that is far in a tail.
        quantiles = self.quantiles
        scale = self.std / quantiles.stddev
        return self.center + scale * quantiles.lowest, self.center + scale * quantiles.highest

    def scaled(self, factor: float) -> Self:
        lower, upper = self.lower, self.upper
        if factor < 0:
            lower, upper = -upper, -lower
        center = self.center * factor
        return replace(self, lower=lower, upper=upper, center=center, std=self.std * abs(factor))

    def distribution_function(self, x: Array) -> Array:
        return _grid(self.quantiles).below((x - self.center) / self.untruncated_std)

    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        quantiles = self.quantiles
        scale = self.std / quantiles.stddev
        return stream.from_quantiles(
            Draw.VALUES,
            shape,
            quantiles,
            dtype,
            offset=self.center,
            factor=scale,
            bounds=(self.center + scale * self.lower, self.center + scale * self.upper),
            is_strict=self.is_strict,
        )


@dataclass(frozen=True, eq=False)
class TriangularLaw(IndependentLaw):
    """The distribution of the sum of two independent uniform values: most are near 0.

    Args:
        limit: The largest size of a value. The density falls from 0 to there in a straight line.
    """

    limit: float

    name = "triangular"
    mean = 0.0

    @property
    def std(self) -> float:  # type: ignore[override]
        return self.limit / math.sqrt(6)

    @property
    def bounds(self) -> Bounds:  # type: ignore[override]
        return -self.limit, self.limit

    def scaled(self, factor: float) -> Self:
        return replace(self, limit=self.limit * abs(factor))

    def distribution_function(self, x: Array) -> Array:
        share = np.clip(x / self.limit, -1, 1)
        below: Array = (1 + share * (2 - np.abs(share))) / 2
        return below

    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        return stream.from_quantiles(
            Draw.VALUES,
            shape,
            _triangular_quantiles(),
            dtype,
            factor=self.limit,
            bounds=self.bounds,
            is_strict=True,
        )


@functools.cache
def _triangular_quantiles() -> Quantiles:
    """Return the quantiles of a triangular distribution between -1 and 1."""
    # A square root is rounded alike on every machine.
    upper = 1 - np.sqrt(1 - 2 * np.arange(CELLS // 2 + 1) / CELLS)
    return Quantiles.of(np.concatenate([-upper[:0:-1], upper]))


@dataclass(frozen=True, eq=False)
class TabulatedLaw(IndependentLaw):
    """The distribution of `factor * x`, with `x` from a table of quantiles.

    Args:
        name: Its name.
        quantiles: The quantiles of `x`.
        least: Each lower `x` becomes this value.
        factor: A number other than 0.
    """

    name: str
    quantiles: Quantiles
    least: float
    factor: float = 1.0

    @property
    def _grid(self) -> "_Grid":
        return _grid(self.quantiles, self.least)

    @property
    def mean(self) -> float:  # type: ignore[override]
        return self.factor * self._grid.mean

    @property
    def std(self) -> float:  # type: ignore[override]
        return abs(self.factor) * self._grid.std

    @property
    def bounds(self) -> Bounds:  # type: ignore[override]
        ends = self.factor * self.least, self.factor * self.quantiles.highest
        return min(ends), max(ends)

    def scaled(self, factor: float) -> Self:
        return replace(self, factor=self.factor * factor)

    def distribution_function(self, x: Array) -> Array:
        found = self._grid.below(x / self.factor)
        if self.factor < 0:
            return 1 - found
        return found

    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        size = abs(self.factor)
        bounds = size * self.least, size * self.quantiles.highest
        values = stream.from_quantiles(
            Draw.VALUES, shape, self.quantiles, dtype, factor=size, bounds=bounds
        )
        if self.factor < 0:
            return -values
        return values


@dataclass(frozen=True, eq=False)
class _Grid:
    """A distribution whose distribution function is known at some values.

    Attributes:
        values: Increasing values. The function is linear between them.
        probabilities: The function at these values. The first is the probability of the lowest
            value.
        mean: The mean.
        std: The standard deviation.
    """

    values: Array
    probabilities: Array
    mean: float
    std: float

    def below(self, x: Array) -> Array:
        """Return the probability of values of at most `x`, for each number in an array."""
        return np.interp(x, self.values, self.probabilities, left=0.0)


@functools.lru_cache(maxsize=16)
def _grid(quantiles: Quantiles, least: float = -math.inf) -> _Grid:
    """Return the distribution with these quantiles, where lower values become `least`."""
    values = quantiles.lowest + quantiles.unit * quantiles.knots.astype("float64")
    probabilities = np.arange(CELLS + 1) / CELLS
    lowest = max(least, quantiles.lowest)
    kept = np.maximum(values, lowest)
    middles = (kept[:-1] + kept[1:]) / 2
    mean = float(middles.mean())
    variance = float(((middles - mean) ** 2 + np.diff(kept) ** 2 / 12).mean())
    if lowest > values[0]:
        share = np.interp(lowest, values, probabilities)
        is_above = values > lowest
        values = np.concatenate([[lowest], values[is_above]])
        probabilities = np.concatenate([[share], probabilities[is_above]])
    return _Grid(values, probabilities, mean, math.sqrt(variance))


@dataclass(frozen=True, eq=False)
class FixedLaw(Law):
    """The values do not depend on a seed.

    Attributes:
        make: Function that returns them, in float32 or float64.
        std: Not known.
    """

    make: Callable[[], Array]

    std = None

    def scaled(self, factor: float) -> Self:
        return replace(self, make=lambda: self.make() * factor)

    def fits(self, values: Array) -> bool:
        return bool((values == self.make().astype(values.dtype)).all())


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
    std: float

    @property
    def reach(self) -> float:
        return self.value.reach

    def scaled(self, factor: float) -> Self:
        return replace(self, value=self.value.scaled(factor), std=self.std * abs(factor))


@dataclass(frozen=True, eq=False)
class FrameLaw(Law):
    """Blocks of units are random matrices with known singular values, often all equal.

    Attributes:
        input_axes: The axes that are inputs.
        output_axes: The axes that are units.
        blocks: The number of blocks of units.
        singular_values: The singular values of each block in decreasing order, or one number for
            all.
        std: The standard deviation.
    """

    input_axes: Sequence[int]
    output_axes: Sequence[int]
    blocks: int
    singular_values: float | Array
    std: float

    @property
    def reach(self) -> float:
        return float(np.max(self.singular_values))

    def scaled(self, factor: float) -> Self:
        size = abs(factor)
        return replace(self, singular_values=self.singular_values * size, std=self.std * size)

    def fits(self, values: Array) -> bool:
        return super().fits(values) and self.has_form(
            values.astype("float32", copy=False), _ROUNDING
        )

    def has_form(self, values: Array, tolerance: float) -> bool:
        """Return whether the blocks of an array have these singular values, times any number.

        Args:
            values: An array in float32 or float64.
            tolerance: The largest deviation, relative to the largest singular value.
        """
        # Axes of a window may be named among those of the units too.
        others = [axis for axis in range(values.ndim) if axis not in self.input_axes]
        ordered = values.transpose([*self.input_axes, *others])
        inputs = math.prod(values.shape[axis] for axis in self.input_axes)
        blocks = np.split(ordered.reshape(inputs, -1), self.blocks, axis=1)
        if isinstance(self.singular_values, float | int):
            return all(is_frame(block, tolerance) for block in blocks)
        return all(self._has_spectrum(block, tolerance) for block in blocks)

    def _has_spectrum(self, block: Array, tolerance: float) -> bool:
        found = np.linalg.svd(block.astype("float64"), compute_uv=False)
        expected = np.asarray(self.singular_values)
        ratio = math.sqrt(float(np.square(found).sum() / np.square(expected).sum()))
        if not ratio:
            return False
        return bool((np.abs(found / ratio - expected) <= tolerance * expected[0]).all())


def is_frame(block: Array, tolerance: float) -> bool:
    """Return whether the columns or the rows of a matrix are orthogonal and of equal length."""
    if block.shape[0] < block.shape[1]:
        block = block.T
    count = block.shape[1]
    first, last = block[:, 0], block[:, -1]
    squares = float(first @ first)
    # Two columns say so of most matrices already.
    if not squares or (count > 1 and abs(float(first @ last)) > tolerance * squares):
        return False
    probes = np.random.default_rng(0).standard_normal((count, _PROBES)).astype(block.dtype)
    kept = block.T @ (block @ probes) / squares
    error = float(np.linalg.norm(kept - probes) / np.linalg.norm(probes))
    return error < tolerance


@dataclass(frozen=True, eq=False)
class CenterLaw(Law):
    """The kernel of a convolution is zero except at the center of its window.

    Attributes:
        center: The law at the center, for an array of the last two axes.
        std: The standard deviation of the whole kernel.
    """

    center: Law
    std: float

    @property
    def reach(self) -> float:
        return self.center.reach

    def scaled(self, factor: float) -> Self:
        return replace(self, center=self.center.scaled(factor), std=self.std * abs(factor))


@dataclass(frozen=True, eq=False)
class TiledLaw(Law):
    """Equal parts along the last axis are copies of the first.

    Attributes:
        count: The number of parts.
        part: The law of one part.
    """

    count: int
    part: Law

    @property
    def std(self) -> float | None:  # type: ignore[override]
        """The standard deviation of one part, which all parts share."""
        return self.part.std

    def scaled(self, factor: float) -> Self:
        return replace(self, part=self.part.scaled(factor))


class MixedLaw(Law):
    """Parts of the values have known laws of their own, and the whole has no formula."""

    std = None

    def scaled(self, factor: float) -> Self:
        return self
