"""A loss without a value has one error, by what it is."""

import keras
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
    assert verdict.remedy.text.startswith("loss=keras.losses.BinaryCrossentropy(from_logits=True), or activation=")


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
