"""Values are equal up to a share of the size of their channel."""

import numpy as np
import pytest

from keras_initx.tools.compare_outputs._reading import Values
from keras_initx.tools.compare_outputs._recorded import record_tensor
from keras_initx.tools.compare_outputs._samples import squeeze_shape
from keras_initx.tools.compare_outputs._tolerance import TOLERANCES, choose_tolerance, find_least_difference

DRAWS = np.random.default_rng(0)
VALUES = DRAWS.normal(size=(40, 50)).astype("float32")


def difference(other, *, values=VALUES, dtype="float32"):
    """Return how values differ from others."""
    tensor = record_tensor(Values(values, dtype))
    other = record_tensor(Values(np.asarray(other, values.dtype), dtype))
    tensor.keep(values, {squeeze_shape(other.shape)})
    return find_least_difference(tensor, other, choose_tolerance(dtype))


def test_a_factor_is_a_share_of_all_values():
    found = difference(VALUES * np.float32(1.001))
    assert found.size == pytest.approx(1e-3, rel=0.05)  # channels below the median have a smaller share
    assert found.compared == 2000


def test_each_channel_is_measured_by_its_own_size_but_no_less_than_the_median_one():
    sizes = np.ones(50, "float32")
    sizes[0], sizes[1] = 1000, 1e-6
    values = VALUES * sizes
    other = values.copy()
    other[:, 0] += 0.1  # 1e-4 of its size
    assert difference(other, values=values).size == pytest.approx(1e-4 / 4, rel=0.2)
    other = values.copy()
    other[:, 1] += 1e-3
    assert difference(other, values=values).size == pytest.approx(1e-3 / 4, rel=0.2)


def test_a_single_value_counts_by_a_quarter():
    other = VALUES.copy()
    other[3, 4] += 0.4
    assert difference(other).size == pytest.approx(0.1, rel=0.2)


def test_channels_that_are_zero_have_the_size_of_others():
    values = np.maximum(VALUES, 0)
    values[:, 7:40] = 0
    other = values.copy()
    other[0, 20] = 1e-7
    assert 0 < difference(other, values=values).size < 1e-7
    assert difference(VALUES, values=0 * VALUES).size > 0.5
    assert difference(1e-6 * VALUES, values=0 * VALUES).size > 0.5
    assert difference(0 * VALUES, values=0 * VALUES).size == 0


def test_integers_are_exact():
    counts = DRAWS.integers(0, 7, (40, 50))
    assert difference(counts, values=counts, dtype="int32").size == 0
    other = counts.copy()
    other[3, 4] += 1
    assert difference(other, values=counts, dtype="int32").size > choose_tolerance("int32") == 0


def test_what_is_not_finite_must_be_so_in_both():
    values = VALUES.copy()
    values[0, :3] = np.inf, -np.inf, np.nan
    found = difference(values, values=values)
    assert (found.size, found.compared) == (0, 1997)
    assert difference(VALUES, values=values).size == np.inf
    assert difference(-values, values=values).size == np.inf


def test_the_same_values_in_another_order_are_all_there():
    assert difference(VALUES[::-1]).has_same_values
    assert not difference(2 * VALUES).has_same_values
    mean = VALUES.mean(dtype="float64")
    assert not difference(2 * mean - VALUES).has_same_values  # the same mean and deviation
    large = DRAWS.normal(size=(100, 100)).astype("float32")
    assert not difference(large[::-1], values=large).has_same_values  # of which not all are kept


def test_where_several_orders_fit_the_one_with_the_least_difference_is_taken():
    images = DRAWS.normal(size=(4, 6, 6, 6)).astype("float32")
    found = difference(np.moveaxis(images, -1, 1), values=images)
    assert (found.size, found.order.name) == (0, "channels first")
    found = difference(1.1 * np.moveaxis(images, -1, 1), values=images)
    assert (found.size, found.order.name) == (pytest.approx(0.1, rel=0.05), "channels first")
    assert difference(images, values=images).order.name == ""


def test_float64_is_compared_in_all_its_digits():
    values = DRAWS.normal(size=(40, 50))
    found = difference(values * (1 + 1e-11), values=values, dtype="float64")
    assert found.size == pytest.approx(1e-11, rel=1e-2)
    assert found.size > choose_tolerance("float64")


def test_a_tolerance_that_is_given_is_that_of_all_floats():
    assert choose_tolerance("float32") == TOLERANCES["float32"] == 5e-6
    assert choose_tolerance("bfloat16", 1e-3) == 1e-3
    assert choose_tolerance("int32", 1e-3) == 0
    assert choose_tolerance("float8_e4m3fn", 1e-3) is None
