"""The remedy where gradients are lost in many layers."""

import keras
import numpy as np
import pytest
from asked import asked
from keras import layers

import keras_initx
from keras_initx.tools.diagnose._measured_layers import measured_layers
from keras_initx.tools.diagnose._remedies import propose_for_depth

ROWS = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")


@pytest.mark.parametrize(
    ("between", "remedy"),
    [
        pytest.param([], "add keras.layers.BatchNormalization() before each activation", marks=pytest.mark.rare),
        ([layers.LayerNormalization], "add residual branches, x + f(x), around these layers"),
    ],
    ids=["none", "before each activation"],
)
def test_normalizations_are_advised_in_depth_where_there_are_none(between, remedy):
    hidden = []
    for _ in range(50):
        hidden += [layers.Dense(20, kernel_initializer=keras_initx.Orthogonal()), *[make() for make in between]]
        hidden.append(layers.Activation("softplus" if between else "tanh"))
    model = keras.Sequential(
        [keras.Input((20,)), *hidden, layers.Dense(3, kernel_initializer=keras_initx.Orthogonal())]
    )
    text = asked(lambda of: propose_for_depth(measured_layers(of), of).text, model, ROWS)
    assert text == remedy
