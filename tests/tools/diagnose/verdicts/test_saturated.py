"""What is saturated is named with its cause."""

import keras
import numpy as np
import pytest
from asked import seen
from judged import X, found, mlp
from keras import layers
from pixels import GENERATOR, PIXELS, classifier, verdicts_on

import keras_initx
from keras_initx.initializers._activations import ACTIVATIONS


def test_a_saturated_tanh_is_one_at_the_end_too():
    model = mlp("tanh", depth=1)
    large = keras_initx.RandomNormal(stddev=3.0)
    out = layers.Dense(5, "tanh", kernel_initializer=large, name="end")
    (verdict,) = found(keras.Sequential([*model.layers[:1], out]), X).values()
    assert (verdict.problem, verdict.layers) == ("saturated", ("end",))


def test_saturated_by_inputs():
    verdict = found(mlp("tanh", depth=1), 100 * X)["saturated"]
    assert "standardize the inputs" in verdict.remedy.text


@pytest.mark.parametrize(
    ("activation", "factor", "stddev", "problem"),
    [
        ("tanh", 100.0, 3.0, "saturated"),
        ("relu", 1e4, 10.0, "exploding"),
        ("tanh", 1e-5, 0.01, "vanishing"),
    ],
)
def test_inputs_that_the_model_standardizes_are_no_cause(activation, factor, stddev, problem):
    model = mlp(activation, keras_initx.RandomNormal(stddev=stddev, seed=0))
    model = keras.Sequential([keras.Input((64,)), layers.Rescaling(1 / factor), *model.layers])
    assert "standardize" not in found(model, factor * X)[problem].remedy.text


SCALED = (PIXELS - PIXELS.mean()) / PIXELS.std()


def certain_of(model, x):
    """Return the share of the examples for which each output is certain, by the layer that makes it."""
    makers = [layer for layer in seen(model, x).values() if layer.makes_output]
    return {layer.name: layer.output.certain for layer in makers}


@pytest.mark.parametrize(
    ("place", "name"),
    # As a function, only a softmax is known by its values.
    [("argument", "softmax"), ("layer", "sigmoid"), ("function", "softmax")],
)
def test_a_saturated_output_is_found_however_it_is_made(name, place):
    kernel = keras.initializers.RandomNormal(stddev=20.0)
    if place == "argument":
        model = classifier(last=(), kernel_initializer=kernel, activation=name)
    elif place == "layer":
        model = classifier(last=(name,), kernel_initializer=kernel)
    else:
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, keras.ops.softmax(classifier(last=(), kernel_initializer=kernel)(inputs)))
    verdicts = verdicts_on(model, SCALED)
    assert list(verdicts) == ["saturated"]
    assert verdicts["saturated"].remedy.text == "draw smaller weights in the last layer: keras_initx.GlorotUniform()"


def test_inputs_that_are_passed_through_are_no_saturated_output():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {"out": layers.Dense(3, name="out")(inputs), "inputs": inputs})
    assert verdicts_on(model, np.eye(4, dtype="float32")[GENERATOR.integers(0, 4, 64)]) == {}


@pytest.mark.parametrize(
    ("name", "frequencies"), [("sigmoid", 0.001), ("softmax", [9991, *[1] * 9])], ids=["sigmoid", "softmax"]
)
def test_a_bias_for_rare_classes_is_no_saturation(name, frequencies):
    bias = keras_initx.PriorBias(frequencies)
    assert verdicts_on(classifier(last=(), activation=name, bias_initializer=bias), SCALED) == {}
    if name == "softmax":
        logits = classifier(last=(), bias_initializer=bias)
        assert verdicts_on(keras.Sequential([logits, layers.Softmax()]), SCALED) == {}
        inputs = keras.Input((8, 8, 3))
        assert verdicts_on(keras.Model(inputs, keras.ops.softmax(logits(inputs))), SCALED) == {}


@pytest.mark.parametrize("end", [-30.0, 30.0], ids=["near 0", "near 1"])
def test_a_sigmoid_is_certain_near_both_limits(end):
    logits = np.array([end, end, end, 0.0] * 8, "float32")[:, None]
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, "sigmoid", kernel_initializer="ones", name="out")])
    assert certain_of(model, logits) == {"out": 0.75}
    assert list(verdicts_on(model, logits, ignore=["unscaled inputs"])) == ["saturated"]


@pytest.mark.parametrize(("deviation", "certain"), [(2.5, 0), (2.8, 1)])
def test_what_is_certain_differs_by_half_of_what_certainty_takes(deviation, certain):
    logits = np.array([-30 - deviation, -30 + deviation] * 8, "float32")[:, None]
    bias = keras.initializers.Constant(1e-3)  # without one, nothing excuses the limits
    last = layers.Dense(1, "sigmoid", kernel_initializer="ones", bias_initializer=bias, name="out")
    assert certain_of(keras.Sequential([keras.Input((1,)), last]), logits) == {"out": certain}


def test_a_network_that_gives_the_same_for_all_examples_is_saturated_without_a_bias():
    logits = np.array([-30.1, -29.9] * 8, "float32")[:, None]
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, "sigmoid", kernel_initializer="ones", name="out")])
    assert certain_of(model, logits) == {"out": 1}


def test_a_softmax_is_certain_near_1_only():
    # All but one of the probabilities of the other examples are near 0.
    logits = np.array([[30.0, 0, 0, 0], [30.0, 30.0, 0, 0]] * 8, "float32")
    model = keras.Sequential([keras.Input((4,)), layers.Activation("softmax", name="out")])
    assert certain_of(model, logits) == {"out": 0.5}


def test_outputs_of_which_the_layer_is_not_known_are_those_of_the_last():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.last = layers.Dense(4, name="hidden"), layers.Dense(4, name="last")

        def call(self, x):
            values = self.last(self.hidden(x))
            few, many = (keras.ops.softmax(factor * values) for factor in (1e-3, 1e4))
            return x, few, many, keras.ops.softmax(values), keras.ops.mean(values)

    x = GENERATOR.normal(size=(64, 4)).astype("float32")
    certain = certain_of(Two(), x)
    assert list(certain) == ["last"]
    assert certain["last"] > 0.9


@pytest.mark.parametrize(("name", "factors"), [("softmax", (1e-3, 1e4)), ("sigmoid", (1e4, 1e-3))])
def test_of_two_outputs_of_a_layer_the_more_certain_counts(factors, name):
    inputs = keras.Input((4,))
    activation = layers.Activation(name, name="out")
    model = keras.Model(inputs, [activation(factor * inputs) for factor in factors])
    x = GENERATOR.normal(size=(64, 4)).astype("float32")
    assert certain_of(model, x)["out"] > 0.9


def test_what_is_one_in_sum_for_some_examples_is_no_softmax():
    x = np.array([[1.0, 0, 0], [3.0, 2.0, 1.0]] * 8, "float32")
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3, "relu", kernel_initializer="identity", name="out")])
    assert certain_of(model, x) == {"out": None}


LIMITS = {name: facts.limits for name, facts in ACTIVATIONS.items() if facts.limits is not None}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_those_of_the_activation(name):
    x = np.array([-1e6, 1e6, 0.0, 0.0] * 8, "float32")[:, None]
    model = keras.Sequential([keras.Input((1,)), layers.Activation(name)])
    (layer,) = keras_initx.diagnose(model, x).rows
    assert (layer.after.min, layer.after.max) == pytest.approx(LIMITS[name], abs=1e-5)
    # 0 is a limit of none, but the middle.
    assert layer.saturated == 0.5
    # Where the gradient is almost 0 there is a verdict already.
    off = keras_initx.diagnose(model, np.full((32, 1), -1e6, "float32"))
    assert off.rows[0].dead is None
    assert "dead units" not in [verdict.problem for verdict in off.verdicts]
