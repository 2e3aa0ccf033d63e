"""Single slices of a weight, such as units: those that are farthest from the whole are known."""

import math
from collections.abc import Iterator

import numpy as np

from keras_initx._typing import Array
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._probabilities import same_variance
from keras_initx.audits._profile import Ends, Profile
from keras_initx.audits._reading import MOST, Reading
from keras_initx.audits._scale_error import error_of_ratio
from keras_initx.audits._slices import slices_of_axes

# Values of a slice that are looked at, at least, if it has so many.
_FEWEST_SEEN = 64
# Slices of fewer values are not compared.
_FEWEST = 16
# Slices of values with longer tails than normal ones have may be of any scale.
_KURTOSIS_OF_NORMAL = 3.05
# With a smaller share of values that differ from each other, slices are not independent.
_INDEPENDENT = 0.9
# With a smaller probability, slices of what is expected have scales of their own.
_THEIR_OWN = 0.01


def ends_of(reading: Reading) -> tuple[Ends, ...]:
    """Return what is known of the slices along each axis.

    Of slices with zeros or outliers, the farthest say nothing of the others.
    """
    if reading.is_sparse or reading.outliers or reading.values.ndim < 2:
        return ()
    found = []
    for slices in slices_of_axes(reading.values):
        if slices.number < 2:
            continue
        seen = slices.seen(max(MOST // slices.number, _FEWEST_SEEN))
        means = seen.mean(axis=0, dtype="float64")
        stds = np.sqrt(np.square(seen - means).mean(axis=0))
        ends = Ends(slices.axes[0], len(seen), slices.number, _farthest(means), _farthest(stds))
        found.append(ends)
    return tuple(found)


def _farthest(numbers: Array) -> tuple[float, ...]:
    """Return the lowest and the highest number, and their places."""
    low, high = int(numbers.argmin()), int(numbers.argmax())
    return float(numbers[low]), float(numbers[high]), low, high


def of_single_slices(expected: Profile, found: Profile) -> Iterator[Outcome]:
    """Yield what is said of the slices that are farthest from the whole.

    They are compared where values are independent, of a family without long tails, and where the
    slices expected have no scales of their own.
    """
    has_long_tails = expected.law is not None and expected.kurtosis > _KURTOSIS_OF_NORMAL
    has_copies = found.independent < _INDEPENDENT * found.size
    if not expected.laws or has_long_tails or has_copies:
        return
    of_expected = {ends.axis: ends for ends in expected.ends}
    for ends in found.ends:
        before = of_expected.get(ends.axis)
        if ends.size < _FEWEST or (before is None and expected.law is None):
            continue
        if before is not None:
            chances = [outcome.p for outcome in _of_farthest(before, expected)]
            if len(chances) * min(chances) <= _THEIR_OWN:
                continue
        yield from _of_farthest(ends, found)


def _of_farthest(ends: Ends, profile: Profile) -> Iterator[Outcome]:
    """Yield how probable the lowest and the highest scale and mean of a slice are.

    Of values that are as far in as uniform ones, the scale varies less than of normal ones.
    """
    degrees = ends.size - 1
    error = error_of_ratio(math.inf, degrees)
    low, high, *places = ends.stds
    for std, place in zip((low, high), places, strict=True):
        ratio = max(std / profile.std, 1e-9)
        p = same_variance(ratio**2 / (1 - 1 / ends.size), degrees, math.inf)
        yield Outcome(
            "parts",
            f"{_name(ends, place)} has {std / profile.std:.3g} times the scale of the whole",
            p=min(1.0, ends.number * p),
            deviation=abs(math.log(ratio)) - 2 * error,
        )
    low, high, *places = ends.means
    for mean, place in zip((low, high), places, strict=True):
        shift = abs(mean - profile.mean) / profile.std
        error = 1 / math.sqrt(ends.size)
        yield Outcome(
            "parts",
            f"{_name(ends, place)} has another mean",
            p=min(1.0, ends.number * math.erfc(shift / error / math.sqrt(2))),
            deviation=shift - 2 * error,
        )


def _name(ends: Ends, place: float) -> str:
    return f"[{place:.0f}] of {ends.number} slices along axis {ends.axis}"
