"""An activation that passes no gradient has one verdict, at its place, and explains what gets none before it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx

DRAWS = np.random.default_rng(0)
X = DRAWS.uniform(0, 1, (64, 1)).astype("float32")
WIDE = DRAWS.normal(size=(64, 4)).astype("float32")
LABELS = DRAWS.integers(0, 3, 64)
POSITIVE = keras.initializers.RandomUniform(0.5, 1, seed=0)
NEGATIVE = keras.initializers.RandomUniform(-1, -0.5, seed=1)


def hidden(activation="tanh"):
    return layers.Dense(8, activation, kernel_initializer=POSITIVE, name="hidden")


def last(activation=None, kernel=NEGATIVE, units=1):
    return layers.Dense(units, activation, kernel_initializer=kernel, name="last")


def large(stddev):
    return keras.initializers.RandomNormal(stddev=stddev, seed=1)


def problems(model, x=X, y=X, loss="mse"):
    """Return the names, levels and layers of errors and warnings."""
    return [(one.problem, one.level, one.layers) for one in keras_initx.diagnose(model, x, y, loss=loss).problems]


def stacked(*stack, width=1):
    return keras.Sequential([keras.Input((width,)), *stack])


@pytest.mark.release_backends
@pytest.mark.parametrize("activation", ["tanh", None])
def test_a_relu_that_is_0_behind_odd_layers_is_dead_and_nothing_else(activation):
    """With all kernels negated the ReLU gets what it got: that shows nothing of the loss."""
    assert problems(stacked(hidden(activation), last("relu"))) == [("dead units", "error", ("last",))]


DEAD = {
    "layer": lambda: (stacked(hidden(), last(), layers.ReLU(name="relu")), ("relu",)),
    "activation": lambda: (stacked(hidden(), last(), layers.Activation("relu", name="relu")), ("relu",)),
    "in a model inside": lambda: (stacked(stacked(hidden(), last("relu")), layers.Dense(1)), ("sequential/last",)),
    "before others": lambda: (stacked(hidden(), last("relu", units=16), layers.Dense(1)), ("last",)),
}


@pytest.mark.parametrize("name", DEAD)
def test_each_form_of_a_dead_relu_is_found_alone(name):
    keras.utils.clear_session(free_memory=False)
    model, names = DEAD[name]()
    assert problems(model) == [("dead units", "error", names)]


def test_a_dead_operation_of_a_functional_model_is_named_by_its_class():
    inputs = keras.Input((1,))
    model = keras.Model(inputs, ops.relu(last()(hidden()(inputs))))
    (verdict,) = keras_initx.diagnose(model, X, X, loss="mse").problems
    assert (verdict.problem, verdict.level) == ("dead units", "error")
    assert verdict.evidence.startswith("the operation Relu gives 0 for all examples")


def test_a_saturated_softmax_over_a_frozen_base_is_no_operation_without_a_derivative():
    base = layers.Dense(16, kernel_initializer=large(20.0), name="base", trainable=False)
    model = stacked(base, last("softmax", large(100.0), 3), width=4)
    found = problems(model, WIDE, LABELS, "sparse_categorical_crossentropy")
    assert ("saturated", "error", ("last",)) in found
    assert "no gradient" not in [problem for problem, _, _ in found]


def test_a_saturated_sigmoid_of_a_distance_explains_what_is_before_it():
    model = stacked(layers.Dense(8, "tanh", name="hidden"), last("sigmoid", large(1e6)), width=4)
    found = problems(model, WIDE, (LABELS[:, None] > 0).astype("float32"))
    assert ("saturated", "error", ("last",)) in found
    assert {problem for problem, _, _ in found}.isdisjoint(["no gradient", "vanishing gradient"])


def test_a_relu_that_gets_zeros_alone_is_no_dead_end():
    end = layers.Dense(1, use_bias=False, name="last")
    model = stacked(hidden(), layers.Rescaling(0.0), layers.ReLU(name="relu"), end)
    assert problems(model) == [("no gradient", "error", ("hidden",))]


@pytest.mark.release_backends
@pytest.mark.parametrize(
    "between",
    [
        lambda x: ops.relu(0.0 * x),
        lambda x: 0.0 * x,
        lambda x: layers.Dense(8, "relu", name="behind")(0.0 * x),
    ],
    ids=["relu", "nothing", "dense"],
)
def test_layers_that_alone_read_the_inputs_are_named_where_what_they_give_is_multiplied_by_0(between):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, last()(between(hidden()(inputs))))
    (verdict,) = keras_initx.diagnose(model, WIDE, X, loss="mse").verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("no gradient", "error", ("hidden",))
    assert "no other layer reads the inputs" in verdict.evidence
    assert not verdict.remedy.rules


@pytest.mark.parametrize("others", ["inputs", "frozen", "learning"])
def test_it_is_a_note_where_others_read_the_inputs_too(others):
    inputs = keras.Input((8,))
    around = inputs
    if others != "inputs":
        beside = layers.Dense(8, "tanh", name="beside", trainable=others == "learning")
        around = beside(inputs)
    model = keras.Model(inputs, last()(around + 0.0 * hidden()(inputs)))
    x = np.tile(WIDE, (1, 2))
    found = [(one.problem, one.level, one.layers) for one in keras_initx.diagnose(model, x, X, loss="mse").verdicts]
    assert ("no gradient", "note", ("hidden",)) in found


def test_an_activation_that_another_of_its_calls_passes_is_no_dead_end():
    inputs, shared = keras.Input((4,)), layers.Activation("sigmoid", name="shared")
    far = layers.Dense(8, bias_initializer=keras.initializers.Constant(-1000.0), name="far")
    both = layers.Concatenate()([shared(far(inputs)), shared(layers.Dense(8, name="near")(inputs))])
    assert problems(keras.Model(inputs, last()(both)), WIDE) == [("saturated", "warning", ("shared",))]


def test_what_is_unused_beside_a_dead_end_is_named_as_unused():
    inputs = keras.Input((1,))
    outputs = [last("relu")(hidden()(inputs)), layers.Dense(5, name="unused")(inputs)]
    model = keras.Model(inputs, outputs)
    found = problems(model, X, [X, np.zeros((64, 5))], ["mse", None])
    assert found == [("no gradient", "warning", ("unused",)), ("dead units", "error", ("last",))]


def test_an_operation_without_a_derivative_before_a_dead_end_is_found_too():
    inputs = keras.Input((1,))
    model = keras.Model(inputs, last("relu")(ops.round(hidden()(inputs))))
    found = problems(model)
    assert ("no gradient", "error", ("hidden",)) in found
    assert ("dead units", "error", ("last",)) in found


class Rounded(layers.Layer):
    def call(self, x):
        return ops.round(x)


@pytest.mark.rare
@pytest.mark.release_backends
@pytest.mark.parametrize(
    ("function", "named", "level"),
    [
        (ops.round, "the operation Round", "error"),
        (Rounded(name="own"), "own", "error"),
        (ops.stop_gradient, "keras.ops.stop_gradient", "warning"),
    ],
    ids=["operation", "layer", "stop_gradient"],
)
def test_what_has_no_derivative_is_named(function, named, level):
    inputs = keras.Input((4,))
    code = layers.Dense(8, "sigmoid", name="code")(inputs)
    model = keras.Model(inputs, layers.Dense(1, name="last")(function(code)))
    (verdict,) = keras_initx.diagnose(model, WIDE, WIDE[:, :1], loss="mse").problems
    assert (verdict.problem, verdict.level, verdict.layers) == ("no gradient", level, ("code",))
    assert f"no gradient passes {named} between code and last" in verdict.evidence


def test_activations_and_weights_are_as_before():
    model = stacked(hidden(), last("relu"))
    before = model.get_weights()
    activation = model.layers[-1].activation
    keras_initx.diagnose(model, X, X, loss="mse")
    assert model.layers[-1].activation is activation
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
