"""The signal of a layer is what it puts out, however it is called."""

from typing import ClassVar

import keras
import numpy as np
import pytest
from asked import asked, seen
from fused import Fused
from keras import layers
from modes import to_numpy
from stacks import by_name

import keras_initx
from keras_initx.tools.diagnose._recurrence import gates

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(64, 3)).astype("float32")


def assert_signal(signal, values):
    values = to_numpy(values)
    assert signal.mean == pytest.approx(values.mean(), abs=1e-5)
    assert signal.std == pytest.approx(values.std(), rel=1e-4)


@pytest.fixture
def dense():
    return layers.Dense(6, "tanh", bias_initializer="random_normal", name="hidden"), layers.Dense(3, name="out")


def functional(hidden, out):
    inputs = keras.Input((8,))
    return keras.Model(inputs, out(hidden(inputs)))


def subclassed(hidden, out):
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = hidden, out

        def call(self, inputs):
            return self.out(self.hidden(inputs))

    return Network()


@pytest.mark.every_backend
@pytest.mark.parametrize("build", [subclassed, functional])
def test_signals_before_and_after_the_activation(build, dense):
    model = build(*dense)
    report = keras_initx.diagnose(model, X)
    assert [layer.name for layer in report.rows] == ["hidden", "out"]
    hidden, out = report.rows
    inside = X @ to_numpy(dense[0].kernel) + to_numpy(dense[0].bias)
    assert_signal(hidden.before, inside)
    assert_signal(hidden.after, np.tanh(inside))
    assert (hidden.kind, hidden.activation, hidden.shape) == ("Dense", "tanh", (64, 6))
    assert out.before is None
    assert_signal(out.after, model(X))
    assert (hidden.signal, out.signal) == (hidden.before, out.after)
    assert_signal(report.inputs, X)


@pytest.mark.parametrize("activation", [layers.ReLU(), layers.Activation("relu"), layers.PReLU()])
def test_an_activation_may_be_a_layer(activation):
    report = keras_initx.diagnose(keras.Sequential([keras.Input((8,)), activation]), X)
    (layer,) = report.rows
    assert_signal(layer.before, X)
    assert_signal(layer.after, activation(X))


def test_an_activation_may_be_a_layer_inside_another():
    hidden = layers.Dense(6, activation=layers.LeakyReLU(), name="hidden")
    found = by_name(keras_initx.diagnose(keras.Sequential([keras.Input((8,)), hidden]), X))
    assert_signal(found["hidden"].before, X @ to_numpy(hidden.kernel))
    assert_signal(found["hidden"].after, hidden(X))


def test_only_what_has_no_kernel_activates_what_comes_before():
    stack = [layers.Dense(6), layers.Dense(6, "relu"), layers.Dense(6), layers.Activation("selu"), layers.Dense(3)]
    found = seen(keras.Sequential([keras.Input((8,)), *stack]), X).values()
    assert [layer.activated_by for layer in found] == [None, None, "selu", None, None]


def test_a_layer_that_is_called_twice_has_one_signal():
    shared = layers.Dense(8, "tanh", name="shared")
    inputs, others = keras.Input((8,)), keras.Input((8,))
    model = keras.Model([inputs, others], [shared(shared(inputs)), shared(others)])
    (layer,) = keras_initx.diagnose(model, [X, 3 + X]).rows
    once = to_numpy(shared(X))
    # What comes from the layer itself is no input from outside.
    assert_signal(seen(model, [X, 3 + X])["shared"].first_inputs.signal, np.concatenate([X, 3 + X]))
    given = np.concatenate([X, once, 3 + X])
    assert_signal(layer.before, given @ to_numpy(shared.kernel))
    assert_signal(layer.after, shared(given))


def test_recurrent_layers_are_seen_from_outside():
    x = np.random.default_rng(0).normal(size=(16, 5, 4)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="lstm"), name="bidirectional"),
            layers.TimeDistributed(layers.Dense(4, "relu", name="dense"), name="each"),
            layers.GRU(3, name="gru"),
        ]
    )
    found = by_name(keras_initx.diagnose(model, x))
    assert list(found) == ["bidirectional/forward_lstm", "bidirectional/backward_lstm", "each/dense", "gru"]
    assert_signal(found["gru"].after, model(x))
    assert [weight.name for weight in found["gru"].weights] == ["kernel", "recurrent_kernel", "bias"]
    assert {layer.name: of_layer.gate for layer, of_layer in asked(gates, model, x).items()} == {
        "bidirectional/forward_lstm": "forget",
        "bidirectional/backward_lstm": "forget",
        "gru": "update",
    }


def test_directions_that_a_gpu_computes_at_once_are_measured_one_by_one():
    model = keras.Sequential(
        [keras.Input((5, 4)), Fused(layers.LSTM(3, return_sequences=True, name="lstm"), name="fused")]
    )
    found = by_name(keras_initx.diagnose(model, np.ones((16, 5, 4), "float32")))
    assert list(found) == ["fused/forward_lstm", "fused/backward_lstm"]
    assert vars(model.layers[0].forward_layer)["use_cudnn"] == "auto"


@keras.saving.register_keras_serializable(package="tests")
class Choosing(layers.LSTM):
    """Notes whether a GPU may compute all of its steps at once."""

    # Not of an object: a diagnosis puts back what a call sets there.
    choices: ClassVar = []

    def call(self, *args, **options):
        self.choices.append(self.use_cudnn)
        return super().call(*args, **options)


def test_a_direction_is_computed_as_it_is_without_a_diagnosis():
    model = keras.Sequential([keras.Input((5, 4)), layers.Bidirectional(Choosing(3))])
    Choosing.choices.clear()
    keras_initx.diagnose(model, np.ones((16, 5, 4), "float32"))
    assert {*Choosing.choices} == {"auto"}


def test_several_inputs_and_outputs():
    first, second = keras.Input((8,), name="first"), keras.Input((3,), name="second")
    outputs = [layers.Dense(3, name="one")(first), layers.Dense(2, name="two")(second)]
    model = keras.Model({"first": first, "second": second}, outputs)
    model.compile(loss=["mse", "mse"])
    report = keras_initx.diagnose(model, {"first": X, "second": Y}, [Y, Y[:, :2]])
    assert set(by_name(report)) == {"one", "two"}
    assert_signal(report.inputs, np.concatenate([X.ravel(), Y.ravel()]))
    for name, x, y in (("one", X, Y), ("two", Y, Y[:, :2])):
        layer = model.get_layer(name)
        error = 2 * (to_numpy(layer(x)) - y) / y.size
        expected = np.hypot(np.linalg.norm(x.T @ error), np.linalg.norm(error.sum(axis=0)))
        assert by_name(report)[name].gradient.norm == pytest.approx(expected, rel=1e-4)


def test_a_signal_that_fades_from_call_to_call_of_one_layer_vanishes():
    shared = layers.Dense(16, "tanh", kernel_initializer=keras_initx.RandomNormal(stddev=0.03), name="shared")
    inputs = keras.Input((16,))
    hidden = inputs
    for _ in range(6):
        hidden = shared(hidden)
    report = keras_initx.diagnose(keras.Model(inputs, layers.Dense(4, name="out")(hidden)), np.ones((8, 16)) * SPREAD)
    (verdict,) = report.verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("vanishing", "warning", ("out",))


SPREAD = np.linspace(-2, 2, 8)[:, None]


# Keras warns of a model that is built by a call.
@pytest.mark.filterwarnings("ignore:`build\\(\\)` was called on layer:UserWarning")
def test_a_layer_that_is_used_later_is_built_then_and_measured():
    class Growing(keras.Model):
        def __init__(self):
            super().__init__()
            self.grown = False
            self.first, self.later, self.out = (layers.Dense(4, name=name) for name in ("first", "later", "out"))

        def call(self, inputs):
            hidden = self.first(inputs)
            return self.out(self.later(hidden) if self.grown else hidden)

    model = Growing()
    assert [layer.name for layer in keras_initx.diagnose(model, X).rows] == ["first", "out"]
    model.grown = True
    report = keras_initx.diagnose(model, X)
    assert [layer.name for layer in report.rows] == ["first", "later", "out"]
    assert all(layer.gain for layer in report.rows)


def test_an_output_that_a_call_has_transformed_is_of_the_layer_of_its_shape():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.classes = layers.Dense(4, name="classes")
            self.value = layers.Dense(1, name="value")

        def call(self, inputs):
            classes, value = self.classes(inputs), self.value(inputs)
            return keras.ops.softmax(100 * classes), value

    model, x = Two(), np.random.default_rng(0).normal(size=(32, 4))
    assert all(layer.makes_output for layer in seen(model, x).values())
    assert [verdict.layers for verdict in keras_initx.diagnose(model, x).verdicts] == [("classes",)]
