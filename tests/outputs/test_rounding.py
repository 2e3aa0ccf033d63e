"""What of a difference is rounding is measured."""

import numpy as np
import pytest

from keras_initx.outputs._recorded import CallKey, RecordedCall, Values, recorded_tensor
from keras_initx.outputs._rounding import RUNS, Rounding, difference_of

DRAWS = np.random.default_rng(0)
VALUES = DRAWS.normal(size=(40, 50)).astype("float32")
KEY = CallKey("layer", 1)


def difference(other, *, noise=1e-6, values=VALUES, dtype="float32"):
    """Return how values whose runs deviate by `noise` differ from others."""
    tensor = recorded_tensor(Values(values, dtype))
    other = recorded_tensor(Values(np.asarray(other, values.dtype), dtype))
    tensor.keep(values, other.shape)
    rounding = Rounding([RecordedCall(KEY, "Dense", {}, {}, {"": tensor})])
    for _ in range(RUNS):
        rounding.next_run()
        run = values + noise * DRAWS.normal(size=values.shape).astype(values.dtype)
        rounding.end(KEY, None, {"": Values(run, dtype)})
    return difference_of(tensor, other, rounding)


def noisy(size):
    return VALUES + size * DRAWS.normal(size=VALUES.shape).astype("float32")


# The noise of a row is known to 2 %.
@pytest.mark.parametrize(("size", "is_real"), [(1e-6, False), (7e-6, False), (9e-6, True)])
def test_a_difference_is_real_above_eight_times_its_noise(size, is_real):
    assert difference(noisy(size)).is_real == is_real


@pytest.mark.parametrize(("factor", "is_real"), [(3e-6, False), (6e-6, True)])
def test_a_multiple_is_real_above_four_times_its_noise(factor, is_real):
    found = difference(VALUES * np.float32(1 + factor))
    assert found.is_real == is_real
    assert found.slope == pytest.approx(1 - factor, abs=1e-7)


def test_what_was_not_computed_from_floats_may_be_rounded_to_the_next_number():
    assert not difference(np.nextafter(VALUES, 0), noise=0).is_real
    assert difference(VALUES * np.float32(1 + 2e-6), noise=0).is_real


def test_integers_are_exact():
    counts = DRAWS.integers(0, 7, (40, 50))
    assert not difference(counts, noise=0, values=counts, dtype="int32").is_real
    other = counts.copy()
    other[3, 4] += 1
    assert difference(other, noise=0, values=counts, dtype="int32").is_real


def test_places_that_are_masked_whole_are_left_out():
    noise = np.full(VALUES.shape, 1e-6, "float32")
    noise[5] = 0.5
    other = VALUES.copy()
    other[5] += 1
    found = difference(other, noise=noise)
    assert not found.is_real
    assert (found.compared, found.left_out) == (1950, 50)


def test_zeros_of_a_relu_leave_nothing_out():
    values = np.maximum(VALUES, 0.5)
    noise = np.where(values > 0.5, 1e-6, 0).astype("float32")
    found = difference(values, noise=noise, values=values)
    assert (found.is_real, found.left_out) == (False, 0)
    assert difference(np.maximum(VALUES, 0.6), noise=noise, values=values).is_real


def test_what_is_not_finite_must_be_so_in_both():
    values = VALUES.copy()
    values[0, :3] = np.inf, -np.inf, np.nan
    found = difference(values, values=values)
    assert (found.is_real, found.left_out) == (False, 3)
    assert difference(VALUES, values=values).is_real
    assert difference(-values, values=values).is_real


def test_the_same_values_in_another_order_are_seen():
    found = difference(VALUES[::-1])
    assert found.is_real
    assert found.has_same_values
    assert not difference(2 * VALUES).has_same_values


def test_where_several_orders_fit_the_one_without_a_difference_is_taken():
    images = DRAWS.normal(size=(4, 6, 6, 6)).astype("float32")
    found = difference(np.moveaxis(images, -1, 1), values=images)
    assert (found.is_real, found.order.name) == (False, "channels first")
    assert difference(images, values=images).order.name == ""
    assert difference(2 * images, values=images).order.name == ""


def test_the_difference_of_constants_is_a_share_of_them():
    found = difference(np.full((40, 50), 2.0), values=np.full((40, 50), 2.02, "float32"))
    assert found.size == pytest.approx(0.01, rel=1e-3)


def test_values_of_another_spread_are_not_the_same_in_another_order():
    mean = VALUES.mean(dtype="float64")
    assert not difference(mean + 2 * (VALUES - mean)).has_same_values
    assert difference(np.flip(VALUES, axis=0)).has_same_values
