"""All tests of values that are random on both sides."""

from keras_initx.audits._distribution import (
    Bounds,
    Extremes,
    Mean,
    Orthonormality,
    Outliers,
    OutliersOfLaw,
    Precision,
    ScaleOfAll,
    ShapeOfAll,
)
from keras_initx.audits._equal_values import Copies, Crowded, Repeats
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._profile import Profile
from keras_initx.audits._property_test import PropertyTest
from keras_initx.audits._slices import ConstantParts, ScalesOfParts
from keras_initx.audits._zeros import Connections, PlacesOfZeros, ShareOfZeros, ZerosOfLaw

_TESTS: tuple[PropertyTest, ...] = (
    Crowded(),
    Repeats(),
    Copies(),
    ZerosOfLaw(),
    PlacesOfZeros(),
    Connections(0),
    Connections(1),
    ShareOfZeros(),
    Precision(),
    Orthonormality(),
    OutliersOfLaw(),
    Outliers(),
    ScaleOfAll(),
    Mean(),
    ShapeOfAll(),
    Bounds(),
    Extremes(),
    ConstantParts(),
    ScalesOfParts(),
)


def outcomes_of_random_values(expected: Profile, found: Profile) -> tuple[Outcome, ...]:
    """Return the outcomes of the tests whether values are draws of the same law as others."""
    outcomes = []
    for test in _TESTS:
        if test.applies(expected, found):
            outcomes.append(test.run(expected, found))
    return tuple(outcomes)
