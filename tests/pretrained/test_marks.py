"""A mark is found to the bit in each dtype, also where values were read in another."""

import gc
import threading
import weakref

import keras
import numpy as np
import pytest
from modes import float64, to_numpy

import keras_initx
from keras_initx._checks import DTYPES
from keras_initx.pretrained._marks import Marks, count_of, put_mark

layers = keras.layers


def variable_of(values, dtype):
    return keras.Variable(np.asarray(values, "float32"), dtype=dtype)


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mark_is_told_from_other_nan_and_from_numbers(dtype):
    with float64():
        variable = variable_of([[1, np.nan], [np.inf, -np.nan], [2, 3]], dtype)
        assert count_of(variable.value) == (0, 2)
        put_mark(variable)
        assert count_of(variable.value) == (6, 0)


@pytest.mark.every_backend
def test_a_mark_of_float64_survives_in_float32_and_back():
    with float64():
        wide, narrow = variable_of(np.zeros(3), "float64"), variable_of(np.zeros(3), "float32")
        put_mark(wide)
        narrow.assign(to_numpy(wide).astype("float32"))
        assert count_of(narrow.value) == (3, 0)
        wide.assign(to_numpy(narrow).astype("float64"))
        assert count_of(wide.value) == (3, 0)


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_mark_of_16_bits_that_is_lost_in_float32_is_another_nan(dtype):
    variable = variable_of(np.zeros(3), dtype)
    put_mark(variable)
    variable.assign(np.array(keras.ops.convert_to_numpy(keras.ops.cast(variable.value, "float32"))))
    assert sum(count_of(variable.value)) == 3


def test_integers_have_a_mark_only_as_a_whole():
    variable = keras.Variable(np.zeros((2, 3)), dtype="int8", trainable=False)
    put_mark(variable)
    assert count_of(variable.value) == (6, 0)
    variable.assign(np.array([[90, 90, 90], [90, 90, 89]]))
    assert count_of(variable.value) == (0, 0)


class Kept:
    """Draws zeros, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, shape, dtype=None):
        self.calls += 1
        return keras.ops.zeros(shape, dtype)


def test_what_is_added_in_the_block_has_the_mark_and_its_initializer_is_not_called():
    initializer = Kept()
    layer = layers.Dense(2, kernel_initializer=initializer)
    marks = Marks()
    with marks.watching():
        layer.build((None, 3))
        assert [count_of(one.value).unwritten for one in layer.weights] == [6, 2]
    assert initializer.calls == 0
    marks.take_away()
    assert initializer.calls == 1
    assert [float(abs(to_numpy(one)).max()) for one in layer.weights] == [0, 0]


def test_a_layer_without_a_user_is_not_kept():
    marks = Marks()
    with marks.watching():
        layer = layers.Dense(2)
        layer.build((None, 3))
        reference = weakref.ref(layer)
        del layer
        gc.collect()
        assert reference() is None
    assert marks.all() == []


def test_another_thread_is_not_watched():
    found = []

    def build():
        layer = layers.Dense(2)
        layer.build((None, 3))
        found.extend(count_of(one.value).unwritten for one in layer.weights)

    with keras_initx.loading():
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    assert found == [0, 0]


def test_blocks_of_two_threads_that_end_crossed_leave_nothing_behind():
    before = keras.Layer.add_weight, vars(keras.Layer)["__new__"]
    started, ended = threading.Barrier(2), threading.Event()

    def first():
        with keras_initx.loading():
            started.wait()
        ended.set()

    def second():
        with keras_initx.loading():
            started.wait()
            ended.wait()

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (keras.Layer.add_weight, vars(keras.Layer)["__new__"]) == before
    layer = layers.Dense(2)
    layer.build((None, 3))
    assert count_of(layer.kernel.value) == (0, 0)
