"""Layers have names and paths that tell them apart, numbered within the model."""

import keras
from nested import Twice, recurrent, subclassed
from stacks import sequential

from keras_initx.structure._names import layer_paths, named_layers, own_weights
from keras_initx.structure._weights import find_weights

layers = keras.layers


def paths(model):
    return [weight.path for weight in find_weights(model)]


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


def test_a_layer_is_named_after_those_around_it_but_not_within_a_recurrent_one():
    inner = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3, name="memory")], name="inner")
    model = keras.Sequential([keras.Input((5, 4)), inner, layers.Dense(2, name="out")], name="outer")
    assert list(named_layers(model).values()) == ["outer", "inner", "inner/memory", "out"]


def test_the_weights_of_a_layer_are_those_that_no_layer_in_it_has():
    class Around(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)
            self.own = self.add_weight((2,), name="own")

        def call(self, x):
            return self.dense(x)

    layer = Around()
    layer(keras.ops.ones((1, 4)))
    assert [weight.name for weight in own_weights(layer)] == ["own"]
    assert len(layer.weights) == 3
