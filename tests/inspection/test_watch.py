"""Whoever watches a pass is told of each call in it, and of none after it."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._watch import Watch, Watcher

X = np.ones((2, 4), "float32")


class Telling(Watcher):
    """Remembers what it is told."""

    def __init__(self):
        self.told = []

    def before(self, call):
        self.told.append(("before", call.operation.name))

    def activated(self, layer, activation, values, outputs):
        self.told.append(("activated", layer.name))

    def after(self, call):
        self.told.append(("after", call.operation.name))


def model_of(*stack):
    model = keras.Sequential([keras.Input((4,)), *stack], name="model")
    return model, Watch(Inventory(model))


@pytest.mark.every_backend
def test_each_call_is_told_of_before_and_after_what_is_in_it():
    model, watch = model_of(layers.Dense(3, "relu", name="hidden"), layers.Dense(2, name="out"))
    watcher = Telling()
    with watch.watching(watcher):
        model(X)
    told = [one for one in watcher.told if one[1] in ("model", "hidden", "out")]
    assert told == [
        ("before", "model"),
        ("before", "hidden"),
        ("activated", "hidden"),
        ("after", "hidden"),
        ("before", "out"),
        ("after", "out"),
        ("after", "model"),
    ]
    model(X)
    assert [one for one in watcher.told if one[1] in ("model", "hidden", "out")] == told


def test_calls_are_no_part_of_the_pass_while_it_is_paused():
    model, watch = model_of(layers.Dense(3))
    watcher = Telling()
    with watch.watching(watcher), watch.paused():
        model(X)
    assert watcher.told == []


@pytest.mark.every_backend
def test_variables_that_are_read_in_a_scope_are_told_of_with_the_calls_that_read_them():
    class Reads(Watcher):
        def __init__(self):
            self.found = []

        def read(self, variable):
            self.found.append((watch.calls[-1].operation.name, variable.path))

    model, watch = model_of(layers.Dense(3, name="hidden"), layers.Dense(2, name="out", use_bias=False))
    reads = Reads()
    with keras.StatelessScope() as scope:
        with watch.watching(reads, scope=scope):
            model(X)
            with watch.paused():
                model(X)
        model(X)
    hidden, out = model.layers
    expected = [("hidden", hidden.kernel.path), ("hidden", hidden.bias.path), ("out", out.kernel.path)]
    assert list(dict.fromkeys(reads.found)) == expected
    assert scope.get_current_value(hidden.kernel) is None


@pytest.mark.every_backend
def test_a_pass_ends_with_the_state_that_it_leaves_and_the_model_has_what_it_had():
    class Ending(Watcher):
        def finish(self, outputs):
            self.shape = tuple(outputs.shape)
            self.mean = keras.ops.convert_to_numpy(norm.moving_mean.value)[0]

    norm = layers.BatchNormalization(momentum=0.0)
    _, watch = model_of(norm)
    ending = Ending()
    watch.observe(3 * X, ending, training=True)
    assert ending.shape == (2, 4)
    assert ending.mean == 3
    assert keras.ops.convert_to_numpy(norm.moving_mean.value)[0] == 0


def test_a_call_is_seen_where_weights_or_an_activation_make_the_output():
    class Seen(Watcher):
        def __init__(self):
            self.names = set()

        def after(self, call):
            if call.is_seen:
                self.names.add(call.operation.name)

    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")], name="inner")
    model, watch = model_of(layers.Dropout(0.5), inner, layers.ReLU(name="relu"), layers.Flatten())
    seen = Seen()
    with watch.watching(seen):
        model(X)
    assert seen.names == {"dense", "relu"}


def test_after_an_error_in_a_call_the_layers_are_as_before():
    class Failing(layers.Layer):
        def call(self, x):
            raise RuntimeError("no")

        def compute_output_shape(self, shape):
            return shape

    layer = Failing()
    layer.build((2, 4))
    model = keras.Sequential([layer])
    watch = Watch(Inventory(model))
    with pytest.raises(RuntimeError, match="no"), watch.watching(Telling()):
        model(X)
    assert "call" not in vars(layer)
    assert watch.calls == []
