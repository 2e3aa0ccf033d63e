"""Profiles of values, of arrays and of laws."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._typing import Array, DType, Shape
from keras_initx.audits._crowded import crowded
from keras_initx.audits._ends import ends_of
from keras_initx.audits._equal_values import independent_of
from keras_initx.audits._frames import axis_of, frames_of
from keras_initx.audits._norms import norms_of
from keras_initx.audits._one_draw import ranks_of, signs_of
from keras_initx.audits._parts import parts_of, parts_of_law
from keras_initx.audits._precision import bits_of
from keras_initx.audits._profile import INFINITE, LEVELS, NOT_FINITE, NOTHING, Profile, rounded
from keras_initx.audits._reading import Reading, epsilon, quantiles_of, reading_of
from keras_initx.audits._repeated import repeated
from keras_initx.audits._zeros import connections_of, places_of_zeros
from keras_initx.initializers._laws import FrameLaw, IndependentLaw
from keras_initx.models._digest import array_digest
from keras_initx.sampling._conversion import NORMAL_REACH

# What is measured of random values, by the fields of a profile.
_MEASURES: dict[str, Callable[[Reading], Any]] = {
    "independent": independent_of,
    "zeros_at": places_of_zeros,
    "connections": connections_of,
    "bits": bits_of,
    "parts": parts_of,
    "ends": ends_of,
    "frames": frames_of,
    "norms": norms_of,
    "repeated": repeated,
    "crowded": crowded,
    "signs": signs_of,
    "ranks": ranks_of,
}
# Values of a fixed weight that are kept, to compare those that differ in their last bits.
_PLACES = 64
# The values that a law stands for. Infinity has no share.
_ENDLESS = 1e12
# Points between which a distribution function is nearly linear.
_GRID = 4097
# No continuous distribution has so many exact zeros. Of normal draws, one in 65,536 is 0; of those
# that Keras makes in 16 bits, many more.
_ZEROS = {"bfloat16": 2.0**-7, "float16": 2.0**-9}
_ZEROS_ELSE = 1e-4


def of_array(stored: Array, dtype: DType) -> Profile:
    """Return the profile of an array in its own dtype: what one draw says."""
    if 0 in stored.shape:
        return Profile("unknown", "empty")
    if dtype not in DTYPES:
        return Profile("unknown", f"{dtype}, of one draw", digest=array_digest(stored))
    if dtype != "float64":  # which is float32 on JAX, without its option
        stored = stored.astype(dtype, copy=False)
    profile = of_values(as_numbers(stored), dtype)
    # Of a constant, the value says all.
    digest = None if profile.kind == "constant" else array_digest(stored)
    return replace(profile, digest=digest)


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
    reading = reading_of(values, dtype, share)
    sample = reading.sample
    profile: Profile = rounded(
        Profile(
            "random",
            places=_places(values),
            size=sample.size,
            mean=float(sample.mean()),
            std=float(sample.std()),
            kurtosis=_kurtosis(sample),
            total=values.size,
            zeros=reading.zeros,
            outliers=reading.outliers,
            lowest=lowest,
            highest=highest,
            quantiles=tuple(quantiles_of(reading.ordered, LEVELS).tolist()),
            **{name: measure(reading) for name, measure in _MEASURES.items()},
        )
    )
    return profile


def _kurtosis(sample: Array) -> float:
    """Return the fourth moment, in standard deviations."""
    std = sample.std()
    if not std:
        return 3.0
    squares = ((sample - sample.mean()) / std) ** 2
    return float(np.mean(squares * squares))


def _places(values: Array) -> tuple[float, ...]:
    """Return some of the values, at even distances."""
    places = np.linspace(0, values.size - 1, min(values.size, _PLACES)).astype(int)
    return tuple(values.reshape(-1)[places].tolist())


def of_law(law: IndependentLaw | FrameLaw, dtype: DType, shape: Shape) -> Profile:
    """Return the profile of infinitely many values of a law, as an array of a shape has them."""
    endless = Profile(
        "random",
        size=int(_ENDLESS),
        independent=_ENDLESS,
        std=law.std,
        total=int(_ENDLESS),
        bits=round(-math.log2(epsilon(dtype))),
        repeated=NOTHING,
        crowded=NOTHING,
    )
    if isinstance(law, FrameLaw):
        return replace(endless, frames=(law.blocks, axis_of(law)))
    low, high = law.bounds
    grid = np.linspace(
        max(low, law.mean - NORMAL_REACH * law.std),
        min(high, law.mean + NORMAL_REACH * law.std),
        _GRID,
    )
    probabilities = law.distribution_function(grid)
    middles = (grid[1:] + grid[:-1]) / 2
    fourth = float(((middles - law.mean) ** 4 * np.diff(probabilities)).sum())
    fourth += float((grid[0] - law.mean) ** 4 * probabilities[0])
    atom = max(probabilities[0], 1 - probabilities[-2])  # as of a lower bound
    return replace(
        endless,
        independent=_ENDLESS * float(1 - atom),
        mean=law.mean,
        kurtosis=fourth / law.std**4,
        zeros=_ZEROS.get(dtype, _ZEROS_ELSE),
        lowest=low,
        highest=high,
        quantiles=tuple(np.interp(LEVELS, probabilities, grid).tolist()),
        parts=parts_of_law(law.mean, law.std, int(_ENDLESS), shape),
        norms="",
        law=law,
    )
