"""A mark is found to the bit in each dtype, also where values were read in another."""

import keras
import numpy as np
import pytest
from modes import float64, to_numpy

from keras_initx._checks import DTYPES
from keras_initx.inspection._unwritten_mark import count_unwritten, mark_unwritten


def variable_of(values, dtype):
    return keras.Variable(np.asarray(values, "float32"), dtype=dtype)


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mark_is_told_from_other_nan_and_from_numbers(dtype):
    with float64():
        variable = variable_of([[1, np.nan], [np.inf, -np.nan], [2, 3]], dtype)
        assert count_unwritten(variable.value) == (0, 2)
        mark_unwritten(variable)
        assert count_unwritten(variable.value) == (6, 0)


@pytest.mark.every_backend
def test_a_mark_of_float64_survives_in_float32_and_back():
    with float64():
        wide, narrow = variable_of(np.zeros(3), "float64"), variable_of(np.zeros(3), "float32")
        mark_unwritten(wide)
        narrow.assign(to_numpy(wide).astype("float32"))
        assert count_unwritten(narrow.value) == (3, 0)
        wide.assign(to_numpy(narrow).astype("float64"))
        assert count_unwritten(wide.value) == (3, 0)


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_mark_of_16_bits_that_is_lost_in_float32_is_another_nan(dtype):
    variable = variable_of(np.zeros(3), dtype)
    mark_unwritten(variable)
    variable.assign(np.array(keras.ops.convert_to_numpy(keras.ops.cast(variable.value, "float32"))))
    assert sum(count_unwritten(variable.value)) == 3


def test_integers_have_a_mark_only_as_a_whole():
    variable = keras.Variable(np.zeros((2, 3)), dtype="int8", trainable=False)
    mark_unwritten(variable)
    assert count_unwritten(variable.value) == (6, 0)
    variable.assign(np.array([[90, 90, 90], [90, 90, 89]]))
    assert count_unwritten(variable.value) == (0, 0)
