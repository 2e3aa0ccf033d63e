import hashlib

import numpy as np
import pytest
import scipy

from keras_initx.sampling._conversion import CELLS, UNITS, truncated_quantiles

BOUNDS = [(-2.0, 2.0), (-1.0, 3.0), (0.0, 2.0), (1.0, 3.0), (-0.001, 0.0), (4.0, 4.1)]
EVERY_BOUNDS = [*BOUNDS, (-9.0, 9.0), (-1.0, 1000.0), (5.0, 90.0), (-90.0, -5.0), (0.0, 1e300)]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_knots_are_the_quantiles(bounds):
    quantiles = truncated_quantiles(*bounds)
    exact = scipy.stats.truncnorm(*bounds).ppf(np.arange(CELLS + 1) / CELLS)
    np.testing.assert_allclose(quantiles.lowest + quantiles.unit * quantiles.knots, exact, atol=quantiles.unit)


def test_every_cell_has_a_width():
    for bounds in EVERY_BOUNDS:
        knots = truncated_quantiles(*bounds).knots
        assert (knots[0], knots[-1]) == (0, UNITS), bounds
        assert np.diff(knots).min() > 0, bounds


def test_the_standard_deviation_is_that_of_the_distribution():
    for lower, upper in (*BOUNDS, (-4.0, 4.0), (-9.0, 9.0), (5.0, 20.0)):
        expected = scipy.stats.truncnorm(lower, min(upper, 8.0)).std()
        assert truncated_quantiles(lower, upper).stddev == pytest.approx(expected, rel=5e-5), (lower, upper)


def test_bounds_on_both_sides_give_a_symmetric_table():
    knots = truncated_quantiles(-2.0, 2.0).knots
    np.testing.assert_array_equal(knots + knots[::-1], UNITS)


# Of a whole distribution, of one side, of a tail, and where the range is cut at one end, at the other and at both.
@pytest.mark.parametrize(
    ("bounds", "digest"),
    [
        ((-2.0, 2.0), "424064787a313b3f"),
        ((0.0, 2.0), "7196a8896670cf0d"),
        ((4.0, 4.1), "6caa987b116b27fc"),
        ((-1.0, 1000.0), "a8c12bcc41d72610"),
        ((-90.0, -5.0), "8fd5b965e8b5e33c"),
        ((-9.0, 9.0), "6686fe82f8caebf4"),
    ],
    ids=str,
)
def test_bits_of_the_table_are_frozen(bounds, digest):
    quantiles = truncated_quantiles(*bounds)
    text = " ".join(number.hex() for number in (quantiles.lowest, quantiles.unit, quantiles.stddev))
    assert hashlib.sha256(quantiles.knots.tobytes() + text.encode()).hexdigest()[:16] == digest


def test_the_table_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        truncated_quantiles(-2.0, 2.0).knots[0] = 1
