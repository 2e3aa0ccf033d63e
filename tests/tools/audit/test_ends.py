"""Single slices of a weight, by those that are farthest from the whole."""

import numpy as np

from keras_initx.tools.audit._extremes import measure_ends
from keras_initx.tools.audit._profile import make_reading


def test_the_slices_that_are_farthest_off_are_known():
    values = np.arange(1, 25, dtype="float32").reshape(2, 3, 4)
    values[:, 1] *= 2
    by_axis = {ends.axis: ends for ends in measure_ends(make_reading(values, "float32"))}
    assert by_axis[1].means == (8.5, 25, 0, 1)
    assert by_axis[1].stds[2:] == (0, 1)
    assert (by_axis[1].size, by_axis[1].number) == (8, 3)
