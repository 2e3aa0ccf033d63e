"""Initializers are shown as calls, without what is a default or depends on the weight."""

import keras
import numpy as np
import pytest

import keras_initx
from keras_initx.initializers._description import description


@pytest.mark.parametrize(
    ("initializer", "expected"),
    [
        (keras.initializers.Zeros(), "Zeros()"),
        (keras.initializers.RandomNormal(stddev=0.02, seed=3), "RandomNormal(stddev=0.02)"),
        (keras_initx.HeNormal(seed=1), "HeNormal()"),
        (keras_initx.VarianceScaling(2.0, input_axes=[0], output_axes=[1]), "VarianceScaling(scale=2)"),
        (keras_initx.Scaled("zeros", 0.5), "Scaled(initializer=Zeros(), factor=0.5)"),
        (keras.initializers.Constant(np.ones((2, 3))), "Constant(value=<array of shape (2, 3)>)"),
        (lambda shape, dtype: np.zeros(shape), "<lambda>"),
    ],
)
def test_an_initializer_is_shown_as_a_call(initializer, expected):
    assert description(initializer) == expected
