"""What is said of signals that go wrong."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx

ROWS = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")


@pytest.mark.parametrize(
    ("factor", "evidence"),
    [
        (1e5, r"the standard deviation is .* in hidden and .* in out \(2 layers\), and already .* at the inputs"),
        (1, r"the standard deviation grows from .* at the inputs to .* in hidden and .* in out \(2 layers\)"),
    ],
)
def test_what_does_not_grow_is_a_level(factor, evidence):
    kernel = keras.initializers.RandomNormal(stddev=1e4 if factor == 1 else 0.1)
    hidden = layers.Dense(20, kernel_initializer=kernel, name="hidden")
    model = keras.Sequential([keras.Input((20,)), hidden, layers.Dense(3, name="out")])
    verdict = keras_initx.diagnose(model, factor * ROWS).problems[-1]
    assert verdict.problem == "exploding"
    assert re.fullmatch(evidence, verdict.evidence)
