"""What a block makes has the mark, on its thread, and keeps no layer alive."""

import gc
import threading
import weakref

import keras
from modes import to_numpy

import keras_initx
from keras_initx.inspection._unwritten_mark import count_unwritten
from keras_initx.tools.loading._marks import Marks

layers = keras.layers


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
        assert [count_unwritten(one.value).unwritten for one in layer.weights] == [6, 2]
    assert initializer.calls == 0
    marks.remove()
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
    assert marks.list_all() == []


def test_another_thread_is_not_watched():
    found = []

    def build():
        layer = layers.Dense(2)
        layer.build((None, 3))
        found.extend(count_unwritten(one.value).unwritten for one in layer.weights)

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
    assert count_unwritten(layer.kernel.value) == (0, 0)
