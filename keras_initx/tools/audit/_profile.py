"""The known facts about the values of a weight: from a law, from its draws, or from a file.

A `Reading` is an array with its measured values. A `Profile` has the measurements, or the same
facts about infinitely many values of a law. For a kernel of `Dense(64)`, for example:

    Profile(kind="random", size=3072, mean=0.0012, std=0.13, kurtosis=1.8, bits=23,
            quantiles=(-0.229, ...), parts=(Parts(axis=0, ...), ...), ...)

*Parts* are equal pieces of a weight along an axis, such as gates. *Slices* are all pieces of length
one, such as units. A profile has the farthest slices: the `Ends`. `_facts.py` describes each fact.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from keras_initx._checks import EPSILONS
from keras_initx._typing import Array, DType
from keras_initx.initializers._laws import IndependentLaw, NormalLaw, TruncatedLaw, UniformLaw
from keras_initx.tools.audit._probabilities import kolmogorov_p_value

# The resolution of a distribution: values that are compared with one. So many values differ
# from their law by more than 0.6 % in one of 100 cases. The extremes are those of all values.
SAMPLE = 1 << 16
# The resolution of a scale: values of which the moments are computed. The error of the standard
# deviation of so many normal values is 0.14 %, a seventh of what is reported.
MOST = 1 << 18
# With a larger share of zeros, moments and quantiles are those of the other values. It is 50 times
# what rounding to float32 may make.
SHARE_OF_ZEROS = 0.005


@dataclass(frozen=True)
class Reading:
    """The values of a weight, which are measured.

    Attributes:
        values: All of them, in float32 or float64.
        dtype: The dtype that they were rounded to.
        lowest: The lowest of them.
        highest: The highest of them.
        zeros: The share of zeros.
        sample: Some of the values that count for the moments, in float64: without outliers, and
            without zeros if there are many.
        ordered: Some of these, in increasing order.
        outliers: The number of outliers.
        median: Their median, also with outliers.
        reach: The largest distance from the median without being an outlier, 0 if it is not known.
    """

    values: Array
    dtype: DType
    lowest: float
    highest: float
    zeros: float
    sample: Array
    ordered: Array
    outliers: int
    median: float
    reach: float

    @property
    def is_sparse(self) -> bool:
        """Whether zeros do not count for the moments."""
        return self.zeros > SHARE_OF_ZEROS


def make_reading(values: Array, dtype: DType) -> Reading:
    """Choose the measurements for values that are not all equal. See `Reading`."""
    lowest, highest = float(values.min()), float(values.max())
    zeros = 1 - np.count_nonzero(values) / values.size
    is_sparse = zeros > SHARE_OF_ZEROS
    sample = sample_for_moments(values[values != 0] if is_sparse else values).astype("float64")
    ordered = np.sort(sample_values(sample))
    low, median, high = compute_quantiles(ordered, np.array([0.25, 0.5, 0.75])).tolist()
    # Where one number is a quarter of the values, quartiles do not tell how the others spread.
    reach = 0.0 if median in (low, high) else compute_reach(low, high)
    outliers = 0
    if reach and max(highest - median, median - lowest) > reach:
        outliers = int(np.count_nonzero(np.abs(values - median) > reach))
        if is_sparse and abs(median) > reach:
            outliers -= values.size - int(np.count_nonzero(values))
        sample = sample[np.abs(sample - median) <= reach]
        ordered = ordered[np.abs(ordered - median) <= reach]
    return Reading(values, dtype, lowest, highest, zeros, sample, ordered, outliers, median, reach)


def compute_reach(low: float, high: float) -> float:
    """Compute the largest distance from the median that makes no outlier, from the quartiles.

    It is 12 deviations of normal values, whose quartiles are 1.349 deviations apart. Of these, one
    in 10**32 is farther; but the truncated ones of torch are the lower bound now and then.
    """
    return 12 * (high - low) / 1.349


def compute_quantiles(ordered: Array, levels: Array) -> Array:
    """Compute the quantiles of values in increasing order."""
    quantiles: Array = np.interp(levels * (ordered.size - 1), np.arange(ordered.size), ordered)
    return quantiles


def sample_for_moments(values: Array) -> Array:
    """Take all values, or 262,144 of them, as a vector."""
    return sample_values(values, MOST, run=4096)


def sample_values(values: Array, size: int = SAMPLE, run: int = 64) -> Array:
    """Take at most `size` of the values: runs of neighbors from everywhere in the array."""
    flat = values.reshape(-1)
    if flat.size <= size:
        return flat
    runs = size // run
    stratum = flat.size / runs
    room = np.random.default_rng(0).random(runs) * (stratum - run)
    starts = (np.arange(runs) * stratum + room).astype(int)
    return flat[starts[:, None] + np.arange(run)].reshape(-1)


def epsilon(dtype: DType) -> float:
    """Return the float spacing of `dtype` at 1, or of float32 if that is larger."""
    return max(EPSILONS.get(dtype, 0.0), EPSILONS["float32"])


KINDS = ("constant", "fixed", "random", "unknown")
# What is equal within a weight: a status, such as "equal slices", and which ones in words.
Finding: TypeAlias = tuple[str, str]
NOTHING: Finding = ("", "")
# Why the values of a weight are not known.
NOT_FINITE = "not finite"
INFINITE = "infinite"
# It cannot be meant, whatever others have.
LOST = "not finite where it must be"
# A rate of false answers: values with a smaller probability are not of a family, or not distributed
# as others.
IMPLAUSIBLE = 1e-3
# The same rate in standard errors: no family has longer tails than normal values by more. Where
# parts are normal with scales of their own, the whole has.
_LONG_TAILS = 3.0
# The probabilities of the quantiles, 1 % apart, and more of them in the tails.
_TAIL = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.012, 0.015)
LEVELS = np.concatenate([_TAIL, np.linspace(0.02, 0.98, 97), 1 - np.array(_TAIL[::-1])])


# Takes so many numbers from a file, the next ones.
Take: TypeAlias = Callable[[int], list[Any]]


@dataclass(frozen=True)
class Parts:
    """The values of equal parts of a weight along an axis.

    Attributes:
        axis: The axis.
        size: The number of measured values in a part; in the smallest part if they are nearly
            equal.
        means: The mean of each part.
        stds: The standard deviation of each part.
    """

    axis: int
    size: int
    means: tuple[float, ...]
    stds: tuple[float, ...]

    @property
    def key(self) -> tuple[int, int]:
        """The axis and the number of parts. Parts of two weights with equal keys are compared."""
        return self.axis, len(self.stds)

    @staticmethod
    def merge(draws: Sequence["Parts"]) -> "Parts":
        """Combine the same parts of several draws."""
        means = np.array([draw.means for draw in draws])
        stds = np.array([draw.stds for draw in draws])
        mean = means.mean(axis=0)
        std = np.sqrt(np.mean(stds**2 + (means - mean) ** 2, axis=0))
        size = sum(draw.size for draw in draws)
        return Parts(draws[0].axis, size, tuple(mean.tolist()), tuple(std.tolist()))

    def list_numbers(self) -> tuple[float, ...]:
        """List all numbers, as `read` takes them from a file."""
        return self.axis, self.size, len(self.means), *self.means, *self.stds

    @staticmethod
    def read(take: Take) -> "Parts":
        axis, size, count = take(3)
        return Parts(axis, size, tuple(take(count)), tuple(take(count)))


class Farthest(NamedTuple):
    """The lowest and the highest of some numbers, with their indices."""

    low: float
    high: float
    low_index: float
    high_index: float


@dataclass(frozen=True)
class Ends:
    """The slices along an axis, such as units, by those that are farthest from the others.

    Attributes:
        axis: The axis.
        size: The number of measured values of a slice.
        number: The number of slices.
        means: The lowest and the highest mean of a slice.
        stds: The lowest and the highest standard deviation of a slice.
    """

    axis: int
    size: int
    number: int
    means: Farthest
    stds: Farthest

    @staticmethod
    def merge(draws: Sequence["Ends"]) -> "Ends":
        """Combine the slices along one axis from several draws: the farthest of all."""
        number = sum(draw.number for draw in draws)
        means = _merge_farthest([draw.means for draw in draws])
        stds = _merge_farthest([draw.stds for draw in draws])
        return Ends(draws[0].axis, draws[0].size, number, means, stds)

    def list_numbers(self) -> tuple[float, ...]:
        """List all numbers, as `read` takes them from a file."""
        return self.axis, self.size, self.number, *self.means, *self.stds

    @staticmethod
    def read(take: Take) -> "Ends":
        axis, size, number = take(3)
        return Ends(axis, size, number, Farthest(*take(4)), Farthest(*take(4)))


def _merge_farthest(draws: Sequence[Farthest]) -> Farthest:
    lowest = min(draws, key=lambda draw: draw.low)
    highest = max(draws, key=lambda draw: draw.high)
    return Farthest(lowest.low, highest.high, lowest.low_index, highest.high_index)


@dataclass(frozen=True)
class Profile:
    """The known facts about the values of a weight.

    If more than 0.5 % of the values are zero, as in a sparse kernel, moments and quantiles describe
    all other values. Outliers, which are more than 12 deviations from the median, count for the
    extremes only.

    Attributes:
        kind: `"constant"`; `"fixed"`, equal in all draws; `"random"`; or `"unknown"`.
        reason: Why it is unknown, otherwise empty.
        value: The value of a constant.
        digest: The digest of the values, see `InitializationPlan.save`, if all draws have it.
        spot_values: Some of the values, at even distances.
        size: The number of values that the moments describe.
        independent: The number of independent values with the same information.
        mean: Their mean.
        std: Their standard deviation, 0 if it is not known.
        kurtosis: Their fourth moment, in standard deviations.
        total: The number of all values.
        zeros: The share of zeros among all values.
        connections: The number of values along the first axis, and of values along the last, that
            are not zero for each index; -1 if it varies, or if hardly any are zero.
        outliers: The number of outliers among all values.
        lowest: The lowest of all values.
        highest: The highest of all values.
        bits: The number of used bits of the mantissa.
        quantiles: 113 quantiles, more of them in the tails.
        parts: The values of equal parts along each axis.
        ends: The farthest values of slices along each axis; empty if they are not known.
        frames: For orthonormal values, the number of orthonormal blocks next to each other along
            the last axis (1 if the whole is orthonormal), and the axis of the orthonormal vectors:
            `"first"` or `"last"`. Otherwise `None`.
        repeated: Equal values within the weight: `"copies"` or `"equal slices"`, and their
            position. Both are empty if there are none; `None` if it differs from draw to draw.
        signs: The signs of the first values of one draw, see `encode_signs`.
        ranks: The order of the first values of one draw, see `encode_ranks`.
        varies: Whether the scale or the mean varies more from draw to draw than for independent
            values, `None` if that is not known.
        law: The law, if an initializer states one.
    """

    kind: str = "unknown"
    reason: str = ""
    value: float | None = None
    digest: str | None = None
    spot_values: tuple[float, ...] = ()
    size: int = 0
    independent: float = 0.0
    mean: float = 0.0
    std: float = 0.0
    kurtosis: float = 3.0
    total: int = 0
    zeros: float = 0.0
    connections: tuple[int, ...] = (-1, -1)
    outliers: int = 0
    lowest: float = -math.inf
    highest: float = math.inf
    bits: int = 23
    quantiles: tuple[float, ...] = ()
    parts: tuple[Parts, ...] = ()
    ends: tuple[Ends, ...] = ()
    frames: tuple[int, str] | None = None
    repeated: Finding | None = NOTHING
    signs: str = ""
    ranks: str = ""
    varies: bool | None = False
    law: IndependentLaw | None = None

    @property
    def has_distribution(self) -> bool:
        """Whether it has moments and quantiles."""
        return bool(self.quantiles)

    @property
    def std_of_all(self) -> float | None:
        """The standard deviation, with zeros that do not count for the moments, if it is known."""
        if not self.std and self.kind != "constant":
            return None
        if self.zeros <= SHARE_OF_ZEROS or self.law is not None:
            return self.std
        share = 1 - self.zeros
        return math.sqrt(share * self.root_mean_square**2 - (share * self.mean) ** 2)

    @property
    def text(self) -> str:
        """The kind in words, with the family of the distribution if it is known."""
        if self.kind == "constant":
            return f"constant {self.value:.4g}"
        if self.kind == "random":
            return self.family or "random"
        if self.kind == "unknown":
            return f"({self.reason})"
        return self.kind

    @property
    def error(self) -> float:
        """The standard error of the logarithm of the standard deviation."""
        if self.frames:
            return 0.0  # the squares of a frame have a fixed sum
        # Of normal values, the degrees of freedom are their number (Box, 1953).
        degrees = 2 * self.independent / max(self.kurtosis - 1, 0.1)
        return 1 / math.sqrt(2 * max(degrees, 1.0))

    @property
    def root_mean_square(self) -> float:
        """The root mean square of the values."""
        return math.hypot(self.mean, self.std)

    @functools.cached_property
    def laws(self) -> tuple[IndependentLaw, ...]:
        """The law, or the laws of all families that the values may come from."""
        if self.law is not None:
            return (self.law,)
        size = int(min(self.independent, SAMPLE))
        # Fewer values may be of any family.
        if self.frames or size < 256 or not self.std or self._has_long_tails:
            return ()
        return tuple(law for law in list_family_laws(self.mean, self.std) if self._may_be_of(law))

    def _may_be_of(self, law: IndependentLaw) -> bool:
        """Return whether the values may be of a law with their mean and standard deviation."""
        quantiles = np.array(self.quantiles)
        # Bounds of the law may be 4 errors off, which they are in one of 10,000 cases.
        slack = 4 * self.std * (2 * self.error + self.independent**-0.5)
        low, high = law.bounds
        if quantiles[0] < low - slack or quantiles[-1] > high + slack:
            return False
        # The probability that no value is farther out than the lowest and the highest.
        ends = np.array([self.lowest - slack, self.highest + slack])
        below, up_to = law.distribution_function(ends)
        none_outside = math.exp(-self.independent * max(below + 1 - up_to, 0.0))
        distance = float(np.abs(law.distribution_function(quantiles) - LEVELS).max())
        p = kolmogorov_p_value(distance, int(min(self.independent, SAMPLE)))
        return min(p, none_outside) > IMPLAUSIBLE

    @property
    def _has_long_tails(self) -> bool:
        """Whether values are farther out, or nearer to the mean, than normal values."""
        if self.kurtosis > 3 + _LONG_TAILS * math.sqrt(24 / self.independent):
            return True
        if math.isinf(self.highest - self.lowest):
            return False
        # What is beyond the last quantiles is between these and the ends.
        far = np.abs(np.array([self.lowest, *self.quantiles, self.highest]) - self.mean)
        shares = np.diff([0.0, *LEVELS, 1.0])
        absolute = float(shares @ (far[1:] + far[:-1])) / 2 / self.std
        # The mean absolute deviation of normal values, and its standard error (Geary, 1936).
        error = math.sqrt((1 - 3 / math.pi) / self.independent)
        return absolute < math.sqrt(2 / math.pi) - _LONG_TAILS * error

    @property
    def families(self) -> tuple[str, ...]:
        """The families of distributions that the values may be of."""
        if self.frames:
            return ("orthonormal",)
        return tuple(law.name for law in self.laws)

    @property
    def family(self) -> str:
        """The family of distributions that the values are of, empty if none is singled out."""
        return self.families[0] if len(self.families) == 1 else ""


def list_family_laws(mean: float, std: float) -> Iterator[IndependentLaw]:
    """Yield the laws of initializers with this mean and standard deviation."""
    yield NormalLaw(mean, std)
    yield TruncatedLaw(-2.0, 2.0, mean, std)
    width = math.sqrt(3) * std
    yield UniformLaw(mean - width, mean + width)


def round_numbers(value: Any) -> Any:
    """Round the numbers of a profile to seven digits, so that it is equal to its file."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, Farthest):
        return Farthest(*map(round_numbers, value))
    if isinstance(value, tuple):
        return tuple(map(round_numbers, value))
    if isinstance(value, Profile | Parts | Ends):
        values = [getattr(value, attribute.name) for attribute in fields(value)]
        return type(value)(*map(round_numbers, values))
    return value


# How far a standard deviation is from the one expected, and how exactly that is known.


# The kurtosis of a law with long tails, such as the exponential law.
KURTOSIS_OF_LONG_TAILS = 9.0


class Scale(NamedTuple):
    """The ratio of a standard deviation to the expected one.

    Attributes:
        log: Its logarithm.
        error: The standard error of the logarithm, 0 for frames.
    """

    log: float
    error: float


class Degrees(NamedTuple):
    """The degrees of freedom of two variances, infinite if they are exact."""

    expected: float
    actual: float


def estimate_scale(expected: Profile, actual: Profile) -> Scale:
    """Compare two known standard deviations."""
    log = math.log(estimate_variance(actual) / estimate_variance(expected)) / 2
    return Scale(log, compute_error_of_ratio(*estimate_degrees(expected, actual)))


def compute_error_of_ratio(first: float, second: float) -> float:
    """Compute the standard error of the logarithm of the ratio of two standard deviations.

    Args:
        first: The degrees of freedom of one.
        second: The degrees of freedom of the other.
    """
    return math.sqrt(0.5 / first + 0.5 / second)


def estimate_variance(profile: Profile) -> float:
    """Estimate the variance of the law, without bias."""
    size = profile.independent
    bias = 1 - 1 / size if size > 1 else 1.0
    return profile.std**2 / bias


def estimate_degrees(expected: Profile, actual: Profile) -> Degrees:
    """Estimate the degrees of freedom of two variances.

    The variance of n values with kurtosis k varies like that for 2 * n / (k - 1) normal values
    (Box, 1953).
    """
    if expected.frames and actual.frames:
        return Degrees(math.inf, math.inf)
    factor = 2 / (estimate_kurtosis((expected, actual)) - 1)
    return Degrees(
        max(factor * (expected.independent - 1), 2.0), max(factor * (actual.independent - 1), 2.0)
    )


def estimate_kurtosis(profiles: Sequence[Profile]) -> float:
    """Estimate the kurtosis of the law of all samples. The first tells whether a law is known.

    That of few values is uncertain, and nearly always too low: others are added. Their numbers
    bound the rate of false alarms, which `python tests/support/right_draws.py` counts.
    """
    added, kurtosis = (64, 3.0) if profiles[0].laws else (32, KURTOSIS_OF_LONG_TAILS)
    size, total = float(added), kurtosis * added
    for profile in profiles:
        count = max(profile.size, 2)
        size += count
        # Of n normal values it is 3 * (n - 1) / (n + 1) on average.
        total += count * profile.kurtosis * (count + 1) / (count - 1)
    return max(total / size, 1.1)  # with 1, of two numbers, degrees of freedom are endless
