import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import GRUUpdateBias, LSTMForgetBias, initialize

layers = keras.layers
# With 8 units Keras asks for (8,) and (16,) under `unit_forget_bias=True`: both look like whole biases.
UNITS = [8, 6]


def gates(bias):
    """Return the value in each gate's part of a bias, which must be the same for all units."""
    parts = np.split(to_numpy(bias), 4)
    assert all(np.unique(part).size == 1 for part in parts)
    return [float(part[0]) for part in parts]


def lstm_bias(units, **kwargs):
    layer = layers.LSTM(units, **kwargs)
    layer.build((None, 5, 3))
    return layer.cell.bias


@pytest.mark.parametrize("units", UNITS)
def test_fills_the_forget_gates(units):
    bias = lstm_bias(units, bias_initializer=LSTMForgetBias(-2.0), unit_forget_bias=False)
    assert gates(bias) == [0, -2, 0, 0]


@pytest.mark.parametrize("units", UNITS)
def test_is_right_where_keras_writes_the_ones_itself(units):
    assert gates(lstm_bias(units, bias_initializer="initx.lstm_forget_bias")) == [0, 1, 0, 0]


# The page says so of the default of Keras.
@pytest.mark.parametrize(
    ("layer", "expected"),
    [(layers.LSTM(6), [0, 1, 0, 0]), (layers.Bidirectional(layers.LSTM(6)), [0, 1, 0, 0]), (layers.GRU(4), [0] * 4)],
)
def test_keras_itself_starts_the_forget_gates_of_an_lstm_at_1(layer, expected):
    layer.build((None, 5, 3))
    biases = [weight for weight in layer.weights if weight.name == "bias"]
    assert [gates(keras.ops.reshape(bias, (-1,))) for bias in biases] == [expected] * len(biases) != []


def test_a_whole_model_takes_each_value_whatever_the_layer_has_as_its_argument():
    stack = [layers.Bidirectional(layers.LSTM(6, return_sequences=True)), layers.LSTM(6)]
    model = keras.Sequential([keras.Input((5, 3)), *stack])
    initialize(model, {"*bias": LSTMForgetBias(2.0)}, seed=0)
    biases = [weight for weight in model.weights if weight.name == "bias"]
    assert [gates(bias) for bias in biases] == [[0, 2, 0, 0]] * 3


def test_refuses_a_value_that_keras_would_overwrite():
    message = r"`value` must be 1 .*`unit_forget_bias=False`\. Received: value=2\.0, layer="
    with pytest.raises(ValueError, match=message):
        lstm_bias(8, bias_initializer=LSTMForgetBias(2.0))


@pytest.mark.parametrize("unit_forget_bias", [True, False])
def test_convolutional_lstm(unit_forget_bias):
    layer = layers.ConvLSTM2D(8, 3, bias_initializer="initx.lstm_forget_bias", unit_forget_bias=unit_forget_bias)
    layer.build((None, 5, 9, 9, 3))
    assert gates(layer.cell.bias) == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "layer",
    [
        lambda init: layers.GRU(8, bias_initializer=init, reset_after=False),
        lambda init: layers.SimpleRNN(8, bias_initializer=init),
    ],
    ids=["GRU", "SimpleRNN"],
)
def test_refuses_other_recurrent_layers(layer):
    with pytest.raises(
        ValueError, match=r"`shape` must be the shape of an LSTM's bias, \(4 \* units,\)\. Received: shape="
    ):
        layer("initx.lstm_forget_bias").build((None, 5, 3))


def test_by_hand_the_shape_decides():
    assert gates(LSTMForgetBias(2.0)((12,))) == [0, 2, 0, 0]


def test_units_pin_the_shape():
    with pytest.raises(ValueError, match=r"Received: shape=\(12,\), units=8, layer=None"):
        LSTMForgetBias(units=8)((12,))


def test_a_layer_nearby_that_does_not_hold_the_initializer_is_not_asked():
    class Outer(keras.Layer):
        units = 77

        def build(self, input_shape):
            self.weight = self.add_weight(shape=(8,), initializer=LSTMForgetBias())

    outer = Outer()
    outer.build(None)
    assert gates(outer.weight) == [0, 1, 0, 0]


def rows(bias):
    """Return the value in each gate's part of a GRU's bias, row by row; it must be the same for all units."""
    parts = np.split(np.atleast_2d(to_numpy(bias)), 3, axis=1)
    assert all(np.unique(part, axis=1).shape[1] == 1 for part in parts)
    return [[float(part[row, 0]) for part in parts] for row in range(len(parts[0]))]


def gru_bias(**kwargs):
    layer = layers.GRU(8, **kwargs)
    layer.build((None, 5, 3))
    return layer.cell.bias


def test_fills_the_update_gates_once():
    bias = GRUUpdateBias(-2.0)
    assert rows(gru_bias(bias_initializer=bias)) == [[-2, 0, 0], [0, 0, 0]]
    assert rows(gru_bias(bias_initializer=bias, reset_after=False)) == [[-2, 0, 0]]


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_keeps_the_share_of_its_state_that_the_bias_says(reset_after):
    # Without weights the candidate is zero, and what is left of the state is the update gate.
    zeros = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    cell = layers.GRUCell(4, bias_initializer=GRUUpdateBias(2.0), reset_after=reset_after, **zeros)
    state, _ = cell(np.ones((1, 3), "float32"), np.ones((1, 4), "float32"))
    np.testing.assert_allclose(to_numpy(state), 1 / (1 + np.exp(-2)), rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        lambda init: layers.LSTM(12, bias_initializer=init, unit_forget_bias=False),
        lambda init: layers.SimpleRNN(12, bias_initializer=init),
    ],
    ids=["LSTM", "SimpleRNN"],
)
def test_an_update_bias_refuses_other_recurrent_layers(layer):
    message = r"`shape` must be the shape of a GRU's bias, \(3 \* units,\) or \(2, 3 \* units\)\. Received: shape="
    with pytest.raises(ValueError, match=message):
        layer("initx.gru_update_bias").build((None, 5, 3))


def test_units_of_an_update_bias_must_be_those_of_the_layer():
    with pytest.raises(ValueError, match=r"Received: shape=\(2, 24\), units=4, layer="):
        gru_bias(bias_initializer=GRUUpdateBias(units=4))


def test_units_that_are_given_count_in_a_layer_that_is_no_lstm():
    """A cell by hand has all gates in a dense layer, whose own units are those of all gates."""
    layer = layers.Dense(8, bias_initializer=LSTMForgetBias(units=2))
    layer.build((None, 3))
    assert to_numpy(layer.bias).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"the layer is no LSTM: if it has the bias of one, pass `units=`"):
        layers.Dense(8, bias_initializer=LSTMForgetBias()).build((None, 3))
