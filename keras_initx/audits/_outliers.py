"""Outliers: values that are very far from the others."""

import numpy as np

from keras_initx.audits._bounds import share_beyond
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._probabilities import poisson_tail, same_rate
from keras_initx.audits._profile import LEVELS, Profile
from keras_initx.audits._property_test import property_test
from keras_initx.audits._reading import reach_of_values


@property_test()
def outliers_of_law(expected: Profile, found: Profile) -> Outcome | None:
    """Test the number of outliers, where a law says how many there are."""
    if expected.law is None or not found.outliers:
        return None
    # Few laws have any, such as that of logarithms of numbers that may be near 0.
    low, median, high = np.interp([0.25, 0.5, 0.75], LEVELS, expected.quantiles).tolist()
    reach = reach_of_values(low, high)
    share = share_beyond(expected.law, median - reach, median + reach)
    return Outcome(
        "outliers",
        f"{found.outliers} values more than 12 deviations from the median",
        p=poisson_tail(found.outliers, found.total * share),
    )


@property_test(of=("scale", "mean"))
def outliers(expected: Profile, found: Profile) -> Outcome | None:
    """Test the number of outliers, compared with that of other draws."""
    if expected.law is not None or not (expected.outliers or found.outliers):
        return None
    return Outcome(
        "outliers",
        f"{found.outliers} values more than 12 deviations from the median, and "
        f"{expected.outliers} were",
        p=same_rate(expected.outliers, expected.total, found.outliers, found.total),
    )
