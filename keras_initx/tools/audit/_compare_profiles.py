"""The comparison of values with those expected, by the kinds of both.

Whether an outcome is reported is decided for all weights at once.
"""

from dataclasses import replace

import numpy as np

from keras_initx._typing import DType
from keras_initx.tools.audit._distribution import (
    constant_parts,
    equal_norms,
    mean_of_all,
    scale_of_all,
    scales_of_parts,
    shape_of_all,
)
from keras_initx.tools.audit._equal_values import copies, precision, repeats
from keras_initx.tools.audit._extremes import (
    bounds,
    crowds,
    extremes,
    of_extremes,
    outliers,
    outliers_of_law,
)
from keras_initx.tools.audit._probabilities import all_of_kind
from keras_initx.tools.audit._profile import (
    INFINITE,
    LOST,
    NOT_FINITE,
    SHARE_OF_ZEROS,
    Profile,
    epsilon,
)
from keras_initx.tools.audit._property_test import ROUNDING, Outcome, PropertyTest, proven
from keras_initx.tools.audit._zeros import (
    connections_of_inputs,
    connections_of_units,
    orthonormality,
    share_of_zeros,
    zeros_elsewhere,
    zeros_of_law,
)

# All tests of values that are random on both sides.


_TESTS: tuple[PropertyTest, ...] = (
    crowds,
    repeats,
    copies,
    zeros_of_law,
    zeros_elsewhere,
    connections_of_inputs,
    connections_of_units,
    share_of_zeros,
    precision,
    orthonormality,
    equal_norms,
    outliers_of_law,
    outliers,
    scale_of_all,
    mean_of_all,
    shape_of_all,
    bounds,
    extremes,
    constant_parts,
    scales_of_parts,
)


def outcomes_of_random_values(expected: Profile, found: Profile) -> tuple[Outcome, ...]:
    """Return the outcomes of the tests whether values are draws of the same law as others."""
    said = [test(expected, found) for test in _TESTS]
    return tuple(outcome for outcome in said if outcome is not None)


# A random weight that is constant by chance has fewer values.
_FEWEST_CONSTANT = 4
# Of fewer values, those that are distributed as before may be so by chance.
_FEWEST_OF_SEED = 64
# Where frames are a single value, it is as often positive as negative.
_CHANCE_OF_SIGNS = 0.5
# With a smaller probability, values are not distributed as others.
_UNLIKE = 1e-3


def compare(expected: Profile, found: Profile, dtype: DType) -> tuple[Outcome, ...]:
    """Return the outcomes of all tests of a weight that apply, none where too little is known.

    Args:
        expected: What is known of its values.
        found: The values that it has, which are of one draw at least.
        dtype: The less exact of both dtypes.
    """
    if _is_not_finite(expected, found):
        return (Outcome("not finite", "values that are not finite"),)
    if expected.digest is not None and expected.digest == found.digest:
        return (proven("values"),)
    kinds = expected.kind, found.kind
    if expected.kind == "fixed" and (found.kind == "constant" or found.digest is not None):
        return (_as_fixed(expected, found, dtype),)
    if expected.kind == "fixed" and found.kind != "unknown":
        return (Outcome("values", "another in each draw, which was fixed"),)
    if expected.kind == "constant" and found.kind != "unknown":
        return (_as_constant(expected.value, found, dtype),)
    if kinds == ("random", "constant"):
        return (_constant_now(expected, found, dtype),)
    if kinds == ("random", "fixed"):
        return (Outcome("constant", "the same in each draw, where it was random"),)
    if kinds == ("random", "random"):
        return outcomes_of_random_values(expected, found)
    return ()


def _is_not_finite(expected: Profile, found: Profile) -> bool:
    """Return whether values are not finite and were, or must be."""
    if found.reason == LOST:
        return True
    if expected.reason in (NOT_FINITE, INFINITE, LOST):
        return False
    if expected.kind == "fixed":  # perhaps a mask
        return found.reason == NOT_FINITE
    # Of a mask, there is no distribution.
    is_mask = found.kind == "fixed" and not found.has_distribution
    return found.reason in (NOT_FINITE, INFINITE) or (is_mask and expected.kind == "random")


def _as_fixed(expected: Profile, found: Profile, dtype: DType) -> Outcome:
    """Return what is said of values that were the same in all draws."""
    if _are_near(expected.places, found.places, dtype):
        return proven("values")
    if found.kind == "constant":
        return Outcome("values", f"all are {found.value:.4g} where they were not")
    cause = ""
    if expected.has_distribution and found.has_distribution:
        outcomes = outcomes_of_random_values(expected, found)
        is_alike = min((outcome.p for outcome in outcomes), default=0.0) > _UNLIKE
        if is_alike and expected.size >= _FEWEST_OF_SEED:
            cause = "distributed as before: another seed?"
    return Outcome("values", "other values, which were fixed", cause=cause)


def _are_near(expected: tuple[float, ...], found: tuple[float, ...], dtype: DType) -> bool:
    """Return whether some of the values are equal, up to rounding."""
    if not expected or len(expected) != len(found):
        return False
    before, now = np.array(expected), np.array(found)
    tolerance = max(ROUNDING, 2 * epsilon(dtype)) * float(np.abs(before).max())
    return bool((np.abs(before - now) <= tolerance).all())


def _as_constant(value: float | None, found: Profile, dtype: DType) -> Outcome:
    """Return what is said of values that were all one."""
    assert value is not None
    evidence = f"not all are {value:.4g} any more"
    if found.value is not None:
        if abs(found.value - value) <= 2 * epsilon(dtype) * abs(value):
            return proven("values")
        evidence = f"all are {found.value:.4g} where they were {value:.4g}"
    elif found.std:
        evidence = (
            f"drawn, with a standard deviation of {found.std:.3g}, where all were {value:.4g}"
        )
    return Outcome("values", evidence)


def _constant_now(expected: Profile, found: Profile, dtype: DType) -> Outcome:
    """Return what is said of a constant where values are drawn, which may be equal by chance."""
    assert found.value is not None
    evidence = f"all are {found.value:.4g} where they are drawn"
    if found.size < _FEWEST_CONSTANT:
        single = replace(found, lowest=found.value, highest=found.value, total=found.size)
        of_ends = of_extremes(expected, single)
        return of_ends or Outcome("constant", evidence, p=1.0, deviation=0.0)
    chance = _chance_of(found.value, expected, dtype)
    if expected.law is not None or expected.frames:
        return Outcome("constant", evidence, chance ** (found.size - 1))
    return Outcome("constant", evidence, all_of_kind(chance, expected.total, found.size - 1))


def _chance_of(value: float, expected: Profile, dtype: DType) -> float:
    """Return the probability that a value is this one, once rounded."""
    if expected.frames:
        return _CHANCE_OF_SIGNS
    step = epsilon(dtype) * max(abs(value), 2.0**-24)
    chance = expected.zeros if value == 0 else 0.0
    if expected.law is not None:
        ends = np.array([value - step, value + step])
        below, above = expected.law.distribution_function(ends)
        chance = max(chance, above - below)
    elif expected.zeros <= SHARE_OF_ZEROS or value:
        quantiles = np.array(expected.quantiles)
        chance = max(chance, float((np.abs(quantiles - value) <= step).mean()))
    return max(chance, epsilon(dtype))
