"""Which weights are drawn anew, and by what."""

import keras
import numpy as np
import pytest
from asked import asked
from keras import layers

import keras_initx
from keras_initx.diagnostics._drawn_anew import not_yet_drawn
from keras_initx.diagnostics._seen import kernels_of, seen_layers
from keras_initx.diagnostics._suited import suited

ROWS = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (keras_initx.Orthogonal("relu"), []),
        (keras_initx.HeNormal(), ['keras_initx.Orthogonal(gain="relu")']),
        (keras_initx.SmallNormal(), ['keras_initx.Orthogonal(gain="relu")', "keras_initx.HeNormal()"]),
    ],
)
def test_weights_are_not_drawn_anew_by_what_they_have_nor_by_what_comes_after_it(kernel, expected):
    model = keras.Sequential([keras.Input((20,)), layers.Dense(64, "relu", kernel_initializer=kernel, name="one")])
    choices = suited([], "relu", is_deep=True)
    left = asked(lambda of: not_yet_drawn(choices, kernels_of(seen_layers(of))), model, ROWS)
    assert [text for _, text in left] == expected
