"""Moments are summed in float64, without a copy of the whole."""

import numpy as np
import pytest

from keras_initx.backends._moments import CHUNK, Moments, compute_rms, spread

RNG = np.random.default_rng(0)


def test_moments_are_those_of_all_chunks_and_arrays():
    values = RNG.normal(1e6, 1e-2, 3 * CHUNK + 17)
    values[5] = 0
    moments = Moments(values[:1000], values[1000:])
    assert (moments.size, moments.zeros) == (values.size, 1)
    assert moments.mean == pytest.approx(values.mean(), rel=1e-14)
    assert Moments(values[6:]).std == pytest.approx(values[6:].std(), rel=1e-9)
    assert moments.norm == pytest.approx(np.linalg.norm(values), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], (0, 0, 0)), ([1, np.inf], (np.inf, np.nan, np.inf)), ([1, np.nan], (np.nan, np.nan, np.nan))],
)
def test_moments_of_no_values_and_of_infinite_ones(values, expected):
    moments = Moments(np.array(values, "float32"))
    np.testing.assert_array_equal((moments.mean, moments.std, moments.norm), expected)


@pytest.mark.parametrize("shape", [(5, 7), (3, CHUNK), (4, 2, 3)])
def test_a_spread_is_the_deviation_between_examples(shape):
    values = RNG.normal(2, 3, shape)
    assert spread(values) == pytest.approx(np.sqrt(values.var(axis=0).mean()), rel=1e-12)
    assert compute_rms(values) == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-12)


def test_a_spread_of_one_example_is_that_of_its_values():
    assert spread(np.array([[1.0, 3.0]])) == 1
    assert spread(np.empty((0, 2))) == compute_rms(np.empty((0, 2))) == 0
    assert np.isnan(spread(np.array([[np.nan, 1.0], [1.0, 1.0]])))
