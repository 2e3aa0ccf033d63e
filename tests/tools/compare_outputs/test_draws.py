"""The first step is taken with dropout off, and what still draws is not compared, by its name."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx import compare_outputs, record_outputs
from keras_initx.inspection._inventory import Inventory
from keras_initx.tools.compare_outputs._draws import read_rates

X = np.random.default_rng(0).normal(size=(6, 4, 5)).astype("float32")
Y = np.random.default_rng(1).normal(size=(6, 4, 3)).astype("float32")


def finished(*parts, loss="mse"):
    head = layers.Dense(3, name="head")
    model = keras.Sequential([keras.Input((4, 5)), layers.Dense(5, name="stem"), *parts, head], name="net")
    keras_initx.initialize(model, seed=0)
    model.compile("sgd", loss)
    return model


def with_dropout(rate=0.5, loss="mse"):
    """Return a model with all that has a rate."""
    x = inputs = keras.Input((4, 5))
    lstm = layers.LSTM(5, dropout=rate, recurrent_dropout=0.2, return_sequences=True, name="lstm")
    x = layers.Bidirectional(lstm, name="both")(x)
    cells = [layers.GRUCell(5, dropout=0.1), layers.SimpleRNNCell(5, recurrent_dropout=0.3)]
    x = layers.RNN(cells, return_sequences=True, name="rnn")(x)
    x = layers.TimeDistributed(layers.Dropout(0.4), name="steps")(x)
    x = layers.MultiHeadAttention(1, 5, dropout=0.2, name="heads")(x, x)
    x = layers.Attention(dropout=0.3, name="attention")([x, x])
    nested = keras.Sequential([layers.SpatialDropout1D(0.1), layers.AlphaDropout(0.2), layers.GaussianDropout(0.3)])
    model = keras.Model(inputs, layers.Dense(3, name="head")(nested(x)), name="net")
    keras_initx.initialize(model, seed=0)
    model.compile("sgd", loss)
    return model


def rates_of(model):
    return read_rates({entry.layer: entry.path for entry in Inventory(model).layers})


def check_that_dropout_is_off_and_then_on_again(model, other):
    rates = rates_of(model)
    report = compare_outputs(model, X, record_outputs(other, X, Y), Y)
    assert report.ok, str(report)
    assert report.step.summary.endswith("; dropout was off.")
    assert report.step.dropout_off.endswith(" here and there")
    for one in (model, other):
        assert rates_of(one) == rates
        first, again = (to_numpy(one(X, training=True)) for _ in range(2))
        assert abs(first - again).max() > 1e-3
    return report.step.dropout_off


@pytest.mark.release_backends
def test_dropout_of_all_kinds_is_off_and_then_on_again():
    model = with_dropout()
    assert len(rates_of(model)) == 14
    rates = check_that_dropout_is_off_and_then_on_again(model, with_dropout())
    assert "0.3 in rnn/stacked_rnn_cells/simple_rnn_cell/recurrent_dropout" in rates


@pytest.mark.every_backend
def test_dropout_of_a_layer_is_off_and_then_on_again():
    model, other = (finished(layers.Dropout(0.4, name="drop")) for _ in range(2))
    assert check_that_dropout_is_off_and_then_on_again(model, other) == "0.4 in drop here and there"


def test_dropout_is_not_spoken_of_where_there_is_none():
    assert "dropout" not in str(compare_outputs(finished(), X, finished(), Y).step)


@pytest.mark.parametrize("rate", [0.5, 0.3, 0.0])
def test_another_rate_is_named(rate):
    report = compare_outputs(
        finished(layers.Dropout(0.5, name="drop")), X, finished(layers.Dropout(rate, name="drop")), y=Y
    )
    assert report.ok == (rate == 0.5)
    if rate != 0.5:
        assert report.step.later == [f"rate: 0.5 here, {rate:g} there (drop)"]
        assert f"The first step is equal, later ones are not: rate: 0.5 here, {rate:g} there" in report.step.summary


def test_a_rate_on_one_side_alone_is_named():
    report = compare_outputs(finished(layers.Dropout(0.5, name="drop")), X, finished(), y=Y)
    assert not report.ok
    assert report.step.later == ["only here: Dropout of 0.5 (drop)"]
    report = compare_outputs(with_dropout(0.5), X, with_dropout(0.4), y=Y)
    assert report.step.later == ["dropout: 0.5 here, 0.4 there (both)"]


class Own(layers.Layer):
    """Draws by a function, in training or always."""

    def __init__(self, function, *, is_always=False):
        super().__init__(name="own")
        self.function, self.is_always = function, is_always
        self.seed = keras.random.SeedGenerator(0)

    def call(self, x, training=False):
        return self.function(x, self.seed) if training or self.is_always else x

    def compute_output_spec(self, x, training=False):
        return keras.KerasTensor(x.shape, x.dtype)


def noise(x, seed):
    return x + keras.random.normal(ops.shape(x), seed=seed)


def noise_of_numpy(x, seed):
    numbers = np.random.normal(size=x.shape)  # noqa: NPY002, of a user
    return x + ops.convert_to_tensor(numbers, "float32")


def functional_dropout(x, seed):
    return keras.random.dropout(x, 0.5, seed=seed)


def without_effect(x, seed):
    return ops.where(keras.random.uniform((), seed=seed) < 2, x, 0 * x)


DRAWING = {
    "noise": lambda: layers.GaussianNoise(0.1, name="own"),
    "numbers of Keras": lambda: Own(noise),
    "numbers of NumPy": lambda: Own(noise_of_numpy),
    "a functional dropout": lambda: Own(functional_dropout),
}


@pytest.mark.parametrize("name", DRAWING)
def test_what_still_draws_is_named_and_not_compared(name):
    def build():
        return finished(layers.Dropout(0.5), DRAWING[name](), layers.Dense(4, name="after"))

    model = build()
    states = [to_numpy(one.state).copy() for layer in model.layers for one in layer._seed_generators]
    recorded = record_outputs(model, X, Y)
    assert recorded.step.obstacle == "the model draws random numbers in own"
    report = compare_outputs(build(), X, recorded, y=Y)
    assert not report.ok
    assert report.step.summary == "The first step was not compared: the model draws random numbers in own here."
    after = [to_numpy(one.state) for layer in model.layers for one in layer._seed_generators]
    assert all(map(np.array_equal, states, after))
    assert model.layers[1].rate == 0.5


def test_draws_without_an_effect_are_no_obstacle_until_the_step_differs():
    recorded = record_outputs(finished(Own(without_effect)), X, Y)
    assert recorded.step.has_drawn
    assert compare_outputs(finished(Own(without_effect)), X, recorded, y=Y).ok
    report = compare_outputs(finished(Own(without_effect), loss="mae"), X, recorded, y=Y)
    assert report.step.obstacle == "it differs, and random numbers are drawn here"
    assert "differs, with" not in report.step.summary
    assert compare_outputs(finished(), X, finished(loss="mae"), y=Y).step.loss.status == "differs"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("number", [0, 2, 4])
def test_dropout_is_on_again_after_an_error(error, number):
    def loss(y_true, y_pred):
        calls.append(1)
        if len(calls) > number:
            raise error
        return ops.mean(ops.square(y_true - y_pred))

    calls = []
    model = with_dropout(loss=loss)
    rates = rates_of(model)
    with pytest.raises(error):
        record_outputs(model, X, Y)
    assert rates_of(model) == rates
    attributes = vars(model.get_layer("both").forward_layer.cell)
    assert attributes["dropout"] == 0.5
    assert attributes.get("_dropout_mask") is None


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "tensorflow", reason="functions of TensorFlow keep the rates of their first call")
def test_compiled_functions_do_not_keep_the_rate():
    tf = pytest.importorskip("tensorflow")

    class Compiled(layers.Layer):
        def __init__(self):
            super().__init__(name="compiled")
            self.drop = layers.Dropout(0.5)

        @tf.function
        def call(self, x, training=False):
            return self.drop(x, training=training)

    model = finished(Compiled())
    assert compare_outputs(model, X, record_outputs(model, X, Y), y=Y).step.ok
    assert not tf.config.functions_run_eagerly()
    outputs = to_numpy(model.get_layer("compiled")(np.ones((6, 4, 5), "float32"), training=True))
    assert set(np.unique(outputs)) == {0.0, 2.0}


@pytest.mark.parametrize("function", [noise, noise_of_numpy])
def test_what_is_random_in_inference_is_no_fault_of_a_layer(function):
    recorded = record_outputs(finished(Own(function, is_always=True)), X)
    np.random.normal()  # noqa: NPY002
    model = finished(Own(function, is_always=True))
    model(X)  # so that both kinds of generators are in other states than before
    report = compare_outputs(model, X, recorded)
    assert not report.ok
    assert report.first is None
    assert "random: two calls of it here differ" in report.summary
    assert [row.path for row in report.rows if row.status == "not known"] == ["own", "head", "net"]
