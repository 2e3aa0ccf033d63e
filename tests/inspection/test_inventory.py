"""A call finds what a model holds in one walk: names and paths that do not depend on what else the process has made."""

from collections import Counter

import keras
import numpy as np
import pytest
import strangers
from stacks import sequential
from tied import SharedKernel

import keras_initx
from keras_initx import compare_outputs, lsuv, record_outputs, weights_digest
from keras_initx.inspection import _inventory
from keras_initx.inspection._inventory import Inventory, ModelLayer, checked_inventory

layers = keras.layers
X, Y = np.random.default_rng(0).normal(size=(16, 6, 8)).astype("float32"), np.arange(16) % 3


def recurrent():
    inputs = keras.Input((5, 4))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(inputs)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(2))(x)
    return keras.Model(inputs, layers.RNN([layers.GRUCell(3), layers.GRUCell(3)])(x))


class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(4, "relu"), layers.Dense(4)
        self.own = keras.Variable(keras.ops.ones((2,)))
        self.other = keras.Variable(keras.ops.ones((2,)))

    def call(self, x):
        return self.second(self.first(x))


def subclassed():
    model = Pair()
    model(keras.ops.ones((1, 4)))
    return model


class Twice(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = layers.Dense(2, name="same"), layers.Dense(2, name="same")

    def call(self, x):
        return self.two(self.one(x))


@pytest.fixture
def walks(monkeypatch):
    """The number of walks through each layer."""
    counts = Counter()
    walk = _inventory._walk

    def counted(around: ModelLayer):
        if len(around.layers) == 1:
            counts[around.layer] += 1
        return walk(around)

    monkeypatch.setattr(_inventory, "_walk", counted)
    return counts


class Block(layers.Layer):
    """A layer of a user, whose initializers are found by a copy, and whose sum is one of its `call`."""

    def build(self, shape):
        self.scale = self.add_weight((shape[-1],), "ones", name="scale")
        self.dense = layers.Dense(shape[-1])
        self.dense.build(shape)

    def call(self, x):
        return x + self.dense(x * self.scale)


def network():
    inputs = keras.Input((6, 8))
    x = inputs + layers.MultiHeadAttention(2, 4)(inputs, inputs)
    x = layers.BatchNormalization()(Block()(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def loaded_from_a_file(model, folder):
    model.save_weights(folder / "model.weights.h5")
    return keras_initx.load_pretrained(model, folder / "model.weights.h5")


def arrays_of(model):
    return {weight.path: np.zeros(weight.shape) for weight in Inventory(model).weights}


def with_names(model, _):
    names = {path: path for path in ARRAYS}
    return keras_initx.load_pretrained(model, ARRAYS, names, layout="keras", resize={"dense/kernel": "units"})


ARRAYS = arrays_of(network())
PLAN = keras_initx.initialize(network(), seed=0)
CALLS = {
    "initialize": lambda model, _: keras_initx.initialize(model, seed=0),
    "rules": lambda model, _: keras_initx.initialize(model, {"*kernel": "initx.he_normal"}, seed=0),
    "plan": lambda model, _: keras_initx.initialize(model, PLAN),
    "audit": lambda model, _: keras_initx.audit(model),
    "audit of a plan": lambda model, _: keras_initx.audit(model, PLAN),
    "audit like arrays": lambda model, _: keras_initx.audit(model, like=ARRAYS),
    "diagnose": lambda model, _: keras_initx.diagnose(model, X, Y, steps=1),
    "load a dict": lambda model, _: keras_initx.load_pretrained(model, ARRAYS, layout="keras"),
    "load a file": loaded_from_a_file,
    "load by names": with_names,
    "record": lambda model, _: record_outputs(model, X, Y),
    "lsuv": lambda model, _: lsuv(model, X, seed=0),
    "digest": lambda model, _: weights_digest(model),
}


@pytest.mark.release_backends
@pytest.mark.parametrize("name", CALLS)
def test_a_call_walks_through_a_model_once(name, walks, tmp_path):
    model = network()
    CALLS[name](model, tmp_path)
    assert walks[model] == 1


def test_a_recipe_asks_nobody_else_what_a_model_holds(walks):
    model = strangers.gpt()
    keras_initx.initialize(model, "gpt2", seed=0)
    assert walks == {model: 1}


def test_two_models_are_walked_through_once_each(walks):
    for function in (
        lambda model, other: keras_initx.load_pretrained(model, other),
        lambda model, other: keras_initx.audit(model, like=other),
        lambda model, other: compare_outputs(model, X, other),
    ):
        model, other = network(), network()
        function(model, other)
        assert walks[model] == walks[other] == 1


def test_what_a_call_builds_is_in_what_it_finds(walks):
    model = keras.Sequential([layers.Dense(3), layers.Dense(2)])
    report = keras_initx.diagnose(model, X)
    assert [row.path for row in report.rows] == ["dense", "dense_1"]
    assert walks[model] == 1


def paths(model):
    return [weight.path for weight in Inventory(model).weights]


def test_a_backward_layer_of_ones_own_is_numbered_too():
    def both():
        backward = layers.LSTM(3, go_backwards=True)
        return keras.Sequential([keras.Input((5, 4)), layers.Bidirectional(layers.LSTM(3), backward_layer=backward)])

    both()
    assert paths(both())[3] == "bidirectional/lstm/lstm_cell/kernel"


def test_more_than_ten_layers_keep_their_order():
    model = keras.Sequential([keras.Input((2,)), *(layers.Dense(2, use_bias=False) for _ in range(12))])
    assert paths(model) == ["dense/kernel", *(f"dense_{i}/kernel" for i in range(1, 12))]


def test_directions_and_cells_are_numbered_too():
    found = paths(recurrent())
    assert "bidirectional/forward_lstm/lstm_cell/kernel" in found
    assert "bidirectional_1/backward_lstm/lstm_cell/kernel" in found
    assert "rnn/stacked_rnn_cells/gru_cell_1/bias" in found


def test_a_shared_layer_has_one_path():
    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    assert paths(keras.Model(inputs, shared(shared(inputs)))) == ["dense/kernel", "dense/bias"]


def test_layers_of_one_name_have_distinct_paths():
    model = Twice()
    model(keras.ops.ones((1, 2)))
    assert list(Inventory(model).paths.values()) == [model.name, "same", "same (2)"]


def test_a_layer_with_the_name_of_its_model_has_another_path():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="net")], name="net")
    assert list(Inventory(model).paths.values()) == ["net (2)", "net"]
    assert list(Inventory(model).names.values()) == ["net", "net (2)"]


def test_a_layer_in_several_has_the_path_in_the_first_of_them():
    shared = layers.Dense(2)
    stacks = [keras.Sequential([keras.Input((2,)), shared], name=name) for name in ("first", "second")]
    inputs = keras.Input((2,))
    assert Inventory(keras.Model(inputs, stacks[1](stacks[0](inputs)))).paths[shared] == "first/dense"


class Spare(keras.Model):
    """A model with a layer that it does not call."""

    def __init__(self, spare):
        super().__init__()
        self.used, self.spare = layers.Dense(2, name="used"), spare

    def build(self, shape):
        self.used.build(shape)

    def call(self, x):
        return self.used(x)


def test_of_layers_that_are_not_built_the_outermost_are_named():
    model = Spare(layers.TimeDistributed(layers.Dense(2), name="spare"))
    model(keras.ops.ones((1, 2)))
    assert Inventory(model).unbuilt == ["spare"]
    assert Inventory(model).note_unbuilt() == ["Not built yet, and so without weights: spare."]


def test_a_model_that_is_not_built_and_makes_no_weights_is_not_named():
    model = Spare(keras.Sequential([layers.Dropout(0.5)]))
    model(keras.ops.ones((1, 2)))
    assert not model.spare.built
    assert Inventory(model).unbuilt == []


def test_the_path_of_a_layer_begins_those_of_its_weights():
    for model in (sequential(), recurrent(), subclassed()):
        found = Inventory(model).paths
        for weight in Inventory(model).weights:
            for layer, path in zip(weight.layers[1:], weight.layer_paths[1:], strict=True):
                assert found.get(layer, path) == path  # cells are part of their layer
        assert found.keys() == Inventory(model).names.keys()


def test_layers_without_weights_do_not_take_the_paths_of_others():
    plain = layers.LayerNormalization(center=False, scale=False)
    model = keras.Sequential([keras.Input((4,)), plain, layers.Dropout(0.5), layers.LayerNormalization()])
    assert list(Inventory(model).paths.values())[1:] == ["layer_normalization_1", "dropout", "layer_normalization"]
    assert paths(model) == ["layer_normalization/gamma", "layer_normalization/beta"]


def test_a_layer_is_named_after_those_around_it_but_not_within_a_recurrent_one():
    inner = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3, name="memory")], name="inner")
    model = keras.Sequential([keras.Input((5, 4)), inner, layers.Dense(2, name="out")], name="outer")
    assert list(Inventory(model).names.values()) == ["outer", "inner", "inner/memory", "out"]


def test_automatic_names_are_numbered_in_each_model():
    expected = ["dense", "sequential/dense", "sequential/dense_1", "logits"]
    assert paths(sequential()) == [f"{path}/{name}" for path in expected for name in ("kernel", "bias")]


def test_automatic_names_are_numbered_in_the_order_of_creation():
    first, second = layers.Dense(3, use_bias=False), layers.Dense(4, use_bias=False)
    assert paths(keras.Sequential([keras.Input((2,)), second, first])) == ["dense_1/kernel", "dense/kernel"]


def test_variables_without_a_name_are_numbered():
    assert {"variable", "variable_1"} < set(paths(subclassed()))


def test_a_model_that_is_loaded_has_the_same_paths(tmp_path):
    model = recurrent()
    model.save(tmp_path / "model.keras")
    assert paths(keras.saving.load_model(tmp_path / "model.keras")) == paths(model)


def test_all_weights_have_one_path():
    model = recurrent()
    assert sorted(id(weight.variable) for weight in Inventory(model).weights) == sorted(map(id, model.weights))


def test_a_shared_weight_has_one_path():
    first = layers.Dense(4, use_bias=False)
    first.build((None, 2))
    assert paths(keras.Sequential([keras.Input((2,)), first, SharedKernel(first.kernel)])) == ["dense/kernel"]


def test_two_weights_of_one_path_are_refused():
    model = Twice()
    model(keras.ops.ones((1, 2)))
    with pytest.raises(ValueError, match=r"`model` must have one weight at each path.*2 weights at 'same/kernel'"):
        checked_inventory("model", model)
