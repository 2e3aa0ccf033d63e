"""Paths of weights, which do not depend on what else the process has made, and patterns, which match them."""

import keras
import pytest
from tied import SharedKernel

import keras_initx
from keras_initx.scaling import RateFactors
from keras_initx.structure import captured_texts, find_weights, layer_paths, named_layers

layers = keras.layers


def paths(model):
    return [weight.path for weight in find_weights(model)]


def sequential():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4)])
    return keras.Sequential([keras.Input((4,)), layers.Dense(4), inner, layers.Dense(3, name="logits")])


def recurrent():
    inputs = keras.Input((5, 4))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(inputs)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(2))(x)
    return keras.Model(inputs, layers.RNN([layers.GRUCell(3), layers.GRUCell(3)])(x))


class Block(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(4, "relu"), layers.Dense(4)
        self.own = keras.Variable(keras.ops.ones((2,)))
        self.other = keras.Variable(keras.ops.ones((2,)))

    def call(self, x):
        return self.second(self.first(x))


def subclassed():
    model = Block()
    model(keras.ops.ones((1, 4)))
    return model


def test_automatic_names_are_numbered_in_each_model():
    expected = ["dense", "sequential/dense", "sequential/dense_1", "logits"]
    assert paths(sequential()) == [f"{path}/{name}" for path in expected for name in ("kernel", "bias")]


def test_automatic_names_are_numbered_in_the_order_of_creation():
    first, second = layers.Dense(3, use_bias=False), layers.Dense(4, use_bias=False)
    assert paths(keras.Sequential([keras.Input((2,)), second, first])) == ["dense_1/kernel", "dense/kernel"]


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


def test_variables_without_a_name_are_numbered():
    assert {"variable", "variable_1"} < set(paths(subclassed()))


def test_a_model_that_is_loaded_has_the_same_paths(tmp_path):
    model = recurrent()
    model.save(tmp_path / "model.keras")
    assert paths(keras.saving.load_model(tmp_path / "model.keras")) == paths(model)


def test_all_weights_have_one_path():
    model = recurrent()
    assert sorted(id(weight.variable) for weight in find_weights(model)) == sorted(map(id, model.weights))


def test_a_shared_layer_has_one_path():
    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    assert paths(keras.Model(inputs, shared(shared(inputs)))) == ["dense/kernel", "dense/bias"]


def test_a_shared_weight_has_one_path():
    first = layers.Dense(4, use_bias=False)
    first.build((None, 2))
    assert paths(keras.Sequential([keras.Input((2,)), first, SharedKernel(first.kernel)])) == ["dense/kernel"]


class Twice(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = layers.Dense(2, name="same"), layers.Dense(2, name="same")

    def call(self, x):
        return self.two(self.one(x))


def test_two_weights_of_one_path_are_refused():
    model = Twice()
    model(keras.ops.ones((1, 2)))
    with pytest.raises(ValueError, match=r"`model` must have one weight at each path.*2 weights at 'same/kernel'"):
        find_weights(model)


def test_layers_of_one_name_have_distinct_paths():
    model = Twice()
    model(keras.ops.ones((1, 2)))
    assert list(layer_paths(model).values()) == [model.name, "same", "same (2)"]


def test_the_path_of_a_layer_begins_those_of_its_weights():
    for model in (sequential(), recurrent(), subclassed()):
        found = layer_paths(model)
        for weight in find_weights(model):
            for layer, path in zip(weight.layers[1:], weight.layer_paths[1:], strict=True):
                assert found.get(layer, path) == path  # cells are part of their layer
        assert found.keys() == named_layers(model).keys()


def test_layers_without_weights_do_not_take_the_paths_of_others():
    plain = layers.LayerNormalization(center=False, scale=False)
    model = keras.Sequential([keras.Input((4,)), plain, layers.Dropout(0.5), layers.LayerNormalization()])
    assert list(layer_paths(model).values())[1:] == ["layer_normalization_1", "dropout", "layer_normalization"]
    assert paths(model) == ["layer_normalization/gamma", "layer_normalization/beta"]


def blocks():
    """Return a model with names in which any dialect of patterns would see something special."""
    inner = keras.Sequential([layers.Dense(2, name="fc"), layers.Dense(2, name="fc[1]")], name="block_1")
    first = [layers.Dense(2, name="block_0"), layers.Dense(2, name="block_10")]
    return keras.Sequential([keras.Input((2,)), *first, inner], name="blocks")


# The weights of `blocks` that each pattern matches.
PATTERNS = {
    "block_0/kernel": {"block_0/kernel"},
    "*kernel": {"block_0/kernel", "block_10/kernel", "block_1/fc/kernel", "block_1/fc[1]/kernel"},
    "*/kernel": {"block_0/kernel", "block_10/kernel", "block_1/fc/kernel", "block_1/fc[1]/kernel"},
    "block_*/kernel": {"block_0/kernel", "block_10/kernel", "block_1/fc/kernel", "block_1/fc[1]/kernel"},
    "block_?/kernel": {"block_0/kernel"},
    "block_1?fc/kernel": {"block_1/fc/kernel"},
    "*/fc[1]/kernel": {"block_1/fc[1]/kernel"},
    "*/fc?1]/k*l": {"block_1/fc[1]/kernel"},
    "block_[0-9]/kernel": set(),
    "block_(0|1)/kernel": set(),
    "block.0/kernel": set(),
    "Block_0/kernel": set(),
    "lock_0/kernel": set(),
    "block_0/kern": set(),
}


def by_initialize(model, pattern):
    plan = keras_initx.initialize(model, {pattern: None}, seed=0, dry_run=True)
    return {weight.path for weight in plan.weights if weight.reason == "by rule"}


def by_rate_factors(model, pattern):
    optimizer = RateFactors(keras.optimizers.SGD(1.0), {pattern: 0.5})
    optimizer.build(model.trainable_variables)
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in model.trainable_variables]
    optimizer.apply([keras.ops.ones(variable.shape) for variable in model.trainable_variables])
    found = set()
    for weight, value in zip(find_weights(model), before, strict=True):
        if (value - keras.ops.convert_to_numpy(weight.variable) < 0.75).all():
            found.add(weight.path)
    return found


@pytest.mark.parametrize("match", [by_initialize, by_rate_factors])
def test_a_pattern_matches_the_same_weights_wherever_rules_are_taken(match):
    model = blocks()
    for pattern, expected in PATTERNS.items():
        if expected:
            assert match(model, pattern) == expected, pattern
        else:
            with pytest.raises(ValueError, match="which matches none"):
                match(model, pattern)


@pytest.mark.parametrize(
    ("pattern", "path", "texts"),
    [
        ("block_*/*/kernel", "block_0/mha/query/kernel", ("0", "mha/query")),
        ("*_*", "a_b_c", ("a", "b_c")),
        ("?_*", "a_", ("",)),
        ("exact", "exact", ()),
        ("exact", "exactly", None),
    ],
)
def test_each_star_captures_as_little_as_possible_from_the_left(pattern, path, texts):
    assert captured_texts(pattern, path) == texts
