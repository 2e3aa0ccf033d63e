"""What a recurrent layer forgets is named, by its gates or its recurrent kernel."""

import keras
import numpy as np
import pytest
from asked import alone, asked
from judged import SEQUENCES, found
from keras import initializers, layers

import keras_initx
from keras_initx.tools.diagnose._recurrence import RecurrenceProbe, gates, recurrent_kernels


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


X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")


def test_the_singular_values_of_a_recurrent_kernel_without_gates():
    kernel = keras_initx.Orthogonal(gain=0.5)
    rnn = layers.SimpleRNN(8, return_sequences=True, recurrent_initializer=kernel, name="rnn")
    gated = layers.GRU(8, recurrent_initializer=kernel, name="gated")
    model = keras.Sequential([keras.Input((12, 8)), rnn, gated, layers.Dense(3)])
    x = np.tile(X[:, None], (1, 12, 1))
    (found,) = asked(recurrent_kernels, model, x).values()
    assert found[:2] == pytest.approx((0.5, 0.5), rel=1e-5)
    assert asked(lambda of: of.probe(RecurrenceProbe).steps, model, x) == {rnn: 12, gated: 12}


def test_what_a_recurrent_kernel_keeps_over_half_of_the_steps():
    kernel = keras_initx.Orthogonal(gain=0.5)
    for return_sequences, kept in ((True, None), (False, pytest.approx(0.5**6, rel=1e-4))):
        rnn = layers.SimpleRNN(8, return_sequences=return_sequences, recurrent_initializer=kernel)
        model = keras.Sequential([keras.Input((12, 8)), rnn])
        assert asked(lambda of: recurrent_kernels(of).popitem()[1].kept, model, np.ones((4, 12, 8))) == kept


FORGETS = {"bias_initializer": keras_initx.LSTMForgetBias(2.0), "unit_forget_bias": False}


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.GRU(2, bias_initializer=keras_initx.GRUUpdateBias(2.0)), (5, 3), ("update", [2, 2])),
        (layers.GRU(2, reset_after=False, bias_initializer="ones"), (5, 3), ("update", [1, 1])),
        (layers.LSTM(2, **FORGETS), (5, 3), ("forget", [2, 2])),
        (layers.ConvLSTM1D(2, 3, **FORGETS), (5, 4, 3), ("forget", [2, 2])),
        (layers.LSTM(2, use_bias=False), (5, 3), ("forget", [0, 0])),
    ],
    ids=["gru", "gru that resets before", "lstm", "convolutional", "no bias"],
)
def test_the_bias_of_gates(layer, shape, expected):
    (found,) = asked(gates, *alone(layer, shape)).values()
    assert (found.gate, found.bias.tolist()) == expected


@pytest.mark.parametrize(
    ("biases", "overwritten"),
    [
        (([0, 0], [1, 1], [0, 0], [0, 0.5]), True),
        (([0, 0], [1, 0.5], [0, 0], [0.5, 0.5]), False),
        (([0, 0], [1, 1], [0, 0], [0, 0]), False),
        (([1, 1], [1, 1], [1, 1], [1, 1]), False),
        (([1, 1], [1, 1], [1, 1], [1, 0]), True),
    ],
    ids=["the last gate", "the initializer's own", "default", "ones", "all but one"],
)
def test_a_forget_bias_is_overwritten_where_any_other_gate_has_something_else(biases, overwritten):
    layer = layers.LSTM(2)
    model, x = alone(layer, (5, 3))
    layer.cell.bias.assign(np.concatenate(biases))
    verdicts = keras_initx.diagnose(model, x).verdicts
    assert any("`unit_forget_bias=True` overwrites it" in one.evidence for one in verdicts) == overwritten


@pytest.mark.rare
@pytest.mark.parametrize(
    ("place", "policy"),
    [
        ("alone", "mixed_bfloat16"),
        ("stacked", "float32"),
        ("both ways", "mixed_float16"),
    ],
)
def test_gates_are_opened_wherever_their_cell_is(place, policy):
    shut = {"bias_initializer": keras.initializers.Constant(-6.0), "unit_forget_bias": False, "dtype": policy}
    layer = {
        "alone": lambda: layers.LSTM(4, **shut),
        "stacked": lambda: layers.RNN([layers.LSTMCell(4, **shut), layers.GRUCell(4, dtype=policy)], dtype=policy),
        "both ways": lambda: layers.Bidirectional(layers.LSTM(4, **shut), dtype=policy),
    }[place]()
    model = keras.Sequential([keras.Input((12, 6)), layer, layers.Dense(2, dtype=policy)])
    x = np.random.default_rng(0).normal(size=(64, 12, 6)).astype("float32")
    report = keras_initx.diagnose(model, x)
    assert report.problems[0].problem == "memory"
    plan = keras_initx.initialize(model, report, seed=0)
    assert {weight.initializer for weight in plan.rows} == {"LSTMForgetBias()", None}
    assert keras_initx.diagnose(model, x).ok


SERIES = np.random.default_rng(0).normal(size=(32, 60, 8)).astype("float32")
GROWING = {"recurrent_initializer": keras.initializers.RandomNormal(stddev=3.0)}


@pytest.mark.parametrize(
    ("make", "count"),
    [
        pytest.param(lambda: layers.GRU(16, **GROWING), 1, marks=pytest.mark.rare),
        (lambda: layers.LSTM(16, **GROWING, return_sequences=True), 1),
        (lambda: layers.Bidirectional(layers.GRU(16, **GROWING)), 2),
        pytest.param(
            lambda: layers.RNN([layers.GRUCell(16), layers.GRUCell(16, **GROWING)]), 1, marks=pytest.mark.rare
        ),
    ],
    ids=["GRU", "LSTM", "both directions", "stacked"],
)
def test_recurrent_kernels_by_which_gradients_explode_are_drawn_once(make, count):
    model = keras.Sequential([keras.Input((60, 8)), make(), layers.Dense(1)])
    keras_initx.initialize(model, seed=0)
    y = np.ones((32, 60, 1) if len(model.output_shape) == 3 else (32, 1))
    report = keras_initx.diagnose(model, SERIES, y, loss="mse")
    assert [verdict.problem for verdict in report.problems] == ["exploding"]
    plan = keras_initx.initialize(model, report, seed=0)
    drawn = [weight.path.rpartition("/")[2] for weight in plan.rows if weight.initializer]
    assert drawn == count * ["recurrent_kernel"]
    assert keras_initx.diagnose(model, SERIES, y, loss="mse").ok
