"""What is known of the values of a weight: from a law, from draws of it, or from a file.

A law is a sample with infinitely many values.
"""

import functools
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._typing import Array, DType
from keras_initx.audits._crowded import crowded
from keras_initx.audits._parts import Parts, Slices, parts_of, slices_of
from keras_initx.audits._probabilities import kolmogorov
from keras_initx.audits._repeated import (
    SAMPLE,
    epsilon,
    repeated,
    sample_of,
    sampled,
)
from keras_initx.initializers._laws import (
    IndependentLaw,
    NormalLaw,
    TruncatedLaw,
    UniformLaw,
    is_frame,
)
from keras_initx.models._digest import array_digest

KINDS = ("constant", "fixed", "random", "unknown")
# Of what is equal within a weight.
NOTHING = ("", "")
# Why the values of a weight are not known.
NOT_FINITE = "not finite"
INFINITE = "infinite"
# It cannot be meant, whatever others have.
LOST = "not finite where it must be"
# Values of a fixed weight that are kept, to compare those that differ in their last bits.
_PLACES = 64
# With a larger share of zeros, moments and quantiles are those of the other values.
SHARE_OF_ZEROS = 0.005
# Values farther from the median, in deviations, are outliers. Normal values have none, and the
# truncated ones of torch are the lower bound now and then.
_FAR = 12.0
# The interquartile range of normal values, in deviations.
_INTERQUARTILE = 1.349
# The numbers of frames beside each other along the last axis: one for each gate.
_FRAMES = (1, 3, 4)
_FEWEST_COLUMNS = 4
# Fewer values may be of any family.
_FEWEST_OF_FAMILY = 256
# Independent values with more bits are different numbers.
BITS_OF_RANDOM = 16
# Fewer different values may all be there an even number of times by chance.
_FEWEST_DIFFERENT = 16
# With a smaller probability, values are not of a family.
_IMPLAUSIBLE = 1e-3
# Nor with a kurtosis that is higher than that of normal values by so many standard errors, or a
# mean absolute deviation that is lower, as where parts are normal with scales of their own: no
# family has longer tails.
_LONG_TAILS = 3.0
# The mean absolute deviation of normal values, in deviations, and its standard error for one value
# (Geary, 1936).
_ABSOLUTE = math.sqrt(2 / math.pi)
_ABSOLUTE_ERROR = 0.2123
# Bounds and scales of a family may be so many errors off.
_SPREAD = 4.0
# The probabilities of the quantiles, more of them in the tails.
_TAIL = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.012, 0.015)
LEVELS = np.concatenate([_TAIL, np.linspace(0.02, 0.98, 97), 1 - np.array(_TAIL[::-1])])


@dataclass(frozen=True)
class Profile:
    """What is known of the values of a weight.

    Where more than 0.5 % of the values are zero, as in a sparse kernel, moments and quantiles are
    those of all others. Outliers, which are more than 12 deviations from the median, count for the
    extremes only.

    Attributes:
        kind: `"constant"`; `"fixed"`, equal in all draws; `"random"`; or `"unknown"`.
        reason: Why it is unknown, otherwise empty.
        value: The value of a constant.
        digest: The digest of the values, see `InitializationPlan.save`, if all draws have it.
        places: Some of the values of a fixed weight, at even distances.
        size: The number of values that the moments are of.
        independent: The number of independent values that would tell as much.
        mean: Their mean.
        std: Their standard deviation, 0 if it is not known.
        kurtosis: Their fourth moment, in standard deviations.
        total: The number of all values.
        zeros: The share of zeros among all values.
        zeros_at: A digest of which values are zero, if that is the same in all draws.
        connections: The number of values along the first axis, and of values along the last, that
            are not zero for each index; -1 if it varies, or if hardly any are zero.
        outliers: The number of outliers among all values.
        lowest: The lowest of all values.
        highest: The highest of all values.
        bits: The number of bits of the mantissa that are used.
        quantiles: 113 quantiles, more of them in the tails.
        parts: The values of equal parts along each axis.
        slices: The values of slices along each axis, by the farthest; empty if it is not known.
        frames: 0 if the values are not orthonormal; 1 if all together are, else the number of
            blocks beside each other along the last axis of which each is.
        frames_axis: The axis along which blocks are orthonormal: `"first"` or `"last"`.
        repeated: What is equal within the weight, `"copies"` or `"equal slices"`, and where, both
            empty if nothing is; `None` if it differs from draw to draw, or is not known.
        varies: What is another in each draw, more than of independent values: `"scale"`, `"mean"`.
        crowded: In which slices one value is too often there, see `crowded`; as `repeated`.
        law: The law, if it is known from one.
    """

    kind: str
    reason: str = ""
    value: float | None = None
    digest: str | None = None
    places: tuple[float, ...] = ()
    size: int = 0
    independent: float = 0.0
    mean: float = 0.0
    std: float = 0.0
    kurtosis: float = 3.0
    total: int = 0
    zeros: float = 0.0
    zeros_at: str | None = None
    connections: tuple[int, int] = (-1, -1)
    outliers: int = 0
    lowest: float = -math.inf
    highest: float = math.inf
    bits: int = 23
    quantiles: tuple[float, ...] = ()
    parts: tuple[Parts, ...] = ()
    slices: tuple[Slices, ...] = ()
    frames: int = 0
    frames_axis: str = ""
    repeated: tuple[str, str] | None = None
    varies: tuple[str, ...] = ()
    crowded: tuple[str, str] | None = None
    law: IndependentLaw | None = None

    @property
    def has_distribution(self) -> bool:
        """Whether moments and quantiles are known."""
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
        """The law, or those of the families that the values may be of."""
        if self.law is not None:
            return (self.law,)
        size = int(min(self.independent, SAMPLE))
        if self.frames or size < _FEWEST_OF_FAMILY or not self.std:
            return ()
        if self._has_long_tails:
            return ()
        plausible = []
        quantiles = np.array(self.quantiles)
        for law in _families(self.mean, self.std):
            distance = float(np.abs(law.distribution_function(quantiles) - LEVELS).max())
            slack = _SPREAD * self.std * (2 * self.error + self.independent**-0.5)
            # That all values are as far in as they are.
            ends = np.array([self.lowest - slack, self.highest + slack])
            below, up_to = law.distribution_function(ends)
            inside = math.exp(-self.independent * max(below + 1 - up_to, 0.0))
            has_bounds = (
                law.bounds[0] - slack <= quantiles[0] <= quantiles[-1] <= law.bounds[1] + slack
            )
            if has_bounds and min(kolmogorov(distance, size), inside) > _IMPLAUSIBLE:
                plausible.append(law)
        return tuple(plausible)

    @property
    def _has_long_tails(self) -> bool:
        """Whether values are farther out, and nearer to the mean, than normal ones."""
        if self.kurtosis > 3 + _LONG_TAILS * math.sqrt(24 / self.independent):
            return True
        # What is beyond the last quantiles is between these and the ends.
        far = np.abs(np.array([self.lowest, *self.quantiles, self.highest]) - self.mean)
        shares = np.diff([0.0, *LEVELS, 1.0])
        absolute = float(shares @ (far[1:] + far[:-1])) / 2 / self.std
        error = _ABSOLUTE_ERROR / math.sqrt(self.independent)
        return absolute < _ABSOLUTE - _LONG_TAILS * error

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


def _families(mean: float, std: float) -> Iterator[IndependentLaw]:
    """Yield the distributions that initializers draw from, with this mean and deviation."""
    yield NormalLaw(mean, std)
    yield TruncatedLaw(-2.0, 2.0, mean, std)
    width = math.sqrt(3) * std
    yield UniformLaw(mean - width, mean + width)


# From values.


def of_array(stored: Array, dtype: DType) -> Profile:
    """Return the profile of an array in its own dtype: what one draw says."""
    if 0 in stored.shape:
        return Profile("unknown", "empty")
    if dtype not in DTYPES:
        return Profile("unknown", f"{dtype}, of one draw", digest=array_digest(stored))
    if dtype != "float64":  # which is float32 on JAX, without its option
        stored = stored.astype(dtype, copy=False)
    values = as_numbers(stored)
    return replace(of_values(values, dtype), digest=array_digest(stored))


def as_numbers(array: Array) -> Array:
    """Return an array in float64 if it has that dtype, else in float32."""
    if array.dtype == np.float64:
        return array
    return np.asarray(array, "float32")


def of_values(values: Array, dtype: DType, share: float | None = None) -> Profile:
    """Return the profile of numbers, of which there is one at least, without a digest.

    Args:
        values: An array in float32 or float64.
        dtype: The dtype that they were rounded to.
        share: The share of the most frequent value that is expected, if that is known.
    """
    lowest = float(values.min())
    highest = float(values.max())
    if not math.isfinite(lowest + highest):
        reason = NOT_FINITE if np.isnan(values).any() else INFINITE
        return Profile("unknown", reason)
    if lowest == highest:
        return Profile("constant", value=lowest + 0.0, size=values.size, std=0.0)  # not -0
    zeros = 1 - np.count_nonzero(values) / values.size
    is_sparse = zeros > SHARE_OF_ZEROS
    counted = values[values != 0] if is_sparse else values
    sample = sampled(counted).astype("float64")
    ordered = np.sort(sample_of(sample))
    low, median, high = _quantiles(ordered, np.array([0.25, 0.5, 0.75]))
    # Where one number is a quarter of the values, quartiles do not tell how the others spread.
    reach = 0.0 if median in (low, high) else reach_of_values(low, high)
    outliers = 0
    if reach and max(highest - median, median - lowest) > reach:
        outliers = int(np.count_nonzero(np.abs(values - median) > reach))
        if is_sparse and abs(median) > reach:
            outliers -= values.size - int(np.count_nonzero(values))
        sample = sample[np.abs(sample - median) <= reach]
        ordered = ordered[np.abs(ordered - median) <= reach]
    bits = _bits(sample)
    frames, frames_axis = _frames(values, dtype)
    inliers = (median, reach) if outliers else None
    found = Profile(
        "random",
        places=_places(values),
        size=sample.size,
        independent=_independent(sample.size, ordered, bits),
        mean=float(sample.mean()),
        std=float(sample.std()),
        kurtosis=_kurtosis(sample),
        total=values.size,
        zeros=zeros,
        outliers=outliers,
        lowest=lowest,
        highest=highest,
        bits=bits,
        quantiles=tuple(_quantiles(ordered, LEVELS).tolist()),
        parts=tuple(parts_of(values, inliers)),
        frames=frames,
        frames_axis=frames_axis,
        repeated=repeated(values, dtype),
        crowded=crowded(values, dtype, share),
    )
    if is_sparse:
        zeros_at, connections = _digest_of_zeros(values), _connections(values)
        found = replace(found, zeros_at=zeros_at, connections=connections)
    elif not outliers:
        # Of slices with zeros or outliers, the farthest say nothing of the others.
        found = replace(found, slices=tuple(slices_of(values)))
    profile: Profile = rounded(found)
    return profile


def _kurtosis(sample: Array) -> float:
    """Return the fourth moment, in standard deviations."""
    std = sample.std()
    if not std:
        return 3.0
    squares = ((sample - sample.mean()) / std) ** 2
    return float(np.mean(squares * squares))


def _independent(size: int, ordered: Array, bits: int) -> float:
    """Return the number of independent values that would tell as much as a sample.

    Args:
        size: The size of the sample.
        ordered: Some of its values, in increasing order.
        bits: The number of bits of the mantissa that they use.
    """
    if bits > BITS_OF_RANDOM:
        return size * ((1 + int(np.count_nonzero(np.diff(ordered)))) / ordered.size)
    return size / _copies(ordered)


def reach_of_values(low: float, high: float) -> float:
    """Return how far from the median a value is no outlier, by the quartiles of all."""
    return _FAR * (high - low) / _INTERQUARTILE


def _quantiles(ordered: Array, levels: Array) -> Array:
    """Return the quantiles of values in increasing order."""
    places: Array = np.interp(levels * (ordered.size - 1), np.arange(ordered.size), ordered)
    return places


def rounded(value: Any) -> Any:
    """Return a profile with seven digits, as files have it: both say the same."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, tuple):
        return tuple(map(rounded, value))
    if isinstance(value, Profile | Parts | Slices):
        return type(value)(*(rounded(getattr(value, field.name)) for field in fields(value)))
    return value


def _places(values: Array) -> tuple[float, ...]:
    """Return some of the values, at even distances."""
    places = np.linspace(0, values.size - 1, min(values.size, _PLACES)).astype(int)
    return tuple(values.reshape(-1)[places].tolist())


def _digest_of_zeros(values: Array) -> str:
    """Return a digest of which values are zero."""
    return hashlib.blake2b(np.packbits(values == 0).tobytes(), digest_size=16).hexdigest()


def _connections(values: Array) -> tuple[int, int]:
    """Return how many values are not zero for each index of the first axis, and of the last.

    It is -1 where that varies.
    """
    found = []
    for matrix in (values.reshape(len(values), -1), values.reshape(-1, values.shape[-1]).T):
        counts = np.count_nonzero(matrix, axis=1)
        is_one = (counts == counts[0]).all()
        found.append(int(counts[0]) if is_one else -1)
    return found[0], found[1]


def _copies(values: Array) -> int:
    """Return how often each value is there, where few bits make values equal too: once or more."""
    counts = np.unique(values, return_counts=True)[1]
    if counts.size < _FEWEST_DIFFERENT:
        return 1
    return int(np.gcd.reduce(counts))


def _bits(values: Array) -> int:
    """Return how many bits of the mantissa of float32 are used, up to the last that is not 0."""
    used = int(np.bitwise_or.reduce(values.astype("float32").view("uint32")) & 0x7FFFFF)
    if not used:
        return 0
    return 24 - (used & -used).bit_length()


def _frames(values: Array, dtype: DType) -> tuple[int, str]:
    """Return the number of orthonormal blocks and their axis, see `Profile`."""
    tolerance = tolerance_of_frames(dtype)
    matrices = {"last": values.reshape(-1, values.shape[-1])} if values.ndim > 1 else {}
    if values.ndim > 2:
        matrices["first"] = values.reshape(values.shape[0], -1)
    for axis, matrix in matrices.items():
        if not matrix[0].any():  # as beside the center of a window
            matrix = matrix[matrix.any(axis=1)]
        for count in _FRAMES:
            if matrix.shape[1] % count or (count > 1 and axis == "first"):
                continue
            blocks = np.split(matrix, count, axis=1)
            if all(_are_enough(block, tolerance) for block in blocks) and all(
                is_frame(block, 2 * tolerance) for block in blocks
            ):
                return count, axis
    return 0, ""


def tolerance_of_frames(dtype: DType) -> float:
    """Return how far orthonormal values may be from that by rounding."""
    return max(1e-3, 8 * epsilon(dtype))


def _are_enough(block: Array, tolerance: float) -> bool:
    """Return whether a block has more columns than are orthogonal by chance.

    Long columns are nearly so.
    """
    count, length = sorted(block.shape)
    return count >= _FEWEST_COLUMNS and math.sqrt(count / length) >= 10 * tolerance
