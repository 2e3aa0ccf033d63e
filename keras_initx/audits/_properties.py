"""All tests of values that are random on both sides."""

from keras_initx.audits._bounds import bounds, extremes
from keras_initx.audits._crowded import crowds
from keras_initx.audits._distribution import mean_of_all, scale_of_all, shape_of_all
from keras_initx.audits._equal_values import copies
from keras_initx.audits._frames import orthonormality
from keras_initx.audits._norms import equal_norms
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._outliers import outliers, outliers_of_law
from keras_initx.audits._parts import constant_parts, scales_of_parts
from keras_initx.audits._precision import precision
from keras_initx.audits._profile import Profile
from keras_initx.audits._property_test import PropertyTest
from keras_initx.audits._repeated import repeats
from keras_initx.audits._zeros import (
    connections_of_inputs,
    connections_of_units,
    share_of_zeros,
    zeros_elsewhere,
    zeros_of_law,
)

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
