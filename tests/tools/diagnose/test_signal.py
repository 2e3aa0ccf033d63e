"""A signal's statistics are those of all its values, however they come in."""

import numpy as np
import pytest

from keras_initx.backends import _moments
from keras_initx.tools.diagnose import _signal as statistics
from keras_initx.types import Signal


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(3.0, 2.0, (40, 7, 5)).astype("float32")


def signal_of(*calls, **arguments):
    signal = Signal(**arguments)
    for values in calls:
        signal.add(values)
    return signal


def assert_statistics_of(signal, values):
    assert signal.size == values.size
    assert signal.mean == pytest.approx(values.mean(dtype="float64"), rel=1e-6)
    assert signal.std == pytest.approx(values.std(dtype="float64"), rel=1e-6)
    assert (signal.min, signal.max) == (values.min(), values.max())
    assert signal.counts.sum() == pytest.approx(values.size)


def test_one_call(values):
    signal = signal_of(values)
    assert_statistics_of(signal, values)
    counts, edges = np.histogram(values, statistics.BINS)
    np.testing.assert_array_equal(signal.counts, counts)
    np.testing.assert_allclose(signal.edges, edges, rtol=1e-6)


def test_several_calls_are_one_signal(values):
    assert_statistics_of(signal_of(values[:3], values[3:30], values[30:]), values)


def test_large_outputs_are_looked_at_in_pieces(values, monkeypatch):
    monkeypatch.setattr(_moments, "CHUNK", 100)
    assert_statistics_of(signal_of(values), values)


def test_share_of_zeros():
    assert signal_of(np.array([[0.0, 1.0], [0.0, 0.0]])).zeros == 0.75


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_counted_apart(value):
    signal = signal_of(np.array([1.0, value, 3.0, 2.0]))
    assert signal.nonfinite == 0.25
    assert (signal.mean, signal.min, signal.max) == (2.0, 1.0, 3.0)


def test_nothing_finite_at_all():
    signal = signal_of(np.array([np.nan, np.nan]))
    assert signal.nonfinite == 1
    assert signal.std == 0


def test_constant_values_have_a_histogram():
    signal = signal_of(np.full(10, 1e8, "float32"))
    assert signal.counts.sum() == 10
    assert np.diff(signal.edges.astype("float32")).min() > 0


def test_values_too_small_for_bins_have_a_histogram():
    signal = signal_of(np.array([1e-45, 3e-45], "float32"))
    assert signal.counts.sum() == 2


def test_values_as_large_as_float32_can_be_have_a_histogram():
    values = np.linspace(-3.2e38, 3.2e38, 101, dtype="float32")
    assert_statistics_of(signal_of(values), values)


def test_saturated_is_what_is_near_a_limit():
    tanh = np.array([-0.995, -0.985, 0.0, 0.985, 0.995])
    assert signal_of(tanh, limits=(-1, 1), margin=0.005).saturated == 0.4
    sigmoid = np.array([0.004, 0.006, 0.5, 0.994, 0.996])
    assert signal_of(sigmoid, limits=(0, 1), margin=0.005).saturated == 0.4
    assert signal_of(tanh).saturated is None


def test_what_is_at_the_margin_is_near_a_limit():
    assert signal_of(np.array([-0.5, 0.5, 0.0, 0.25]), limits=(-1, 1), margin=0.25).saturated == 0.5
    with_nan = np.array([0.75, np.nan, np.nan, 0.0])
    assert signal_of(with_nan, limits=(-1, 1), margin=0.25).saturated == 0.25
    assert signal_of(np.array([0.0, np.nan])).zeros == 0.5


def test_a_histogram_that_is_widened_keeps_its_counts():
    widened = signal_of(np.array([0.0] * 10 + [1.0] * 5), np.array([-1.0, 3.0]), np.array([np.nan, 2.0]))
    expected = np.zeros(statistics.BINS)
    # Of bins that are 0.08 wide from -1 on. The first bin of the first call was from 0 to 0.02.
    expected[[0, 12, 24, 37, 49]] = 1, 10, 5, 1, 1
    np.testing.assert_array_equal(widened.counts, expected)
    np.testing.assert_allclose(widened.edges[[0, -1]], [-1, 3])
    assert (widened.min, widened.max) == (-1, 3)


def test_a_unit_is_silent_if_all_calls_say_so():
    signal = signal_of(np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 2.0, 0.0]]))
    assert signal.unit_is_silent.tolist() == [True, False, False]


def test_units_may_be_along_another_axis():
    signal = Signal()
    signal.add(np.array([[[0.0, 0.0], [1.0, 0.0]]]), unit_axis=1)
    assert signal.unit_is_silent.tolist() == [True, False]


def test_an_empty_output_has_no_values():
    signal = signal_of(np.zeros((0, 3)))
    assert (signal.size, signal.mean, signal.std, signal.zeros) == (0, 0, 0, 0)
