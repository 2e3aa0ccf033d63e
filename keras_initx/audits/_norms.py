"""Slices of a weight that all have one norm, as of weight normalization, and not by chance."""

import math

import numpy as np

from keras_initx._typing import Array
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._precision import are_exact
from keras_initx.audits._profile import Profile
from keras_initx.audits._property_test import IMPOSSIBLE, ROUNDING, property_test
from keras_initx.audits._reading import Reading, epsilon
from keras_initx.audits._slices import Slices, all_slices

# The norms of slices with so many values differ by this, relative to each other, divided by the
# root of the number of values: those of uniform ones, which differ least.
_SPREAD = math.sqrt(0.2)
# The error of a norm by rounding its values, which also goes down with their number: in a thousand
# slices none has more. The norm that they were divided by was rounded too, as was the quotient.
_OF_VALUES = 4
_OF_NORMS = 2
# Slices that are looked at first: most differ there.
_FIRST = 2


def norms_of(reading: Reading) -> str:
    """Return slices that all have one norm, in words, empty if there are none.

    Where units have one norm, their heads have too: of such, the most slices are named.
    """
    for slices in reversed(all_slices(reading.values, fewest=2)):
        for errors in (_OF_VALUES / math.sqrt(slices.size), _OF_NORMS):
            tolerance = max(ROUNDING, errors * epsilon(reading.dtype))
            if _cannot_be_chance(slices, tolerance) and _have_one_norm(slices, tolerance):
                return slices.text
    return ""


def _cannot_be_chance(slices: Slices, tolerance: float) -> bool:
    """Return whether independent values do not have norms that are so near to each other."""
    if slices.size < 2:
        return False
    surprise = math.log(_SPREAD / math.sqrt(slices.size) / tolerance)
    return (slices.number - 1) * surprise > -math.log(IMPOSSIBLE)


def _have_one_norm(slices: Slices, tolerance: float) -> bool:
    first = _norms(slices.values[:, :_FIRST])
    if not first[0] or abs(first[1] / first[0] - 1) > tolerance:
        return False
    return bool((np.abs(_norms(slices.values) / first[0] - 1) <= tolerance).all())


def _norms(values: Array) -> Array:
    """Return the norms of slices along the middle axis, summed in float64 without a copy."""
    squares: Array = np.einsum("ijk,ijk->j", values, values, dtype="float64")
    return np.sqrt(squares)


@property_test()
def equal_norms(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether slices have one norm that had not, or no longer have."""
    before, now = expected.norms, found.norms
    if before is None or now is None or before == now:
        return None
    if now:
        return Outcome("equal norms", f"{now} have one norm, as of weight normalization")
    if not are_exact(expected, found):
        return None
    return Outcome("equal norms", f"{before} no longer have one norm")
