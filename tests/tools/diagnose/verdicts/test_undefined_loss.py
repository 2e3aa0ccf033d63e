"""A loss without a value has one error, by what it is."""

import keras
import numpy as np
import pytest
from last_layers import LABELS, SIDE, X, logarithms, network, problems, verdicts

import keras_initx


@pytest.mark.release_backends
@pytest.mark.parametrize("steps", [0, 2])
def test_a_loss_without_a_limit_has_one_error_by_what_it_is(steps):
    model = network(1)
    model.compile("adam", logarithms(lambda p: p))
    (verdict,) = keras_initx.diagnose(model, X, SIDE, steps=steps).verdicts
    assert verdict.problem == "undefined loss"
    assert "the loss is nan" in verdict.evidence
    assert verdict.remedy.text.startswith(
        "use loss=keras.losses.BinaryCrossentropy(from_logits=True), or set activation="
    )


def test_a_loss_that_is_infinite_has_one_error():
    labels = LABELS[:, None]
    model = network(4, "relu")
    model.compile("adam", lambda y, p: -keras.ops.log(keras.ops.take_along_axis(p, keras.ops.cast(y, "int32"), -1)))
    (verdict,) = keras_initx.diagnose(model, X, labels, steps=2).verdicts
    assert ("the loss is inf" in verdict.evidence, verdict.problem) == (True, "undefined loss")


def test_probabilities_that_are_rounded_to_1_need_no_second_sigmoid():
    model = network(1, "sigmoid", kernel_initializer=keras.initializers.RandomNormal(stddev=50.0))
    found = verdicts(model, SIDE, logarithms(lambda p: p))[0]
    assert found.problem == "undefined loss"
    assert "activation=" not in found.remedy.text


def test_a_few_examples_show_that_a_loss_has_no_value():
    assert problems(network(1), SIDE[:4], logarithms(lambda p: p), x=X[:4]) == ["undefined loss"]


class Normalizer(keras.layers.Layer):
    """A layer whose running variance falls below 0."""

    def build(self, shape):
        self.mean = self.add_weight((shape[-1],), "zeros", trainable=False, name="mean")
        self.variance = self.add_weight((shape[-1],), "ones", trainable=False, name="variance")

    def call(self, x, training=False):
        if training:
            self.variance.assign(self.variance - keras.ops.square(keras.ops.mean(x, 0) - self.mean))
            self.mean.assign(keras.ops.mean(x, 0))
        return (x - self.mean) / keras.ops.sqrt(self.variance)


@pytest.mark.every_backend
@pytest.mark.parametrize("inputs", [lambda x: 1800 + 30 * x, lambda x: 3 + x])
def test_a_layer_that_makes_nan_of_finite_inputs_is_named(inputs):
    x = inputs(np.random.default_rng(0).normal(size=(64, 8)).astype("float32"))
    stack = [Normalizer(name="normalizer"), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((8,)), *stack])
    model.compile("adam", "mse")
    (verdict,) = keras_initx.diagnose(model, x, x[:, :1]).problems
    assert (verdict.problem, verdict.layers) == ("undefined loss", ("normalizer",))
    assert verdict.evidence.startswith("the outputs of normalizer are NaN for finite inputs")


def test_what_overflows_before_the_first_kernel_is_named_and_not_the_inputs():
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    stack = [keras.layers.Rescaling(1e36, name="large"), keras.layers.Rescaling(1e10, name="larger")]
    model = keras.Sequential([keras.Input((8,)), *stack, keras.layers.Dense(1)])
    (verdict,) = keras_initx.diagnose(model, x, x[:, :1], loss="mse").problems
    assert verdict.problem == "exploding"
    assert str(verdict.remedy) == "use smaller numbers before larger, whose outputs are not finite for finite inputs"
