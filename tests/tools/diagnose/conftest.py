"""Reports of a healthy and of a faulty network."""

import keras
import numpy as np
import pytest
from keras import layers
from reported import report_of


@pytest.fixture(scope="module")
def healthy():
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(6, name, name=name) for name in ("tanh", "relu")]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Reshape((3, 2)), layers.LSTM(3, name="lstm")])
    return report_of(model, np.ones((64, 3), "float32"))


@pytest.fixture(scope="module")
def faulty():
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(6, "relu", kernel_initializer="zeros", name="a_layer_with_a_name_of_some_length_" * 3)
    return report_of(keras.Sequential([keras.Input((8,)), hidden, layers.Dense(3, name="out")]))
