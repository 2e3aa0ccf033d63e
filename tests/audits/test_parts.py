"""Equal parts of a weight, and the slices that are farthest off."""

import numpy as np

from keras_initx.audits._parts import part_counts, parts_of, slices_of

VALUES = np.arange(24, dtype="float32").reshape(2, 3, 4)


def test_parts_are_equal_and_of_lengths_with_few_divisors_nearly_so():
    lengths = (1, 4, 12, 13, 24, 26, 257)
    assert [part_counts(length) for length in lengths] == [[], [4], [12], [12], [12], [2, 12], [12]]


def test_parts_have_the_statistics_of_their_values():
    first, last, middle = parts_of(VALUES, None)
    assert [first.key, last.key, middle.key] == [(0, 2), (2, 4), (1, 3)]
    assert first.means == (5.5, 17.5)
    assert middle.means == (7.5, 11.5, 15.5)
    np.testing.assert_allclose(last.stds, VALUES.std(axis=(0, 1)))
    assert (first.size, last.size, middle.size) == (12, 6, 8)


def test_parts_that_are_nearly_equal_are_as_large_as_the_smallest():
    (parts,) = parts_of(np.arange(13.0), None)
    assert (parts.size, len(parts.stds)) == (1, 12)
    assert parts.means[:2] == (0.5, 2)


def test_the_slices_that_are_farthest_off_are_known():
    values = VALUES.copy()
    values[:, 1] *= 2
    by_axis = {slices.axis: slices for slices in slices_of(values)}
    assert by_axis[1].means == (7.5, 23, 0, 1)
    assert by_axis[1].stds[2:] == (0, 1)
    assert (by_axis[1].size, by_axis[1].number) == (8, 3)
