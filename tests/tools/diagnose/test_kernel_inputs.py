"""What the first kernels get from outside, and how much the inputs of kernels differ."""

import keras
import numpy as np
import pytest
from asked import asked, seen
from keras import layers
from modes import to_numpy

from keras_initx.tools.diagnose._kernel_inputs import find_largest_inputs, input_differences

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")


def test_the_largest_of_the_inputs():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3, name="first"), layers.Dense(3)])
    first, last = seen(model, X * np.where(np.arange(8) == 5, 20, 1)).values()
    assert (first.is_first, last.is_first) == (True, False)
    assert first.first_inputs.largest == (5, pytest.approx(20 * np.sqrt((X[:, 5] ** 2).mean()), rel=1e-5))
    images = keras.Sequential([keras.Input((4, 2, 1)), layers.Conv2D(2, 2, name="first")])
    assert seen(images, X.reshape(64, 4, 2, 1))["first"].first_inputs.largest == (0, 0)


def test_what_the_last_layer_gets():
    stack = [layers.Dense(8, name="hidden"), layers.Rescaling(0.01, 3.0), layers.Dense(3, name="out")]
    model = keras.Sequential([keras.Input((8,)), *stack])
    values = 3.0 + 0.01 * to_numpy(model.layers[0](X))
    size = np.sqrt((values**2).mean())
    found = seen(model, X)
    assert not found["hidden"].makes_output
    assert found["out"].output.input_size == pytest.approx(size, rel=1e-4)
    assert {layer.name: difference for layer, difference in asked(input_differences, model, X).items()} == {
        "hidden": pytest.approx(np.sqrt(X.var(axis=0).mean() / (X**2).mean()), rel=1e-4),
        "out": pytest.approx(np.sqrt(values.var(axis=0).mean()) / size, rel=1e-2),
    }


def test_inputs_that_are_not_finite_are_the_cause_before_large_ones():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    outputs = [layers.Dense(2)(one) for one in inputs]
    x = [np.full((8, 4), 0.1), 1e6 * np.random.default_rng(0).normal(size=(8, 4))]
    x[0][0, 0] = np.nan
    cause = asked(lambda of: find_largest_inputs(of, lambda signal: signal.std), keras.Model(inputs, outputs), x)
    assert cause.nonfinite == 1 / 32
