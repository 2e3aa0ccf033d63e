"""A small network that is trained for a few steps, with callbacks."""

import keras
import numpy as np
from keras import layers

GENERATOR = np.random.default_rng(0)
BATCH = GENERATOR.normal(size=(48, 8)).astype("float32")
Y = GENERATOR.normal(size=(48, 1)).astype("float32")


def network(dropout=0.0):
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(6, "tanh", name="hidden"), layers.Dropout(dropout), layers.BatchNormalization(name="norm")]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(1, name="out")])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def fit(model, *callbacks, epochs=2):
    # 6 steps in each epoch
    model.fit(BATCH, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
