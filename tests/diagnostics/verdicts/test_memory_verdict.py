"""What a recurrent layer forgets is named."""

import keras
import numpy as np
import pytest
from judged import SEQUENCES, found
from keras import initializers, layers

import keras_initx


@pytest.mark.parametrize(
    ("rows", "problems"),
    [((-6.0, 0.0), ["memory"]), ((0.0, -6.0), ["memory"]), ((6.0, -6.0), [])],
    ids=["of inputs", "recurrent", "both"],
)
def test_the_biases_of_a_gate_are_summed(rows, problems):
    gru = layers.GRU(8)
    model = keras.Sequential([keras.Input((10, 16)), gru])
    bias = np.zeros((2, 24))
    bias[:, :8] = np.reshape(rows, (2, 1))
    gru.cell.bias.assign(bias)
    assert list(found(model, SEQUENCES)) == problems


@pytest.mark.parametrize(
    ("kind", "bias", "problem"),
    [
        (layers.GRUCell, keras_initx.GRUUpdateBias(-6.0), "memory"),
        (layers.LSTMCell, initializers.Constant(2.0), "memory"),
    ],
    ids=["shut", "overwritten"],
)
def test_each_cell_of_a_stack_has_gates(kind, bias, problem):
    stack = layers.RNN([layers.LSTMCell(8), kind(8, bias_initializer=bias)], name="rnn")
    (verdict,) = found(keras.Sequential([keras.Input((10, 16)), stack]), SEQUENCES).values()
    assert (verdict.problem, verdict.layers) == (problem, ("rnn",))
