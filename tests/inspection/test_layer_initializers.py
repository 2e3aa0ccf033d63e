"""The initializer of a weight is found where its layer keeps it, or in a copy of the layer."""

import random

import keras
import numpy as np
import pytest
from drawn import build
from modes import to_numpy
from stacks import arrays

import keras_initx
from keras_initx import initialize
from keras_initx.inspection._inventory import Inventory

layers = keras.layers


def test_the_initializer_of_the_layer_is_used_again():
    model = build(keras_initx.Sparse(3))
    plan = initialize(model, seed=0)
    values = arrays(model)
    found = {weight.path: weight.initializer for weight in plan.rows}
    assert found["conv/kernel"] == "Sparse(connections=3)"
    assert found["depthwise/kernel"] == "HeNormal()"
    assert found["logits/kernel"] == "RandomNormal()"
    assert found["norm/moving_variance"] == "Ones()"
    assert all(weight.std == pytest.approx(values[weight.path].std(), abs=1e-6) for weight in plan.rows)
    seeds = {weight.path: weight.seed for weight in plan.rows}
    depthwise = {"input_axes": [0, 1], "output_axes": [0, 1, 3]}
    expected = {
        "conv/kernel": keras_initx.Sparse(3, seed=seeds["conv/kernel"]),
        "depthwise/kernel": keras_initx.HeNormal(seed=seeds["depthwise/kernel"], **depthwise),
        "hidden/kernel": keras_initx.GlorotUniform(seed=seeds["hidden/kernel"]),
        "logits/kernel": keras_initx.RandomNormal(seed=seeds["logits/kernel"]),
    }
    for path, initializer in expected.items():
        np.testing.assert_array_equal(values[path], to_numpy(initializer(values[path].shape)), err_msg=path)


def test_an_lstm_keeps_its_forget_bias():
    model = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3, name="lstm")])
    before = arrays(model)
    initialize(model, seed=0)
    np.testing.assert_array_equal(arrays(model)["lstm/lstm_cell/bias"], before["lstm/lstm_cell/bias"])


class Hidden(layers.Layer):
    """Keeps no initializer."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.table = self.add_weight((shape[-1], 2), keras.initializers.RandomNormal(stddev=3.0), name="table")
        self.free = keras.Variable(keras.ops.ones((2,)), name="free")

    def call(self, x):
        return keras.ops.matmul(x * self.scale, self.table) + self.free


class Around(layers.Layer):
    """Cannot make its layer again from its config, but itself."""

    def __init__(self, width):
        super().__init__()
        self.width, self.inner = width, Needy(object())

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        return {"width": self.width}


class Needy(Hidden):
    def __init__(self, value):
        super().__init__()


class Started(layers.Layer):
    """Starts at a value that it keeps in its config."""

    def __init__(self, start=1.0, **options):
        super().__init__(**options)
        self.start = start

    def build(self, shape):
        self.offset = self.add_weight((shape[-1],), keras.initializers.Constant(self.start), name="offset")

    def call(self, x):
        return x + self.offset

    def get_config(self):
        return {**super().get_config(), "start": self.start}


class Forgetful(layers.Layer):
    """Does not keep in its config at which value its layer starts."""

    def __init__(self, start=1.0, **options):
        super().__init__(**options)
        self.inner = Started(start)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        return super().get_config()


def test_a_layer_tells_before_those_around_it():
    model = keras.Sequential([keras.Input((4,)), Forgetful(3.0)])
    (row,) = initialize(model, seed=0).rows
    assert row.initializer == "Constant(value=3)"


def test_what_a_layer_hands_to_add_weight_is_found():
    model = keras.Sequential([keras.Input((50,)), Hidden(name="hidden"), Around(2)])
    state, names = random.getstate(), [weight.path for weight in Inventory(model).weights]
    plan = initialize(model, seed=0, dry_run=True)
    assert random.getstate() == state
    found = {weight.path: weight.initializer for weight in plan.rows}
    assert list(found) == names
    assert found["hidden/scale"] == found["around/needy/scale"] == "Ones()"
    assert found["hidden/table"] == found["around/needy/table"] == "RandomNormal(stddev=3)"
    assert [(weight.path, weight.detail) for weight in plan.left] == [
        ("hidden/free", "initializer unknown"),
        ("around/needy/free", "initializer unknown"),
    ]


class Sines(layers.Layer):
    """Assigns one weight when it is built, and has a setting with the name of an initializer."""

    kernel_initializer = "a word of its own"

    def build(self, shape):
        self.kernel = self.add_weight(shape=shape[1:], initializer="ones", name="kernel")
        self.table = self.add_weight(shape=shape[1:], initializer="zeros", trainable=False, name="table")
        self.table.assign(np.sin(np.arange(shape[1])))

    def call(self, inputs):
        return inputs * self.kernel + self.table


@pytest.mark.every_backend
def test_what_a_layer_assigns_itself_is_left():
    model = keras.Sequential([keras.Input((8,)), Sines(name="sines")])
    for variable in model.weights:
        variable.assign(variable.value + 1)
    assert [row.detail for row in initialize(model, seed=0).rows] == ["", "initializer unknown"]
    kernel, table = map(to_numpy, model.weights)
    np.testing.assert_array_equal(kernel, np.ones(8))
    np.testing.assert_allclose(table, np.sin(np.arange(8)) + 1, atol=1e-6)


class Block(layers.Layer):
    """Gets one layer, and makes another one of the same class."""

    def __init__(self, given, **options):
        super().__init__(**options)
        self.given = keras.saving.deserialize_keras_object(given) if isinstance(given, dict) else given
        self.made = Hidden()

    def build(self, shape):
        self.scale = self.add_weight(shape=(2,), initializer="he_normal", name="scale")
        if not self.given.built:
            self.given.build(shape)
        self.made.build((None, 2))

    def call(self, x):
        return self.made(self.given(x)) * self.scale

    def get_config(self):
        return {**super().get_config(), "given": keras.saving.serialize_keras_object(self.given)}


def test_looking_for_initializers_in_a_copy_uses_up_no_names():
    with keras.saving.custom_object_scope({"Hidden": Hidden, "Block": Block}):
        model = keras.Sequential([keras.Input((4,)), Block(Hidden()), layers.Dense(2)])
        before = Hidden().name, layers.Dense(2).name
        plan = initialize(model, seed=0, dry_run=True)
        after = Hidden().name, layers.Dense(2).name
    for one, other in zip(before, after, strict=True):
        assert int(other.rpartition("_")[2]) == int(one.rpartition("_")[2]) + 1
    assert plan.rows[0].initializer == "HeNormal()"


class Starting(Hidden):
    """Initializes a model of its own while it is built."""

    def build(self, shape):
        inner = keras.Sequential([keras.Input((50,)), Hidden()])
        assert initialize(inner, seed=0, dry_run=True).rows[0].initializer == "Ones()"
        super().build(shape)


def test_a_layer_may_initialize_a_model_while_it_is_built():
    model = keras.Sequential([keras.Input((50,)), Starting()])
    assert initialize(model, seed=0).rows[0].initializer == "Ones()"
