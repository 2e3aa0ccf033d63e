"""Slices of an array along its axes."""

import numpy as np

from keras_initx.tools.audit._equal_values import slice_along, slice_axes_and_groups, slice_each_axis

VALUES = np.arange(120).reshape(2, 3, 4, 5)


def test_slices_along_axes_have_a_text_and_places():
    slices = slice_along(VALUES, 1, 3)
    assert (slices.number, slices.size) == (12, 10)
    assert slices.text == "12 slices along axes 1 to 2"
    assert slices.format_index(7) == "[1, 3]"
    assert slice_along(VALUES, 3, 4).text == "5 slices along axis 3"
    assert slice_along(VALUES, 3, 4).format_index(2) == "[2]"


def test_values_of_slices_are_whole_or_at_even_distances():
    slices = slice_along(VALUES, 1, 3)
    np.testing.assert_array_equal(slices.take(np.array([7]))[:, 0], VALUES[:, 1, 3].ravel())
    np.testing.assert_array_equal(slices.sample(99)[:, 7], VALUES[:, 1, 3].ravel())
    np.testing.assert_array_equal(slices.sample(2)[:, 7], VALUES[:, 1, 3].ravel()[[0, -1]])


def test_the_first_axis_and_the_last_come_before_others():
    assert [slices.axes for slices in slice_each_axis(VALUES)] == [(0, 1), (3, 4), (1, 2), (2, 3)]


def test_of_all_slices_the_fewest_come_first_and_those_along_several_axes_have_a_minimum_of_values():
    assert [slices.number for slices in slice_axes_and_groups(VALUES)] == [2, 3, 4, 5, 6]
