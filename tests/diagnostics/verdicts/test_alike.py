"""Examples are alike by their inputs, or by the network."""

import keras
import numpy as np
from judged import SEQUENCES, found
from keras import layers


def test_inputs_that_are_alike_are_not_made_so_by_the_network():
    stack = [layers.Dense(16, name="first"), layers.LayerNormalization(name="norm"), layers.Dense(5)]
    model = keras.Sequential([keras.Input((10, 16)), *stack])
    assert found(model, np.tile(SEQUENCES[:1], (32, 1, 1))) == {}
    assert found(model, np.tile(SEQUENCES[:, :1], (1, 10, 1))) == {}
