"""Plain attributes are put back, with what they hold, in whatever they are kept."""

import collections
import contextlib
import random

import keras
import numpy as np

from keras_initx.backends._attributes import preserve_attributes


class Memory:
    """An object of a user."""

    def __init__(self):
        self.count = 0


class Layer(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.flag = False
        self.gone = 1
        self.items = [1, [2]]
        self.table = {"a": {"b": 1}}
        self.names = {"a"}
        self.queue = collections.deque([1])
        self.array = np.zeros(2)
        self.memory = (Memory(),)
        self.rng = np.random.default_rng(0)
        self.random = random.Random(0)


def change(layer):
    layer.flag = True
    del layer.gone
    layer.added = 1
    layer.items[1].append(3)
    layer.items.append(4)
    layer.table["a"]["b"] = 2
    layer.names.add("b")
    layer.queue.append(2)
    layer.array += 1
    layer.memory[0].count = 3
    return layer.rng.random(), layer.random.random()


def state(layer):
    names = ("flag", "gone", "items", "table", "names", "queue", "array", "memory", "added")
    kept = {name: getattr(layer, name, None) for name in names}
    kept["memory"] = layer.memory[0].count
    return repr(kept)


def test_attributes_and_what_they_hold_are_put_back():
    layer = Layer()
    before = state(layer)
    draws = []
    for _ in range(2):
        with preserve_attributes([layer]):
            draws.append(change(layer))
            assert state(layer) != before
        assert state(layer) == before
    assert draws[0] == draws[1]


def test_they_are_put_back_after_an_error():
    layer = Layer()
    with contextlib.suppress(ArithmeticError), preserve_attributes([layer]):
        layer.flag = True
        raise ArithmeticError
    assert layer.flag is False


def test_what_is_not_changed_stays_the_same_object():
    layer = Layer()
    items, array = layer.items, layer.array
    with preserve_attributes([layer]):
        pass
    assert layer.items is items
    assert layer.array is array
