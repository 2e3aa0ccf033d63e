"""Which weights are drawn anew, and by what."""

import keras
import numpy as np
import pytest
from asked import alone, asked
from keras import layers

import keras_initx
from keras_initx.tools.diagnose._measured_layers import list_kernels, measured_layers
from keras_initx.tools.diagnose._redrawing import list_untried
from keras_initx.tools.diagnose._suitable_initializers import choose_initializers

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
    choices = choose_initializers([], "relu", is_deep=True)
    left = asked(lambda of: list_untried(choices, list_kernels(measured_layers(of))), model, ROWS)
    assert [text for _, text in left] == expected


@pytest.mark.parametrize("kind", [layers.Conv2D, layers.Conv2DTranspose])
def test_the_kernel_of_a_convolution_has_what_it_was_drawn_by(kind):
    choices = choose_initializers([], "relu", is_deep=True)
    for kernel, expected in ((keras_initx.Orthogonal("relu"), 0), (keras_initx.HeNormal(), 1)):
        model, x = alone(kind(4, 3, activation="relu", kernel_initializer=kernel), (5, 5, 8))
        keras_initx.initialize(model, seed=0)
        assert len(asked(lambda of: list_untried(choices, list_kernels(measured_layers(of))), model, x)) == expected


def test_frozen_kernels_do_not_count_among_what_is_drawn_already():
    frozen = layers.Dense(20, "relu", kernel_initializer=keras_initx.SmallNormal(), trainable=False)
    trained = layers.Dense(20, "relu", kernel_initializer=keras_initx.HeNormal(seed=0))
    model = keras.Sequential([keras.Input((20,)), frozen, trained])
    choices = choose_initializers([], "relu", is_deep=False)
    assert [text for _, text in choices] == ["keras_initx.HeNormal()"]
    assert asked(lambda of: list_untried(choices, list_kernels(measured_layers(of))), model, ROWS) == []
