"""What is saturated is named with its cause."""

import keras
import pytest
from judged import X, found, mlp
from keras import layers

import keras_initx


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
