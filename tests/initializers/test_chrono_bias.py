import hashlib

import keras
import numpy as np
import pytest
import scipy
from modes import to_numpy

from keras_initx import ChronoBias
from keras_initx.initializers._recurrent import _log_quantiles

layers = keras.layers
# A right sample fails a test of a distribution with this chance. The seeds are fixed, so it fails always or never.
ERROR_RATE = 1e-3


def built(layer, shape=(None, 5, 3)):
    layer.build(shape)
    return layer


def gates(bias, number):
    return np.split(to_numpy(bias), number, axis=-1)


def assert_lstm_bias(bias, max_steps):
    input_gate, forget_gate, *others = gates(bias, 4)
    assert np.all((forget_gate >= 0) & (forget_gate <= np.log(max_steps - 1)))
    assert np.unique(forget_gate).size == forget_gate.size
    np.testing.assert_array_equal(input_gate, -forget_gate)
    assert not np.any(others)


def assert_gru_row(row, max_steps):
    update_gate, *others = gates(row, 3)
    assert np.all((update_gate >= 0) & (update_gate <= np.log(max_steps - 1)))
    assert np.unique(update_gate).size == update_gate.size
    assert not np.any(others)


@pytest.mark.parametrize("max_steps", [3, 784])
def test_time_scales_are_uniform(max_steps):
    forget_gate = gates(ChronoBias(max_steps, cell="lstm", seed=0)((40_000,)), 4)[1]
    steps = 1 + np.exp(forget_gate.astype("float64"))
    test = scipy.stats.kstest(steps, scipy.stats.uniform(2, max_steps - 2).cdf)
    assert test.pvalue > ERROR_RATE


@pytest.mark.parametrize(
    ("max_steps", "largest", "digest"),
    [
        (3, "0x1.62e42fefa39f0p-1", "05087dc7c90b931d"),
        (100, "0x1.2616719161d2bp+2", "99a1a704e74906cd"),
        (2**32, "0x1.62e42fef939efp+4", "5ef1dff08a6d40b2"),
    ],
)
def test_bits_of_the_table_are_frozen(max_steps, largest, digest):
    quantiles = _log_quantiles(ChronoBias(max_steps).max_steps)
    assert quantiles.lowest == 0
    assert quantiles.highest.hex() == largest
    assert hashlib.sha256(quantiles.knots.tobytes()).hexdigest()[:16] == digest
    with pytest.raises(ValueError, match="read-only"):
        quantiles.knots[0] = 1


def test_a_convolutional_lstm():
    layer = layers.ConvLSTM1D(8, 3, bias_initializer=ChronoBias(50), unit_forget_bias=False)
    assert_lstm_bias(built(layer, (None, 5, 9, 3)).cell.bias, 50)


def test_a_gru_of_two_rows():
    inputs, recurrent = to_numpy(built(layers.GRU(8, bias_initializer=ChronoBias(50))).cell.bias)
    assert_gru_row(inputs, 50)
    assert not np.any(recurrent)


def test_one_row_and_the_first_of_two_are_the_same():
    bias = ChronoBias(50, cell="gru", seed=3)
    np.testing.assert_array_equal(to_numpy(bias((24,))), to_numpy(bias((2, 24)))[0])


def test_a_vector_that_fits_both_is_read_by_the_layer():
    """Of 12 entries, an LSTM has 3 units and a GRU 4."""
    bias = ChronoBias(50)
    assert_lstm_bias(built(layers.LSTM(3, bias_initializer=bias, unit_forget_bias=False)).cell.bias, 50)
    assert_gru_row(built(layers.GRU(4, bias_initializer=bias, reset_after=False)).cell.bias, 50)


def test_both_directions_and_a_stack_of_cells():
    layer = built(layers.Bidirectional(layers.LSTM(8, bias_initializer=ChronoBias(50), unit_forget_bias=False)))
    assert_lstm_bias(layer.forward_layer.cell.bias, 50)
    assert_lstm_bias(layer.backward_layer.cell.bias, 50)
    bias = ChronoBias(50)
    cells = [
        layers.LSTMCell(4, bias_initializer=bias, unit_forget_bias=False),
        layers.GRUCell(4, bias_initializer=bias, reset_after=False),
    ]
    built(layers.RNN(cells))
    assert_lstm_bias(cells[0].bias, 50)
    assert_gru_row(cells[1].bias, 50)


def test_refuses_a_layer_that_writes_its_forget_biases_itself():
    layer = layers.LSTM(8, bias_initializer=ChronoBias(50), name="a_layer")
    message = r"`ChronoBias` cannot be used in a layer with `unit_forget_bias=True`, .* Received: max_steps=50, layer='"
    with pytest.raises(ValueError, match=message):
        layer.build((None, 5, 3))


@pytest.mark.parametrize(
    ("layer", "cell", "message"),
    [
        (lambda init: layers.LSTM(8, bias_initializer=init, unit_forget_bias=False), "gru", r"a GRU's bias.*\(32,\)"),
        (lambda init: layers.GRU(8, bias_initializer=init, reset_after=False), "lstm", r"an LSTM's bias.*\(24,\)"),
        (lambda init: layers.SimpleRNN(8, bias_initializer=init), "lstm", r"an LSTM's bias.*\(8,\)"),
    ],
    ids=["LSTM", "GRU", "SimpleRNN"],
)
def test_refuses_the_bias_of_another_layer(layer, cell, message):
    with pytest.raises(ValueError, match=rf"`shape` must be the shape of {message}, units=8, layer="):
        layer(ChronoBias(50, cell=cell)).build((None, 5, 3))


@pytest.mark.parametrize("layer", [None, layers.Dense])
def test_does_not_guess_whose_bias_a_vector_is(layer):
    message = r"`shape` must be .*`ChronoBias\(100, cell=\"lstm\"\)`\. Received: shape=\(12,\), cell=None, layer="
    with pytest.raises(ValueError, match=message):
        layer(12, bias_initializer=ChronoBias()).build((None, 3)) if layer else ChronoBias()((12,))
