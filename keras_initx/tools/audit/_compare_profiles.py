"""Compare actual values with expected values, by the kinds of both. `FACTS` has all tests.

    expected    actual      compared by
    fixed       any         whether the values are the same
    constant    any         whether all have the value
    random      constant    the probability that all values are equal
    random      random      all tests

`judge` selects the reported outcomes for all weights at once.
"""

from dataclasses import replace

import numpy as np

from keras_initx._typing import DType
from keras_initx.tools.audit._extremes import compare_with_laws
from keras_initx.tools.audit._facts import FACTS
from keras_initx.tools.audit._probabilities import compute_chance_of_all
from keras_initx.tools.audit._profile import (
    IMPLAUSIBLE,
    INFINITE,
    LOST,
    NOT_FINITE,
    SHARE_OF_ZEROS,
    Profile,
    epsilon,
)
from keras_initx.tools.audit._property_test import ROUNDING, Outcome, proven


def compare_random_values(expected: Profile, actual: Profile) -> tuple[Outcome, ...]:
    """Test whether values are draws of the same law as others."""
    outcomes = []
    for fact in FACTS:
        for test in fact.tests:
            outcome = test(expected, actual)
            if outcome is not None:
                outcomes.append(outcome)
    return tuple(outcomes)


def compare_profiles(expected: Profile, actual: Profile, dtype: DType) -> tuple[Outcome, ...]:
    """Run all tests of a weight that apply, none if too few facts are known.

    Args:
        expected: The expected profile.
        actual: The measured profile, of one draw at least.
        dtype: The less exact of both dtypes.
    """
    if _is_not_finite(expected, actual):
        return (Outcome("not finite", "values that are not finite"),)
    if expected.digest is not None and expected.digest == actual.digest:
        return (proven("values"),)
    kinds = expected.kind, actual.kind
    if expected.kind == "fixed" and (actual.kind == "constant" or actual.digest is not None):
        return (_compare_with_fixed(expected, actual, dtype),)
    if expected.kind == "fixed" and actual.kind != "unknown":
        return (Outcome("values", "other values in each draw, expected the same"),)
    if expected.kind == "constant" and actual.kind != "unknown":
        return (_compare_with_constant(expected.value, actual, dtype),)
    if kinds == ("random", "constant"):
        return (_compare_constant_with_random(expected, actual, dtype),)
    if kinds == ("random", "fixed"):
        return (Outcome("constant", "the same values in each draw, expected random ones"),)
    if kinds == ("random", "random"):
        return compare_random_values(expected, actual)
    return ()


def _is_not_finite(expected: Profile, actual: Profile) -> bool:
    """Return whether values are not finite although they were, or must be."""
    if actual.reason == LOST:
        return True
    if expected.reason in (NOT_FINITE, INFINITE, LOST):
        return False
    if expected.kind == "fixed":  # perhaps a mask
        return actual.reason == NOT_FINITE
    # Of a mask, there is no distribution.
    is_mask = actual.kind == "fixed" and not actual.has_distribution
    return actual.reason in (NOT_FINITE, INFINITE) or (is_mask and expected.kind == "random")


def _compare_with_fixed(expected: Profile, actual: Profile, dtype: DType) -> Outcome:
    """Compare with values that were the same in all draws."""
    if _are_near(expected.spot_values, actual.spot_values, dtype):
        return proven("values")
    if actual.kind == "constant":
        return Outcome("values", f"all values are {actual.value:.4g}, expected different ones")
    cause = ""
    if expected.has_distribution and actual.has_distribution:
        outcomes = compare_random_values(expected, actual)
        is_alike = min((outcome.p for outcome in outcomes), default=0.0) > IMPLAUSIBLE
        # Fewer values that are distributed as before may be so by chance.
        if is_alike and expected.size >= 64:
            cause = "distributed as before: another seed?"
    return Outcome(
        "values",
        "other values than the expected ones, which are the same in each draw",
        cause=cause,
    )


def _are_near(expected: tuple[float, ...], actual: tuple[float, ...], dtype: DType) -> bool:
    """Return whether the kept values are equal, up to rounding."""
    if not expected or len(expected) != len(actual):
        return False
    before, now = np.array(expected), np.array(actual)
    tolerance = max(ROUNDING, 2 * epsilon(dtype)) * float(np.abs(before).max())
    return bool((np.abs(before - now) <= tolerance).all())


def _compare_with_constant(value: float | None, actual: Profile, dtype: DType) -> Outcome:
    assert value is not None
    detail = f"some values are not {value:.4g}"
    if actual.value is not None:
        if abs(actual.value - value) <= 2 * epsilon(dtype) * abs(value):
            return proven("values")
        detail = f"all values are {actual.value:.4g}, expected {value:.4g}"
    elif actual.std:
        detail = f"a standard deviation of {actual.std:.3g}, expected {value:.4g} everywhere"
    return Outcome("values", detail)


def _compare_constant_with_random(expected: Profile, actual: Profile, dtype: DType) -> Outcome:
    """Compare a constant with values that are drawn, and may all be equal by chance."""
    assert actual.value is not None
    detail = f"all values are {actual.value:.4g}, expected random ones"
    # A random weight that is constant by chance has fewer values.
    if actual.size < 4:
        single = replace(actual, lowest=actual.value, highest=actual.value, total=actual.size)
        beyond_law = compare_with_laws(expected, single)
        return beyond_law or Outcome("constant", detail, p=1.0, deviation=0.0)
    chance = _compute_chance(actual.value, expected, dtype)
    if expected.law is not None or expected.frames:
        return Outcome("constant", detail, chance ** (actual.size - 1))
    return Outcome(
        "constant", detail, compute_chance_of_all(chance, expected.total, actual.size - 1)
    )


def _compute_chance(value: float, expected: Profile, dtype: DType) -> float:
    """Compute the probability that a value is this one, once rounded."""
    if expected.frames:
        return 0.5  # a frame of a single value is as often positive as negative
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
