"""What is kept of a tensor: places that its size decides, in the orders of axes that another may have."""

import numpy as np
import pytest

from keras_initx.tools.compare_outputs._samples import (
    MOST_VALUES,
    choose_indices,
    list_orders,
    own_order,
    sample_values,
)


@pytest.mark.parametrize("size", [0, 1, 7, MOST_VALUES])
def test_all_places_of_a_small_tensor_are_kept(size):
    assert choose_indices(size).tolist() == list(range(size))


@pytest.mark.parametrize("shape", [(64, 128, 768), (8, 56, 56, 64), (4, 3, 5003), (2**16,)])
def test_places_meet_all_parts_of_a_large_tensor_equally_often(shape):
    chosen = choose_indices(int(np.prod(shape)))
    assert len(set(chosen.tolist())) == MOST_VALUES
    for length, axis in zip(shape, np.unravel_index(chosen, shape), strict=True):
        if length < 1000:
            counts = np.bincount(axis, minlength=length)
            assert counts.max() - counts.min() <= max(2, 0.4 * MOST_VALUES / length)


def test_the_places_of_files_do_not_change():
    assert choose_indices(100_000)[:4].tolist() == [0, 61803, 23606, 85409]


def test_values_are_those_of_a_tensor_whose_axes_are_moved():
    values = np.random.default_rng(0).normal(size=(4, 30, 20, 12)).astype("float32")
    moved = np.moveaxis(values, -1, 1)
    own, *others = list_orders(values.shape)
    assert own == own_order(values.shape)
    assert [order.name for order in others] == ["channels first", "channels last", "time before the batch"]
    first = others[0]
    assert first.fits(moved.shape)
    assert np.array_equal(sample_values(values, first), sample_values(moved, own_order(moved.shape)))


def test_a_flattened_image_has_the_order_of_its_axes():
    images = np.random.default_rng(0).normal(size=(3, 10, 10, 40)).astype("float32")
    flat = images.reshape(3, -1)
    of_torch = np.moveaxis(images, -1, 1).reshape(3, -1)
    order = list_orders(flat.shape, images.shape)[1]
    assert order.name == "channels first before it is flattened"
    assert np.array_equal(sample_values(flat, order), sample_values(of_torch, own_order(of_torch.shape)))


def test_axes_of_length_1_do_not_matter():
    assert own_order((4, 1, 1, 8)).fits((4, 8))
    assert not own_order((4, 8)).fits((8, 4))


def test_a_number_is_a_tensor_too():
    assert sample_values(np.float64(2.5).reshape(()), own_order(())).tolist() == [2.5]
